"""Time series whose samples may lie unevenly: what the biometric analyzers share. Times are seconds, rising."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def unbroken(times: Floats, longest_gap: float) -> list[slice]:
    """The stretches of samples between gaps of more than ``longest_gap`` seconds, in order."""
    if not len(times):
        return []
    edges = np.flatnonzero(np.diff(times) > longest_gap) + 1
    return [slice(int(first), int(last)) for first, last in pairwise([0, *edges.tolist(), len(times)])]


def longest_stretch(times: Floats, longest_gap: float) -> slice:
    """The longest of :func:`unbroken` by seconds; empty where there is no sample."""
    found = unbroken(times, longest_gap)
    return max(found, key=lambda part: times[part.stop - 1] - times[part.start], default=slice(0, 0))


def resample(times: Floats, values: Floats, rate: float) -> Floats:
    """Values at ``rate`` a second from the first sample on, linear between samples: [m, ...] of [n, ...]."""
    count = int(np.floor((times[-1] - times[0]) * rate + 1e-6)) + 1
    moments = times[0] + np.arange(count) / rate
    flat = values.reshape(len(times), -1)
    columns = [np.interp(moments, times, column) for column in flat.T]
    return np.asarray(np.stack(columns, axis=1).reshape(count, *values.shape[1:]))


def spectrum(values: Floats, rate: float) -> tuple[Floats, Floats]:
    """Frequencies in hertz and power of an even series, without its mean and slope, under a Hann window.

    Padded with zeros to at least 60 s, so that a peak can be read to a sixtieth of a hertz.
    """
    count = len(values)
    line = np.arange(count) - (count - 1) / 2
    centred = values - values.mean()
    spread = float(line @ line)
    centred = centred - line * (float(line @ centred) / spread if spread > 0 else 0.0)
    size = 1 << int(np.ceil(np.log2(max(count, 60 * rate))))
    power = np.square(np.abs(np.fft.rfft(centred * np.hanning(count + 2)[1:-1], size)))
    return np.fft.rfftfreq(size, 1 / rate), np.asarray(power)


def enough(amount: float, half: float) -> float:
    """0 for nothing, one half at ``half``, towards 1 for more: how much a confidence gains by more data."""
    return amount / (amount + half) if amount > 0 else 0.0
