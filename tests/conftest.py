"""What tests share: one real server for the session, `serve` as a process, writers of small videos and recordings."""

from __future__ import annotations

import contextlib
import io
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

    ``times`` are seconds (25 frames a second where left out); a key frame comes every ``keys`` frames. ``options`` are
    the container's and ``coding`` the encoder's; ``layout`` names planes and depth, ``colours`` the matrix (H.273).
    """
    import av

    def write(
        path: Path,
        frames: Sequence[NDArray[np.uint8]],
        times: Sequence[float] | None = None,
        keys: int = 12,
        options: dict[str, str] | None = None,
        codec: str = "libx264",
        coding: dict[str, str] | None = None,
        layout: str = "yuv420p",
        colours: int | None = None,
    ) -> Path:
        with av.open(str(path), "w", options=options or {}) as container:
            stream: Any = container.add_stream(codec, rate=25, options=coding or {})
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = layout
            if colours is not None:
                stream.codec_context.colorspace = colours
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


@pytest.fixture(scope="session")
def encode_sound() -> Callable[..., bytes]:
    """Encodes float32 [n] or [c, n]: ``encode_sound(samples, rate, codec, form, channels, bit_rate)``.

    One row is repeated into ``channels``. ``codec`` and ``form`` are FFmpeg's names.
    """
    import av

    def encode(
        samples: NDArray[np.float32],
        rate: int = 16_000,
        codec: str = "pcm_s16le",
        form: str = "wav",
        channels: int = 1,
        bit_rate: int | None = None,
        options: dict[str, str] | None = None,
    ) -> bytes:
        rows = np.atleast_2d(np.asarray(samples, dtype=np.float32))
        rows = np.repeat(rows, channels, axis=0) if len(rows) == 1 else rows
        layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(rows)]
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=form, options=options or {}) as container:
            stream: Any = container.add_stream(codec, rate=rate)
            stream.layout = layout
            if bit_rate:
                stream.bit_rate = bit_rate
            resampler = av.AudioResampler(format=stream.codec_context.format.name, layout=layout, rate=rate)
            for start in range(0, rows.shape[1], rate):
                packed = rows[:, start : start + rate].T.reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format="flt", layout=layout)
                frame.sample_rate = rate
                for ready in resampler.resample(frame):
                    container.mux(stream.encode(ready))
            container.mux(stream.encode(None))
        return buffer.getvalue()

    return encode
