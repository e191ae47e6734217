"""The whole system is told to stop while photos are under way: none of them is lost."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
PHOTO = (ROOT / "samples" / "astronaut.jpg").read_bytes()
BOUNDARY = "photo-boundary"


def body(number: int) -> bytes:
    """A form with one photo; a comment behind its end makes each another file, so that no cache answers."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{number}.jpg"\r\n\r\n'
    return head.encode() + PHOTO + str(number).encode() + f"\r\n--{BOUNDARY}--\r\n".encode()


@pytest.mark.triton
@pytest.mark.slow
def test_stopping_under_traffic_answers_what_was_accepted(serve_process: Callable[..., Any]) -> None:
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

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with serve_process("--port", str(port)) as (process, _):
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
