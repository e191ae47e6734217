"""A short recording whose samples the stage ``audio_decode`` hands over: DALI on GPU hosts.

PyAV opens every recording first, because one bad item fails its whole DALI batch, and decodes what DALI does not read,
block by block. Where the stage fails, or gives other samples than it should, PyAV decodes as well, and a note says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cards.card import Profile
from deepscan_client.errors import DeepScanError
from pipelines.audio.container import is_torn, recognise
from pipelines.audio.decode import at_16_khz, dali_reads
from pipelines.audio.source import RATE, AudioInfo, AudioSource, Samples, Sound, open_audio
from pipelines.infer import Call, Infer
from pipelines.options import Options

STAGE = "audio_decode"


def open_sound(data: bytes, options: Options, infer: Infer, profile: Profile) -> Sound:
    """A recording for the analyzer, decoded as the profile decodes.

    Raises:
        deepscan_client.errors.InputError: as :func:`pipelines.audio.source.open_audio`.
    """
    source = open_audio(data, options)
    if profile == "cpu" or not dali_reads(source.info) or is_torn(recognise(data), data):
        return source
    return StagedSource(source, data, infer)


class StagedSource:
    """As :class:`~pipelines.audio.source.AudioSource`, for a recording that :func:`dali_reads`.

    Args:
        source: opened by PyAV.
        data: the file.
        infer: reaches the stage.

    Attributes:
        info: what is known; complete once :meth:`blocks` was read to its end.
    """

    def __init__(self, source: AudioSource, data: bytes, infer: Infer) -> None:
        self._source = source
        self._data = data
        self._infer = infer
        self.info: AudioInfo = source.info

    def blocks(self, seconds: float = 30.0) -> Iterator[Samples]:
        """Samples as float32 [n] in -1 to 1, 16 kHz mono.

        Raises:
            deepscan_client.errors.InputError: as :meth:`pipelines.audio.source.AudioSource.blocks`.
        """
        try:
            samples, rate = self._ask()
        except DeepScanError as error:
            yield from self._here(seconds, f"{STAGE} failed ({error.code})")
            return
        missing = self.info.duration_s - len(samples) / max(rate, 1.0)
        if not len(samples) or not np.isfinite(samples).all() or missing > 0.1:
            yield from self._here(
                seconds, f"{STAGE} gave {len(samples):,} samples of which some are missing or no number"
            )
            return
        whole = at_16_khz(samples, rate)
        self.info = self.info.model_copy(
            update={"duration_s": len(whole) / RATE, "decoder": f"dali, {self.info.codec}"}
        )
        size = max(1, round(seconds * RATE))
        yield from (whole[start : start + size] for start in range(0, len(whole), size))

    def _ask(self) -> tuple[Samples, float]:
        content = np.frombuffer(self._data, dtype=np.uint8)[None]
        (answer,) = self._infer.run([Call(STAGE, {"AUDIO": content}, ("SAMPLES", "RATE"))])
        return np.asarray(answer["SAMPLES"], dtype=np.float32).reshape(-1), float(answer["RATE"].reshape(-1)[0])

    def _here(self, seconds: float, why: str) -> Iterator[Samples]:
        yield from self._source.blocks(seconds)
        info = self._source.info
        self.info = info.model_copy(update={"notes": (*info.notes, f"{why}: decoded by PyAV")})
