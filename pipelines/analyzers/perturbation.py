"""Jitter and shimmer as Praat's manual defines them ("local"), over the voiced stretches of a recording.

Jitter is the mean absolute difference between neighbouring periods over the mean period; shimmer the same of the
amplitudes of neighbouring periods. Periods whose ratio is above 1.3 and amplitudes whose ratio is above 1.6 are no
neighbours (Praat's factors). A period is the shift at which the waveform around a glottal pulse fits the one that
follows best (Praat's ``cc``); all pulses of a recording are matched at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from pipelines.analyzers.frames import HOP, RATE, Floats
from pipelines.analyzers.pitch import PitchTrack, parabola

_PIECE = 16
"""Frames of a piece: pulses are counted from the loudest one of each, so that errors of the pitch do not add up."""
_REACH = 0.2
"""A period may differ from what the pitch track says by this share."""
_BLOCK = 2048
_PERIODS, _AMPLITUDES = 1.3, 1.6
_LIKE = 0.5
"""Smallest correlation of two neighbouring periods."""


@dataclass(frozen=True)
class Perturbation:
    """Jitter and shimmer, shares of the mean (0.01 is one per cent)."""

    jitter: float
    shimmer: float
    pairs: int
    """Neighbouring periods that were compared."""
    likeness: float
    """Mean correlation of a period with the next, 0 to 1."""


def perturbation(samples: Floats, track: PitchTrack) -> Perturbation | None:
    """Jitter and shimmer of a recording; None where no two neighbouring periods were found.

    Args:
        samples: [n] 16 kHz mono; track: its pitch.
    """
    marks, periods, pieces = _marks(samples, track)
    if len(marks) < 3:
        return None
    shifts, likeness = _match(samples, marks, periods)
    good = likeness >= _LIKE
    # From the piece's first mark on, pulses lie where the measured periods put them.
    first = np.concatenate([[True], pieces[1:] != pieces[:-1]])
    walked = np.cumsum(shifts) - shifts
    pulses = marks[first][pieces] + walked - walked[first][pieces]
    amplitudes = _amplitudes(samples, pulses, periods)
    together = (pieces[1:] == pieces[:-1]) & good[1:] & good[:-1]
    jitter, pairs = _local(shifts, together, _PERIODS)
    shimmer, _ = _local(amplitudes, together, _AMPLITUDES)
    if jitter is None or shimmer is None:
        return None
    return Perturbation(jitter, shimmer, pairs, float(likeness[good].mean()))


def _local(values: NDArray[np.float64], together: NDArray[np.bool_], factor: float) -> tuple[float | None, int]:
    one, two = values[:-1][together], values[1:][together]
    near = np.maximum(one, two) <= factor * np.minimum(one, two)
    if not near.any():
        return None, 0
    one, two = one[near], two[near]
    return float(np.abs(one - two).mean() / ((one + two) / 2).mean()), int(near.sum())


def _marks(samples: Floats, track: PitchTrack) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Where pulses are expected (samples), their periods, and the piece that each belongs to.

    In each piece the phase of the pitch track is zero at the largest sample near the middle.
    """
    marks, periods, pieces = [], [], []
    number = 0
    for start, end in track.stretches:
        for low in range(start, end, _PIECE):
            high = min(low + _PIECE, end)
            if high - low < 3:
                continue
            at = np.arange(low, high) * float(HOP)
            turns = np.concatenate([[0.0], np.cumsum((track.f0[low + 1 : high] + track.f0[low : high - 1]) / 2)])
            turns *= HOP / RATE
            middle, period = int(at[len(at) // 2]), int(RATE / track.f0[low:high].mean())
            near = np.abs(samples[max(0, middle - period // 2) : middle + period // 2 + 1])
            if not len(near):
                continue
            loudest = max(0, middle - period // 2) + int(np.argmax(near))
            phase = float(np.interp(loudest, at, turns))
            steps = np.arange(np.ceil(-phase), np.floor(turns[-1] - phase) + 1)
            if len(steps) < 2:
                continue
            places = np.interp(steps + phase, turns, at)
            marks.append(places)
            periods.append(RATE / np.interp(places, at, track.f0[low:high]))
            pieces.append(np.full(len(places), number))
            number += 1
    if not marks:
        return np.zeros(0), np.zeros(0), np.zeros(0, np.int64)
    return np.concatenate(marks), np.concatenate(periods), np.concatenate(pieces).astype(np.int64)


def _match(
    samples: Floats, marks: NDArray[np.float64], periods: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each mark the shift to the next period (samples), and how alike the two are (correlation).

    The period around the mark is compared with the waveform at every shift within :data:`_REACH` of the expected one.
    """
    longest = int(periods.max()) + 2
    reach = int(longest * (1 + _REACH)) + 2
    padded = np.concatenate([np.zeros(longest, np.float32), samples, np.zeros(longest + 2 * reach, np.float32)])
    view = np.lib.stride_tricks.sliding_window_view(padded, longest + reach)
    shifts, likeness = np.empty(len(marks)), np.empty(len(marks))
    for start in range(0, len(marks), _BLOCK):
        part = slice(start, start + _BLOCK)
        wide = np.round(periods[part]).astype(np.int64)
        begin = np.round(marks[part]).astype(np.int64) - wide // 2 + longest
        shifts[part], likeness[part] = _best_shift(view[begin], wide, periods[part])
    return shifts, likeness


def _best_shift(
    windows: Floats, wide: NDArray[np.int64], periods: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lags = np.arange(int((1 + _REACH) * wide.max()) + 3)
    size = fft.next_fast_len(windows.shape[1], real=True)
    inside = np.arange(windows.shape[1]) < wide[:, None]
    own = np.where(inside, windows, np.float32(0))
    products = fft.irfft(fft.rfft(windows, size, axis=1) * np.conj(fft.rfft(own, size, axis=1)), size, axis=1)
    sums = np.concatenate(
        [np.zeros((len(windows), 1)), np.cumsum(np.square(windows, dtype=np.float64), axis=1)], axis=1
    )
    rows = np.arange(len(windows))[:, None]
    ends = np.minimum(lags + wide[:, None], windows.shape[1])
    energies = sums[rows, ends] - sums[rows, lags]
    alike = products[:, lags] / np.sqrt(np.maximum(energies * energies[:, :1], 1e-20))
    allowed = np.abs(lags - periods[:, None]) <= _REACH * periods[:, None]
    best = np.argmax(np.where(allowed, alike, -2.0), axis=1)
    best = np.clip(best, 1, len(lags) - 2)
    row = rows[:, 0]
    peak = parabola(alike[row, best - 1], alike[row, best], alike[row, best + 1])
    return best + peak, np.clip(alike[row, best], 0.0, 1.0)


def _amplitudes(samples: Floats, pulses: NDArray[np.float64], periods: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square around each pulse, under a Hann window of 0.2 periods to each side, as Praat takes it."""
    half = np.maximum(0.2 * periods, 2.0)
    widest = int(np.ceil(half.max())) + 1
    offsets = np.arange(-widest, widest + 1)
    padded = np.concatenate([np.zeros(widest, np.float32), samples, np.zeros(2 * widest + 2, np.float32)])
    places = np.clip(np.round(pulses).astype(np.int64), 0, len(samples)) + widest
    away = offsets - (pulses - np.round(pulses))[:, None]
    weight = np.where(np.abs(away) < half[:, None], 0.5 + 0.5 * np.cos(np.pi * away / half[:, None]), 0.0)
    values = padded[places[:, None] + offsets]
    return np.asarray(np.sqrt((np.square(values) * weight).sum(axis=1) / weight.sum(axis=1)), dtype=np.float64)
