"""The DALI pipeline that decodes pieces of videos on a GPU (NVDEC), and its CPU twin.

``python -m export.dali_video`` writes ``model_repository/video_decode/<version>/model.dali`` (:mod:`export.dali`). A
request holds a piece of a video (:mod:`pipelines.video.pieces`) and the numbers of the frames that are wanted of it,
and gets those and no others; memory is bounded by the caller, who waits for each answer before it cuts the next piece.
``fn.experimental.inputs.video`` with decoupled answers would send every frame of the file as fast as NVDEC makes them,
whether or not anybody takes them, and cannot be told to leave frames out.

The twin is the same definition on the CPU. It decodes VP9 alone of what the stage is asked for; for the others
:func:`pipelines.video.decode.decode_frames` keeps the same contract by PyAV. What no machine without a GPU can show is
NVDEC's own answer: ``tests/gpu/test_dali_video_on_gpu.py`` is for that, and each file is tried first
(:mod:`pipelines.video.staged`).

One bad item fails its whole batch, so that a batch is one piece.
"""

from __future__ import annotations

import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cards.repository import ModelRepository
from export.dali import command, load_dali, pipeline, serialise

MODEL = "video_decode"


def define(device: Literal["mixed", "cpu"], batch: int, threads: int = 1) -> Any:
    """The pipeline, not built: VIDEO (UINT8 [n], an MP4) and FRAMES (INT32 [f]) to PIXELS (UINT8 [f, h, w, 3], RGB).

    Pixels are as stored: not turned, and by the coefficients of ITU-R BT.601 whatever the file says.

    Args:
        device: ``mixed`` decodes on the GPU that loads it; ``cpu`` is the twin.
        batch: most pieces of one run.
        threads: host threads.

    Raises:
        InstallationError: DALI is not installed.
    """
    dali = load_dali()
    fn, types = dali.fn, dali.types

    @pipeline(batch, threads)  # type: ignore[untyped-decorator,unused-ignore]
    def video_decode() -> Any:
        video = fn.external_source(name="VIDEO", device="cpu", ndim=1, dtype=types.UINT8)
        frames = fn.external_source(name="FRAMES", device="cpu", ndim=1, dtype=types.INT32)
        # A number that the piece does not have is an error, not a black frame. Threads are left to the scheduler, as
        # others of the server share the cores.
        return fn.decoders.video(
            video, device=device, frames=frames, pad_mode="none", build_index=True, affine=False, name="PIXELS"
        )

    return video_decode()


def serialised(repository: ModelRepository) -> bytes:
    """The GPU pipeline as Triton's DALI backend loads it, for the largest batch of the card."""
    return serialise(lambda: define("mixed", repository.card(MODEL).max_batch_size, threads=2))


class CpuTwin:
    """The same pipeline, run on the CPU, one piece at a time."""

    def __init__(self) -> None:
        self._pipeline = define("cpu", 1)
        self._pipeline.build()

    def decode(self, piece: bytes, frames: NDArray[np.int32]) -> NDArray[np.uint8]:
        """UINT8 [f, h, w, 3] of the frames with these numbers, int32 [f].

        Raises:
            RuntimeError: DALI does not read the piece; this object must not be used any more.
        """
        self._pipeline.feed_input("VIDEO", [np.frombuffer(piece, dtype=np.uint8)])
        self._pipeline.feed_input("FRAMES", [frames])
        (answer,) = self._pipeline.run()
        return np.array(answer[0])


if __name__ == "__main__":
    sys.exit(command("export.dali_video", MODEL, serialised))
