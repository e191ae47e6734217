"""Eye movement from where the iris stands between the corners of its eye.

Positions are in widths of the eye (about 30 mm; 0.07 is some 10 degrees of turning). Shifts of the gaze are found by a
velocity threshold on a series that was resampled to 12.5 a second (the simplest of the algorithms that Salvucci and
Goldberg compare, 2000): saccades themselves last 0.02 to 0.1 s and are too fast for video, their result is not. Both
eyes of a person move together; painted or generated ones need not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.analyzers.series import Floats, longest_stretch, resample

RATE = 12.5
_GAP_S = 0.8
"""A blink hides the iris for up to half a second; the look goes on behind it."""
_STEP = 0.04
"""Least change within two samples, in widths of the eye, that is a shift of the gaze."""
_NOISE_STEPS = 6.0
"""And so many times the median change, so that trembling points are no movement."""


@dataclass(frozen=True)
class Gaze:
    """How the eyes of a face moved."""

    spread: float
    """From the 5th to the 95th percentile of the horizontal position, in widths of the eye."""
    shifts: Floats
    """Seconds of the shifts of gaze."""
    together: float
    """Correlation of the horizontal movement of both eyes, -1 to 1; NaN where one was not seen or did not move."""
    noise: float
    """Median change between neighbouring samples, in widths of the eye."""
    seconds: float

    @property
    def per_minute(self) -> float:
        """Shifts of gaze a minute."""
        return 60.0 * len(self.shifts) / self.seconds if self.seconds > 0 else 0.0


def eye_movement(times: Floats, positions: Floats, eyes: NDArray[np.int64]) -> Gaze | None:
    """The movement of both eyes.

    Args:
        times: seconds, rising, [n].
        positions: [n, 2] of the iris in widths of the eye, x to the right of the picture; NaN where unknown or shut.
        eyes: [n] 0 or 1, which eye was looked at.

    Returns:
        None where less than a second of one eye was seen.
    """
    known = np.isfinite(positions).all(axis=1)
    series = []
    for eye in (0, 1):
        own = known & (eyes == eye)
        if np.count_nonzero(own) > 2:
            series.append((times[own], positions[own] - np.median(positions[own], axis=0)))
    if not series:
        return None
    moments = np.concatenate([each for each, _ in series])
    order = np.argsort(moments, kind="stable")
    moments, places = moments[order], np.concatenate([each for _, each in series])[order]
    part = longest_stretch(moments, _GAP_S)
    seconds = float(moments[part.stop - 1] - moments[part.start])
    if seconds < 1.0:
        return None
    even = resample(moments[part], places[part], RATE)
    steps = np.linalg.norm(even[2:] - even[:-2], axis=1)
    noise = float(np.median(np.linalg.norm(np.diff(even, axis=0), axis=1)))
    fast = steps > max(_STEP, _NOISE_STEPS * noise)
    begins = np.flatnonzero(fast & ~np.concatenate([[False], fast[:-1]]))
    ends = np.flatnonzero(fast & ~np.concatenate([fast[1:], [False]]))
    shifts = moments[part][0] + ((begins + ends) / 2 + 1) / RATE
    low, high = np.quantile(even[:, 0], [0.05, 0.95])
    return Gaze(float(high - low), np.asarray(shifts), _together(series), noise, seconds)


def _together(series: list[tuple[Floats, Floats]]) -> float:
    if len(series) < 2:
        return float("nan")
    begin, end = (pick(times[place] for times, _ in series) for pick, place in ((max, 0), (min, -1)))
    if end - begin < 1.0:
        return float("nan")
    grid = np.arange(begin, end, 1 / RATE)
    one, two = (np.interp(grid, times, places[:, 0]) for times, places in series)
    if min(one.std(), two.std()) < 1e-4:
        return float("nan")
    return float(np.corrcoef(one, two)[0, 1])
