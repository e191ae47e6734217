"""Blinks from how open the eyes are: how often, how long, and how fast the lid closes and opens.

The eye aspect ratio (Soukupova and Cech, 2016) of each frame is divided by how open that eye is around that moment. A
blink is a dip below :data:`_SHUT` that comes back: its ends lie where the curve crosses :data:`_EDGE`, on a line
between two frames. A dip shorter than 0.04 s or longer than 0.8 s is none: noise, or eyes that stay closed or look
down. People blink some 10 to 25 times a minute in conversation, for 0.1 to 0.4 s, and close the lid faster than they
open it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.analyzers.series import Floats, unbroken

_OPEN_S = 4.0
"""Seconds over which "open" is measured,"""
_OPEN_QUANTILE = 75
"""as this percentile of the curve."""
_SHUT, _EDGE = 0.6, 0.8
_SECONDS = (0.04, 0.8)
_GAP_S = 0.25
"""A blink cannot be seen across a longer gap between frames."""
_LEAST_OPEN = 0.08
"""Eye aspect ratio of an eye that is closed, or not seen, all the time: nothing is read from it."""


@dataclass(frozen=True)
class Blinks:
    """Blinks in the order of time; all arrays have one entry for each."""

    times: Floats
    """Seconds of the lowest point."""
    lengths: Floats
    """Seconds from edge to edge."""
    closing: Floats
    """Seconds from the first edge to the lowest point, in which the lid falls."""
    depths: Floats
    """How far the eye closed: 1 is shut."""
    seconds: float
    """Seconds that were watched."""
    frames: int
    noise: float
    """Median change between neighbouring frames over "open": well below :data:`_SHUT` where a blink can be told."""

    def __len__(self) -> int:
        return len(self.times)

    @property
    def per_minute(self) -> float:
        """Blinks a minute."""
        return 60.0 * len(self) / self.seconds if self.seconds > 0 else 0.0


def find_blinks(times: Floats, openness: Floats, eyes: NDArray[np.int64] | None = None) -> Blinks | None:
    """The blinks of a face.

    Args:
        times: seconds, rising, [n]; gaps may differ.
        openness: eye aspect ratio of each frame, [n]; NaN where it is not known.
        eyes: which eye was looked at, [n], where frames take turns: each eye has its own "open".

    Returns:
        None where less than a second was seen, or the eyes were never open.
    """
    known = np.isfinite(openness)
    times, openness = np.asarray(times)[known], np.asarray(openness, dtype=np.float64)[known]
    which = np.zeros(len(times), np.int64) if eyes is None else np.asarray(eyes)[known]
    parts = unbroken(times, _GAP_S)
    seconds = float(sum(times[part.stop - 1] - times[part.start] for part in parts))
    if seconds < 1.0 or np.quantile(openness, 0.9) < _LEAST_OPEN:
        return None
    curve = np.empty(len(times))
    for eye in np.unique(which):
        own = which == eye
        rate = own.sum() / max(seconds, 1e-6)
        width = max(3, 2 * int(_OPEN_S * rate / 2) + 1)
        base = ndimage.percentile_filter(openness[own], _OPEN_QUANTILE, size=width, mode="nearest")
        curve[own] = openness[own] / np.maximum(base, _LEAST_OPEN)
    rows = [row for part in parts for row in _dips(times[part], curve[part])]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    noise = float(np.median(np.abs(np.diff(curve)))) if len(curve) > 1 else 1.0
    return Blinks(table[:, 0], table[:, 1], table[:, 2], table[:, 3], seconds, len(times), noise)


def _dips(times: Floats, curve: Floats) -> list[tuple[float, float, float, float]]:
    """Time, length, closing time and depth of each dip in one unbroken stretch."""
    found = []
    shut = np.flatnonzero(curve < _SHUT)
    place = 0
    while place < len(shut):
        first = last = int(shut[place])
        while first > 0 and curve[first - 1] < _EDGE:
            first -= 1
        while last < len(curve) - 1 and curve[last + 1] < _EDGE:
            last += 1
        place = int(np.searchsorted(shut, last, side="right"))
        if first == 0 or last == len(curve) - 1:
            continue  # it began before, or ends after what was seen
        begin, end = _crossing(times, curve, first - 1), _crossing(times, curve, last)
        if not _SECONDS[0] <= end - begin <= _SECONDS[1]:
            continue
        deepest = float(curve[first : last + 1].min())
        # The lowest point: the middle of the frames that are as good as lowest.
        lowest = first + np.flatnonzero(curve[first : last + 1] <= deepest + 0.1)
        moment = float(times[lowest].mean())
        found.append((moment, end - begin, float(times[lowest[0]]) - begin, min(1.0, 1.0 - deepest)))
    return found


def _crossing(times: Floats, curve: Floats, place: int) -> float:
    """Where the curve crosses the edge between a frame and the next."""
    one, two = curve[place], curve[place + 1]
    share = (one - _EDGE) / (one - two) if abs(one - two) > 1e-9 else 0.5
    return float(times[place] + np.clip(share, 0.0, 1.0) * (times[place + 1] - times[place]))
