"""The DALI pipeline that decodes photos on a GPU, and its CPU twin.

``python -m export.dali_image`` writes ``model_repository/image_decode/<version>/model.dali``, which Triton's DALI
backend loads on the profiles ``onnx`` and ``tensorrt``; the ``cpu`` profile loads ``model.py`` from the same folder and
does not look at it. The GPU pipeline is only defined and serialised here, which needs no GPU. The twin is the same
definition on the CPU: tests run it and compare it with :func:`pipelines.image.decode.decode_image`.

One bad item fails its whole batch, and after that the pipeline object: the probe stands before it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cards.repository import ModelRepository
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import DeepScanError, InstallationError

Pixels = NDArray[np.uint8]
MODEL = "image_decode"
FILE = "model.dali"
PIN = "nvidia-dali-cuda130==2.4.0"


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

    # No device is named: a serialised pipeline takes the one of the Triton instance.
    @dali.pipeline_def(batch_size=batch, num_threads=threads, device_id=None, prefetch_queue_depth=1)  # type: ignore[untyped-decorator,unused-ignore]
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


def load_dali() -> Any:
    """The package ``nvidia.dali``.

    Raises:
        InstallationError: it is not installed.
    """
    try:
        return importlib.import_module("nvidia.dali")
    except (ImportError, OSError) as error:
        raise InstallationError(
            f"DALI is not installed: {error}",
            code=ErrorCode.ENVIRONMENT,
            remedy=f"on a GPU host: pip install -e '.[gpu]'; anywhere: pip install {PIN}",
        ) from error


@contextmanager
def untraced() -> Iterator[None]:
    """DALI writes the path of this file into a pipeline, which is nobody's business and differs between machines."""
    load_dali()
    trace = importlib.import_module("nvidia.dali._utils.dali_trace")
    before = trace.is_tracing_enabled()
    trace.set_tracing(enabled=False)
    try:
        yield
    finally:
        trace.set_tracing(enabled=before)


def serialised(repository: ModelRepository) -> bytes:
    """The GPU pipeline as Triton's DALI backend loads it, for the largest batch of the card."""
    with untraced():
        return bytes(define("mixed", repository.card(MODEL).max_batch_size, threads=4).serialize())


def write(repository: ModelRepository) -> Path:
    """Write ``model.dali`` into the latest version folder, whole or not at all."""
    target = repository.folder(MODEL) / FILE
    partial = target.with_name(f".{FILE}.partial")
    partial.write_bytes(serialised(repository))
    partial.replace(target)
    return target


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


def main(arguments: list[str] | None = None) -> int:
    """Write the serialised pipeline, or with ``--check`` only compare (exit 1 where it differs)."""
    parser = argparse.ArgumentParser(prog="python -m export.dali_image", description=__doc__)
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args(arguments)
    try:
        repository = ModelRepository(options.models)
        if options.check:
            path = repository.folder(MODEL) / FILE
            same = path.is_file() and path.read_bytes() == serialised(repository)
            print(f"{path}: {'up to date' if same else 'missing or differs: run python -m export.dali_image'}")
            return int(not same)
        print(f"written: {write(repository)}")
    except DeepScanError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
