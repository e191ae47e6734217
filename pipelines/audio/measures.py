"""Accumulators over the cells of a recording (512 samples, 32 ms): each takes blocks and keeps arrays of fixed size.

Levels are in dB relative to full scale (dBFS): 0 is a square wave from -1 to 1, a sine wave of that size is -3.
Powers of a spectrum are scaled so that their sum over the bins of a cell is the cell's mean square.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from pipelines.audio.source import RATE, Samples
from pipelines.audio.speech import CELL

Floats = npt.NDArray[np.float32]

BINS = CELL // 2 + 1
BIN_HZ = RATE / CELL
_WINDOW = np.hanning(CELL).astype(np.float32)
_SCALE = 2.0 / (float(np.square(_WINDOW).sum()) * CELL)
_TINY = 1e-13


def decibels(power: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """10 log10, not under -130."""
    return np.asarray(10.0 * np.log10(np.maximum(np.asarray(power, dtype=np.float64), _TINY)))


def cell_spectra(cells: Samples) -> Floats:
    """Power spectrum of each cell, float32 [cells, 512] to [cells, 257]."""
    spectrum = fft.rfft(cells * _WINDOW, axis=1)  # NumPy's would go through float64
    return np.asarray((np.square(spectrum.real) + np.square(spectrum.imag)) * _SCALE, dtype=np.float32)


class Noise:
    """Signal-to-noise ratio: the mean power of speech over a low quantile of the power in each band.

    Between words, and between the sounds of one word, each of 16 bands falls back to the noise in some of the cells.
    So no pause is needed that is free of speech, and other people's voices in the background count as noise. The
    quantile of a steady noise lies under its mean by a known amount, which is added. Cells of digital silence are left
    out: a gate that closes between words says nothing of the noise under them.
    """

    BANDS, STEP, LOWEST = 16, 0.5, -130.0
    QUANTILE, BELOW_MEAN_DB = 0.07, 2.0
    MOST_DB, LEAST_DB = 60.0, -10.0
    _LEVELS = 280

    def __init__(self) -> None:
        self._bands = np.zeros((self.BANDS, self._LEVELS), dtype=np.int64)
        self._cells = np.zeros(self._LEVELS, dtype=np.int64)
        self._speech = self._speech_cells = 0.0

    def feed(self, spectra: Floats, power: npt.NDArray[np.float64], speaks: npt.NDArray[np.bool_]) -> None:
        """Add cells: spectra [c, 257], power [c], and whether somebody speaks [c]."""
        self._cells += np.bincount(self._place(decibels(power)), minlength=self._LEVELS)
        self._speech += float(power[speaks].sum())
        self._speech_cells += float(speaks.sum())
        bands = spectra[power > 1e-10, 1:].reshape(-1, self.BANDS, (BINS - 1) // self.BANDS).sum(axis=2)
        places = self._place(decibels(bands)) + np.arange(self.BANDS) * self._LEVELS
        self._bands += np.bincount(places.reshape(-1), minlength=self._bands.size).reshape(self._bands.shape)

    def speech_db(self) -> float:
        """Level of the speech; of the louder cells where nobody speaks."""
        if self._speech_cells >= 5:
            return float(decibels(self._speech / self._speech_cells))
        return self.quantile_db(0.95)

    def quantile_db(self, share: float) -> float:
        """The level that this share of the cells does not reach."""
        return float(self._quantiles(self._cells[None], share)[0])

    def share_below(self, level: float) -> float:
        """Share of the cells under a level in dBFS."""
        total = int(self._cells.sum())
        return float(self._cells[: round((level - self.LOWEST) / self.STEP)].sum() / total) if total else 0.0

    def noise_db(self) -> float:
        """Level of the noise."""
        floors = self._quantiles(self._bands, self.QUANTILE)
        return float(decibels((10 ** (floors / 10)).sum())) + self.BELOW_MEAN_DB

    def ratio_db(self) -> float:
        """Speech over noise. What is measured as speech holds the noise too, which is taken out."""
        ratio = 10 ** ((self.speech_db() - self.noise_db()) / 10) - 1
        return float(np.clip(decibels(ratio), self.LEAST_DB, self.MOST_DB))

    def _place(self, levels: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        places = np.floor((levels - self.LOWEST) / self.STEP).astype(np.int64)
        return np.asarray(np.clip(places, 0, self._LEVELS - 1))

    def _quantiles(self, counts: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.float64]:
        """The level that a share of the cells does not reach, of each row of counts [n, levels]."""
        summed = np.cumsum(counts, axis=1)
        wanted = share * summed[:, -1]
        places = np.minimum((summed < wanted[:, None]).sum(axis=1), counts.shape[1] - 1)
        rows = np.arange(len(counts))
        held = counts[rows, places]
        inside = np.clip((wanted - (summed[rows, places] - held)) / np.maximum(held, 1), 0, 1)
        return np.asarray(np.where(summed[:, -1] > 0, self.LOWEST + self.STEP * (places + inside), self.LOWEST))


class Spectrum:
    """Bandwidth of the speech, and holes that a transform codec leaves in it.

    A hole is a place in the spectrum more than 30 dB under the mean of the half kilohertz around it. In noise, and so
    in any natural recording, one place in 500 is; a codec that leaves out what is not heard makes ten times as many.
    """

    BLOCK = 16
    HOLE = 1e-3
    FIRST = 4
    """First block that is searched, 2 kHz: below it lie the gaps between the harmonics of a voice."""
    EDGE = 0.999

    def __init__(self) -> None:
        self._speech = np.zeros(BINS, dtype=np.float64)
        self._pause = np.zeros(BINS, dtype=np.float64)
        self._count = np.zeros(2, dtype=np.int64)
        self._holes = np.zeros((BINS - 1) // self.BLOCK, dtype=np.int64)

    def feed(self, spectra: Floats, speaks: npt.NDArray[np.bool_], pauses: npt.NDArray[np.bool_]) -> None:
        """Add cells: spectra [c, 257], whether somebody speaks and whether surely nobody does [c]."""
        spoken = spectra[speaks]
        self._speech += spoken.sum(axis=0)
        self._pause += spectra[pauses].sum(axis=0)
        self._count += (len(spoken), int(pauses.sum()))
        blocks = spoken[:, 1:].reshape(len(spoken), len(self._holes), self.BLOCK)
        self._holes += (blocks < self.HOLE * blocks.mean(axis=2, keepdims=True)).sum(axis=(0, 2))

    def bandwidth_hz(self) -> float:
        """Frequency under which 99.9 % of the speech's power lie, its spectrum evened out (6 dB an octave).

        Twice the spectrum of the pauses is taken off first. 8,000 at most; 0 where nobody speaks.
        """
        if not self._count[0]:
            return 0.0
        speech = self._speech / self._count[0]
        if self._count[1] >= 5:
            speech = np.maximum(speech - 2.0 * self._pause / self._count[1], 0.0)
        frequency = np.arange(BINS) * BIN_HZ
        evened = np.cumsum(speech * np.square(np.maximum(frequency, 100.0)))
        if not evened[-1] > 0:
            return 0.0
        return float(frequency[int(np.searchsorted(evened, self.EDGE * evened[-1]))])

    def holes(self) -> float:
        """Share of the places from 2 kHz to the bandwidth that are holes; 0 where less than 2 kHz are left."""
        last = int((self.bandwidth_hz() - 250.0) // (self.BLOCK * BIN_HZ))
        if last < self.FIRST + 4 or not self._count[0]:
            return 0.0
        places = self._count[0] * self.BLOCK * (last - self.FIRST)
        return float(self._holes[self.FIRST : last].sum() / places)


class Ceiling:
    """Overdriven recordings: samples crowd at the largest value that occurs.

    Natural speech thins out towards its peaks. After clipping, its share near the ceiling is many times as large; after
    resampling or a codec, which round the cut peaks, the upper fifth is still crowded.
    """

    STEPS = 1000
    PEAK = 0.9999
    """The ceiling is this quantile of the magnitudes, so that a click does not hide it."""

    def __init__(self) -> None:
        self._counts = np.zeros(self.STEPS + 1, dtype=np.int64)

    def feed(self, samples: Samples) -> None:
        """Add samples, float32 [n] in -1 to 1."""
        places = np.minimum(np.abs(samples) * self.STEPS, self.STEPS).astype(np.int64)
        self._counts += np.bincount(places, minlength=self.STEPS + 1)

    def _above(self, share: float, ceiling: int) -> int:
        return int(self._counts[int(np.ceil(share * ceiling)) :].sum())

    def clipped_share(self) -> float:
        """Estimated share of the samples that were cut: those at the ceiling beyond what speech has there."""
        total = int(self._counts.sum())
        if not total:
            return 0.0
        ceiling = int(np.searchsorted(np.cumsum(self._counts), self.PEAK * total))
        if ceiling < self.STEPS // 50:  # too quiet to tell
            return 0.0
        at_it = max(0.0, self._above(0.97, ceiling) / total - 1e-3)
        upper = self._above(0.4, ceiling)
        crowded = self._above(0.8, ceiling) / upper - 0.16 if upper else 0.0
        return float(max(at_it, max(0.0, crowded) * 0.2))


class Tones:
    """Music: tones that stay where they are. Harmonics of a speaking voice glide.

    A tone is a peak of the spectrum (windows of 128 ms) 10 dB over what is around it, from 400 Hz to 4 kHz, that was
    at the same place 128, 192 and 320 ms before.
    """

    WINDOW, HOP = 2048, 1024
    LAGS = (2, 3, 5)
    LOW, HIGH = 51, 512
    """Bins of 7.8 Hz."""
    OVER_DB, RANGE_DB = 10.0, 40.0

    def __init__(self) -> None:
        self._window = np.hanning(self.WINDOW).astype(np.float32)
        self._waiting: Samples = np.zeros(0, dtype=np.float32)
        self._before = np.zeros((max(self.LAGS), self.HIGH - self.LOW), dtype=np.uint8)
        self._loudest = -np.inf
        self._sounding = self._steady = 0

    def feed(self, samples: Samples) -> None:
        """Add samples, float32 [n]."""
        self._waiting = np.concatenate([self._waiting, samples])
        count = (len(self._waiting) - self.WINDOW) // self.HOP + 1
        if count < 1:
            return
        frames = np.lib.stride_tricks.sliding_window_view(self._waiting, self.WINDOW)[:: self.HOP][:count]
        self._take(frames * self._window)
        self._waiting = self._waiting[count * self.HOP :].copy()

    def _take(self, frames: Floats) -> None:
        spectrum = fft.rfft(frames, axis=1)[:, self.LOW - 10 : self.HIGH + 10]
        level = np.asarray(decibels(np.square(spectrum.real) + np.square(spectrum.imag)), dtype=np.float32)
        around = uniform_filter1d(level, 41, axis=1, mode="nearest")
        peak = (level >= maximum_filter1d(level, 5, axis=1)) & (level > around + self.OVER_DB)
        top = level.max(axis=1)
        self._loudest = max(self._loudest, float(top.max()))
        peak &= level > top[:, None] - self.RANGE_DB
        peak = peak[:, 10:-10]
        near = np.concatenate([self._before, maximum_filter1d(peak.astype(np.uint8), 3, axis=1)])
        first = len(self._before)
        steady = peak.copy()
        for lag in self.LAGS:
            steady &= near[first - lag : len(near) - lag] > 0
        self._before = near[len(near) - first :]
        sounding = top > self._loudest - self.RANGE_DB
        self._sounding += int(sounding.sum())
        self._steady += int((steady.any(axis=1) & sounding).sum())

    def share(self) -> float:
        """Share of the sounding moments with a steady tone."""
        return self._steady / self._sounding if self._sounding else 0.0
