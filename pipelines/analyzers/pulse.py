"""The pulse from the colour of the skin: blood makes it a little less green with each beat.

POS (Wang, den Brinker, Stuijk and de Haan, Algorithmic Principles of Remote PPG, 2017): in windows of 1.6 s the mean
colour is divided by its mean over time, projected on the plane that brightness does not touch, and its two directions
are added so that what is common to both cancels. The rate is the highest peak of the spectrum from 42 to 180 beats a
minute; the signal-to-noise ratio that of de Haan and Jeanne (2013): power around the rate and twice the rate over the
other power from 0.7 to 4 Hz. Compression takes most of the signal away: without a clear peak there is no pulse to read,
which says nothing of real or fake.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.analyzers.series import Floats, longest_stretch, resample, spectrum

RATE = 30.0
_WINDOW = 48
"""1.6 s."""
_GAP_S = 0.25
LEAST_S = 6.0
_BEATS = (0.7, 3.0)
_NOISE = (0.7, 4.0)
_LUCK_DB = 5.0
"""How far the highest of all peaks of noise rises above the noise, at the 95th percentile, for 8 to 30 s."""
_CHEEKS = (slice(128, 166), (slice(70, 102), slice(138, 170)))
"""Rows, and columns of both, in the face crop: below the eyes, beside the nose."""
_PLANE = np.array([[0.0, 1.0, -1.0], [-2.0, 1.0, 1.0]])


@dataclass(frozen=True)
class Pulse:
    """What the colour of the skin tells."""

    beats: float
    """A minute."""
    snr_db: float
    """Signal-to-noise ratio."""
    floor_db: float
    """What the chosen peak of noise alone reaches once in twenty times, for this length."""
    seconds: float


def cheek_colour(crop: NDArray[np.uint8]) -> Floats:
    """Mean red, green and blue of the cheeks in a face crop (``pipelines.analyzers.landmarks``), 0 to 255, [3]."""
    rows, columns = _CHEEKS
    return np.asarray(np.mean([cv2.mean(crop[rows, part])[:3] for part in columns], axis=0))


def pulse_of(times: Floats, colours: Floats) -> Pulse | None:
    """The pulse of a face.

    Args:
        times: seconds, rising, [n]; colours: mean red, green and blue of the skin, 0 to 255, [n, 3], NaN where unknown.

    Returns:
        None where less than six seconds were seen in one go, or the skin is black.
    """
    known = np.isfinite(colours).all(axis=1) & (np.asarray(colours) > 1.0).all(axis=1)
    times, colours = np.asarray(times)[known], np.asarray(colours, dtype=np.float64)[known]
    part = longest_stretch(times, _GAP_S)
    times, colours = times[part], colours[part]
    seconds = float(times[-1] - times[0]) if len(times) else 0.0
    if seconds < LEAST_S:
        return None
    hertz, power = spectrum(plane_orthogonal(resample(times, colours, RATE)), RATE)
    band = (hertz >= _BEATS[0]) & (hertz <= _BEATS[1])
    rate = float(hertz[band][np.argmax(power[band])])
    # The window of a short clip is wider than the 0.1 Hz of the paper: its main lobe has 2/T to each side.
    near = max(0.1, 1.5 / seconds)
    noise = (hertz >= _NOISE[0]) & (hertz <= _NOISE[1])
    signal = noise & ((np.abs(hertz - rate) <= near) | (np.abs(hertz - 2 * rate) <= near))
    rest = float(power[noise & ~signal].sum())
    found = float(power[signal].sum())
    ratio = found / rest if rest > 0 else (1e6 if found > 0 else 1e-6)
    share = 4 * near / (_NOISE[1] - _NOISE[0])
    floor_db = 10 * np.log10(share / (1 - share)) + _LUCK_DB
    return Pulse(60.0 * rate, float(np.clip(10 * np.log10(max(ratio, 1e-6)), -60.0, 60.0)), float(floor_db), seconds)


def plane_orthogonal(colours: Floats) -> Floats:
    """The pulse wave of an even series of colours [n, 3] at :data:`RATE`, by POS; [n]."""
    wave = np.zeros(len(colours))
    windows = np.lib.stride_tricks.sliding_window_view(colours, _WINDOW, axis=0)  # [m, 3, window]
    mean = np.maximum(windows.mean(axis=2, keepdims=True), 1e-6)
    first, second = np.moveaxis(_PLANE @ (windows / mean), 1, 0)  # each [m, window]
    strength = first.std(axis=1) / np.maximum(second.std(axis=1), 1e-9)
    parts = first + strength[:, None] * second
    parts -= parts.mean(axis=1, keepdims=True)
    for place in range(_WINDOW):
        wave[place : place + len(parts)] += parts[:, place]
    return wave
