"""What tests share: one real server for the whole session, and a writer of small videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.supervisor import Server, running_server


@pytest.fixture(scope="session")
def triton_server() -> Iterator[Server]:
    """The real Triton server of the wheel with the shipped models, on free ports."""
    with running_server() as server:
        yield server


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
