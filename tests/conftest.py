"""What tests share: one real server for the whole session, `serve` as a process, and a writer of small videos."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.ports import Ports, any_free
from serving.supervisor import Server, running_server

ROOT = Path(__file__).resolve().parents[1]
Served = Callable[..., AbstractContextManager[tuple[subprocess.Popen[str], Ports]]]


@pytest.fixture(scope="session")
def triton_server() -> Iterator[Server]:
    """The real Triton server of the wheel with the shipped models, on free ports."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def serve_process() -> Served:
    """``serve_process(*options)``: `python -m serving.serve` on free ports, ready; killed in the end."""

    @contextlib.contextmanager
    def serve(*options: str) -> Iterator[tuple[subprocess.Popen[str], Ports]]:
        ports = any_free()
        places = ["--http-port", ports.http, "--grpc-port", ports.grpc, "--metrics-port", ports.metrics]
        command = [sys.executable, "-m", "serving.serve", *map(str, places), *options]
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
            threading.Thread(target=process.stderr.read, daemon=True).start()  # its log must not fill the pipe
            yield process, ports
        finally:
            process.kill()
            process.wait()

    return serve


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Writes RGB frames into a video: ``write_video(path, frames, times=None, keys=12, options={}, codec=...)``.

    ``times`` are seconds (25 frames a second where left out); a key frame comes every ``keys`` frames.
    """
    import av

    def write(
        path: Path,
        frames: Sequence[NDArray[np.uint8]],
        times: Sequence[float] | None = None,
        keys: int = 12,
        options: dict[str, str] | None = None,
        codec: str = "libx264",
    ) -> Path:
        with av.open(str(path), "w", options=options or {}) as container:
            stream: Any = container.add_stream(codec, rate=25)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.time_base = stream.codec_context.time_base = Fraction(1, 12800)
            stream.codec_context.gop_size = keys
            stream.codec_context.thread_count = 1
            for place, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                moment = place / 25 if times is None else times[place]
                frame.pts, frame.time_base = round(moment * 12800), Fraction(1, 12800)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write
