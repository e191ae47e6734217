"""The whole system is told to stop while photos are under way: none of them is lost."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from serving.ports import any_free

ROOT = Path(__file__).resolve().parents[2]
PHOTO = (ROOT / "samples" / "astronaut.jpg").read_bytes()
BOUNDARY = "photo-boundary"


def body(number: int) -> bytes:
    """A form with one photo; a comment behind its end makes each another file, so that no cache answers."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{number}.jpg"\r\n\r\n'
    return head.encode() + PHOTO + str(number).encode() + f"\r\n--{BOUNDARY}--\r\n".encode()


@contextlib.contextmanager
def served() -> Iterator[tuple[subprocess.Popen[str], int]]:
    ports = any_free()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", port, "--http-port", ports.http, "--grpc-port", ports.grpc, "--metrics-port", ports.metrics]
    command = [sys.executable, "-m", "serving.serve", *map(str, options)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("ready"):
                break
        else:
            raise AssertionError("".join(lines))
        threading.Thread(target=process.stderr.read, daemon=True).start()  # the access log must not fill the pipe
        yield process, port
    finally:
        process.kill()
        process.wait()


@pytest.mark.triton
@pytest.mark.slow
def test_stopping_under_traffic_answers_what_was_accepted() -> None:
    answers: list[int] = []
    cut: list[float] = []
    stop = threading.Event()

    def send(first: int, port: int) -> None:
        number = first
        while not stop.is_set():
            number += 10
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                kind = f"multipart/form-data; boundary={BOUNDARY}"
                connection.request("POST", "/api/predict/image", body(number), {"Content-Type": kind})
            except OSError:
                return  # refused at the door: nothing was accepted
            try:
                answers.append(connection.getresponse().status)
            except (OSError, http.client.HTTPException):
                cut.append(began)
            finally:
                connection.close()

    with served() as (process, port):
        children = psutil.Process(process.pid).children(recursive=True)
        threads = [threading.Thread(target=send, args=(first, port)) for first in range(3)]
        for thread in threads:
            thread.start()
        while len(answers) < 6:
            time.sleep(0.05)
        told = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(80) == 0
        stop.set()
        for thread in threads:
            thread.join(70)
        _, left = psutil.wait_procs(children, timeout=20)
    # Whoever knocks in the moment when the door closes is reset by the kernel; what was sent before is answered.
    assert not [began for began in cut if began < told]
    assert set(answers) <= {200, 503}
    assert answers.count(200) >= 6
    assert not left
