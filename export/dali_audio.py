"""The DALI pipeline that decodes short recordings on GPU hosts, and its twin here.

``python -m export.dali_audio`` writes ``model_repository/audio_decode/<version>/model.dali`` (:mod:`export.dali`). DALI
has audio decoders for the CPU only, so the pipeline is the same on both and runs anywhere: tests run it and
compare it with PyAV. It reads WAV, FLAC and OGG (:func:`pipelines.audio.decode.dali_reads`), averages channels, and
hands on the stored rate with the samples, because its resampler lets through what lies above half of the new rate.

One bad item fails its whole batch, and after that the pipeline object: PyAV opens a recording before it is sent here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cards.repository import ModelRepository
from export.dali import command, load_dali, pipeline, serialise

MODEL = "audio_decode"


def define(batch: int, threads: int = 1) -> Any:
    """The pipeline, not built: AUDIO (UINT8 [n], a file's bytes) to SAMPLES (FP32 [n], mono) and RATE (FP32 [1]).

    Args:
        batch: most recordings of one run; they may differ in length and rate.
        threads: host threads.

    Raises:
        InstallationError: DALI is not installed.
    """
    dali = load_dali()
    fn, types = dali.fn, dali.types

    @pipeline(batch, threads)  # type: ignore[untyped-decorator,unused-ignore]
    def audio_decode() -> Any:
        content = fn.external_source(name="AUDIO", device="cpu", ndim=1, dtype=types.UINT8)
        samples, rate = fn.decoders.audio(content, downmix=True, dtype=types.FLOAT)
        return fn.reshape(samples, shape=[-1], name="SAMPLES"), fn.reshape(rate, shape=[1], name="RATE")

    return audio_decode()


def serialised(repository: ModelRepository) -> bytes:
    """The pipeline as Triton's DALI backend loads it, for the largest batch of the card."""
    return serialise(lambda: define(repository.card(MODEL).max_batch_size, threads=4))


class CpuTwin:
    """A serialised pipeline, run here.

    Args:
        content: what :func:`serialised` gave.
        batch: most recordings of one call, as it was defined.
    """

    def __init__(self, content: bytes, batch: int) -> None:
        self._batch = batch
        self._pipeline = load_dali().Pipeline.deserialize(content)
        self._pipeline.build()

    def decode(self, files: Sequence[bytes]) -> list[tuple[NDArray[np.float32], float]]:
        """Samples, float32 [n] at the stored rate, and that rate, of each file.

        Raises:
            ValueError: more files than the batch, or none.
            RuntimeError: DALI does not read one of them; this object must not be used any more.
        """
        if not 0 < len(files) <= self._batch:
            raise ValueError(f"1 to {self._batch} recordings, not {len(files)}")
        self._pipeline.feed_input("AUDIO", [np.frombuffer(file, dtype=np.uint8) for file in files])
        samples, rates = self._pipeline.run()
        return [(np.array(samples[place]), float(np.array(rates[place])[0])) for place in range(len(files))]


if __name__ == "__main__":
    sys.exit(command("export.dali_audio", MODEL, serialised))
