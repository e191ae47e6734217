"""How good a recording is, measured block by block, and which of it a reader of the verdict should know.

The traces that tell synthetic speech from real are quiet: noise covers them, a narrow band cuts them off, a codec
replaces them. So the threshold of a verdict depends on these numbers, and beyond their limits it abstains.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from deepscan_client.codes import Reason
from pipelines.audio.measures import Ceiling, Noise, Spectrum, Tones, cell_spectra
from pipelines.audio.source import RATE, Samples
from pipelines.audio.speech import CELL, OFF, ON, spans, spoken_seconds

PAUSE = 0.15
"""Speech probability under which surely nobody speaks."""
QUIET_DB = -70.0
SILENT_DB = -60.0
NO_SPEECH_S, SHORT_S = 0.25, 2.0
MUSIC = 0.3
CLIPPED = 0.002
NARROW_HZ = 4_500.0
NOISY_DB = 15.0
HOLES = 0.006


class SoundQuality(BaseModel):
    """Measured facts of a recording; all of its 16 kHz mono form."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    """Length that was measured."""
    speech_s: float
    """Seconds in which somebody speaks, pauses under 0.1 s included."""
    level_db: float
    """Mean level of the speech in dBFS; of the louder parts where nobody speaks."""
    peak_db: float
    """Level in dBFS that the loudest hundredth of the cells (32 ms) reaches."""
    noise_db: float
    """Level of the noise in dBFS."""
    snr_db: float
    """Speech over noise in dB, -10 to 60. In known mixtures of 10 to 40 dB white noise is read within 1 dB, pink noise
    and voices in the background 2 to 3 dB too high; at 0 dB those are read 4 and 7 dB too high."""
    bandwidth_hz: float
    """Frequency up to which the speech reaches, at most 8,000; 0 where nobody speaks."""
    clipped_share: float
    """Estimated share of the speech's samples that were cut at a ceiling, 0 to 1."""
    silence_share: float
    """Share of the time under -70 dBFS."""
    music: float
    """Share of the sounding time with a tone that stays in its place: 0 to 0.05 in speech, 0.6 and more in music."""
    holes: float
    """Share of places in the spectrum of the speech that a codec emptied: 0.002 to 0.005 without one."""


class QualityMeter:
    """Measures a recording that comes in blocks, with memory that does not grow but by 4 bytes a cell."""

    def __init__(self) -> None:
        self._waiting: Samples = np.zeros(0, dtype=np.float32)
        self._speech: list[npt.NDArray[np.float32]] = []
        self._samples = 0
        self._noise, self._spectrum, self._ceiling, self._tones = Noise(), Spectrum(), Ceiling(), Tones()

    def feed(self, block: Samples, speech: npt.NDArray[np.float32]) -> None:
        """Take the next samples, float32 [n], and the speech probability of the cells that they complete.

        Args:
            block: of any length.
            speech: as :meth:`pipelines.audio.speech.SpeechMeter.feed` answers for the same block, or ``finish`` for
                none; a last cell that the recording does not fill is measured as far as it goes in ``speech_s`` alone.
        """
        self._samples += len(block)
        self._speech.append(np.asarray(speech, dtype=np.float32))
        self._tones.feed(block)
        self._waiting = np.concatenate([self._waiting, block])
        count = min(len(speech), len(self._waiting) // CELL)
        if not count:
            return
        cells = self._waiting[: count * CELL].reshape(count, CELL)
        self._waiting = self._waiting[count * CELL :].copy()
        speaks, pauses = speech[:count] >= ON, speech[:count] < PAUSE
        spectra, power = cell_spectra(cells), np.square(cells, dtype=np.float64).mean(axis=1)
        self._noise.feed(spectra, power, speaks)
        self._spectrum.feed(spectra, speaks, pauses)
        self._ceiling.feed(cells[speaks].reshape(-1))

    def result(self) -> SoundQuality:
        """What was measured so far."""
        speech = np.concatenate(self._speech) if self._speech else np.zeros(0, dtype=np.float32)
        seconds = self._samples / RATE
        return SoundQuality(
            seconds=seconds,
            speech_s=min(seconds, spoken_seconds(spans(speech, ON, OFF))),
            level_db=self._noise.speech_db(),
            peak_db=self._noise.quantile_db(0.99),
            noise_db=self._noise.noise_db(),
            snr_db=self._noise.ratio_db(),
            bandwidth_hz=self._spectrum.bandwidth_hz(),
            clipped_share=self._ceiling.clipped_share(),
            silence_share=self._noise.share_below(QUIET_DB),
            music=self._tones.share(),
            holes=self._spectrum.holes(),
        )


def measure_quality(samples: Samples, speech: npt.NDArray[np.float32]) -> SoundQuality:
    """The quality of a whole clip, float32 [n], with the speech probability of its cells."""
    meter = QualityMeter()
    meter.feed(samples, speech)
    return meter.result()


def problems(quality: SoundQuality, lossy: bool = False) -> tuple[Reason, ...]:
    """What a reader should know of the sound, the gravest first.

    Args:
        quality: as measured.
        lossy: whether the file itself is coded with losses (``AudioInfo.lossy``).
    """
    if quality.peak_db < SILENT_DB:
        return (Reason.SILENCE,)
    spoken = quality.speech_s
    found = {
        Reason.NO_SPEECH: spoken < NO_SPEECH_S,
        Reason.TOO_SHORT: NO_SPEECH_S <= spoken < SHORT_S,
        Reason.MUSIC: quality.music >= MUSIC,
        Reason.CLIPPING: quality.clipped_share >= CLIPPED,
        Reason.NARROW_BAND: 0 < quality.bandwidth_hz < NARROW_HZ,
        Reason.NOISY: spoken >= NO_SPEECH_S and quality.snr_db < NOISY_DB,
        Reason.LOSSY_CODEC: lossy or quality.holes >= HOLES,
    }
    return tuple(reason for reason, holds in found.items() if holds)
