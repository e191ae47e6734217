"""The DALI pipeline that decodes photos on a GPU, and its CPU twin.

``python -m export.dali_image`` writes ``model_repository/image_decode/<version>/model.dali`` (:mod:`export.dali`). The
twin is the same definition on the CPU: tests run it and compare it with
:func:`pipelines.image.decode.decode_image`.

One bad item fails its whole batch, and after that the pipeline object: the probe stands before it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cards.repository import ModelRepository
from export.dali import command, load_dali, pipeline, serialise

Pixels = NDArray[np.uint8]
MODEL = "image_decode"


def define(device: Literal["mixed", "cpu"], batch: int, threads: int = 1) -> Any:
    """The pipeline, not built: PICTURE (UINT8 [n], JPEG or BMP bytes) to PIXELS (UINT8 [h, w, 3], RGB, oriented).

    Args:
        device: ``mixed`` decodes with nvJPEG on the GPU that loads it; ``cpu`` is the twin.
        batch: most pictures of one run. Pictures of a batch may differ in size.
        threads: host threads.

    Raises:
        InstallationError: DALI is not installed.
    """
    dali = load_dali()
    fn, types = dali.fn, dali.types

    @pipeline(batch, threads)  # type: ignore[untyped-decorator,unused-ignore]
    def image_decode() -> Any:
        picture = fn.external_source(name="PICTURE", device="cpu", ndim=1, dtype=types.UINT8)
        # OpenCV upsamples colour with interpolation and uses the exact inverse transform, so both are asked for here.
        return fn.decoders.image(
            picture,
            device=device,
            output_type=types.RGB,
            adjust_orientation=True,
            jpeg_fancy_upsampling=True,
            use_fast_idct=False,
            name="PIXELS",
        )

    return image_decode()


def serialised(repository: ModelRepository) -> bytes:
    """The GPU pipeline as Triton's DALI backend loads it, for the largest batch of the card."""
    return serialise(lambda: define("mixed", repository.card(MODEL).max_batch_size, threads=4))


class CpuTwin:
    """The same pipeline, run on the CPU.

    Args:
        batch: most pictures of one call.
    """

    def __init__(self, batch: int = 16) -> None:
        self._batch = batch
        self._pipeline = define("cpu", batch)
        self._pipeline.build()

    def decode(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Pixels]:
        """Decode JPEG or BMP bytes, each UINT8 [n], to UINT8 [h, w, 3] RGB.

        Raises:
            ValueError: more pictures than the batch, or none.
            RuntimeError: DALI does not read one of them; this object must not be used any more.
        """
        if not 0 < len(pictures) <= self._batch:
            raise ValueError(f"1 to {self._batch} pictures, not {len(pictures)}")
        self._pipeline.feed_input("PICTURE", [np.ascontiguousarray(picture) for picture in pictures])
        (answer,) = self._pipeline.run()
        return [np.array(answer[place]) for place in range(len(pictures))]


if __name__ == "__main__":
    sys.exit(command("export.dali_image", MODEL, serialised))
