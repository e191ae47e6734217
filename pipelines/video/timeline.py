"""The timeline of a video: what the strongest face says, stretch by stretch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHORTEST_S = 1.0
"""Seconds of a stretch, at least."""
FEWEST = 3
"""Frames of a stretch, as far as they are there: one frame says too little."""
MOST = 240
"""Stretches of a timeline."""


def stretches_of(
    columns: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], step_s: float, seconds: float
) -> list[tuple[float, float, float]]:
    """Start, end (seconds) and log-odds of stretches of equal length; those without a face are left out.

    Args:
        columns: of each face, the times [k] of its frames and the log-odds [k] of each.
        step_s: seconds from one sampled frame to the next; seconds: length of the video.
    """
    length = max(SHORTEST_S, FEWEST * step_s, seconds / MOST)
    count = max(1, round(seconds / length))
    length = max(seconds, 1e-9) / count
    found = []
    for place in range(count):
        start, end = place * length, (place + 1) * length
        medians = []
        for times, values in columns:
            inside = values[(times >= start - 1e-9) & ((times < end - 1e-9) | (place == count - 1))]
            if len(inside):
                medians.append(float(np.median(inside)))
        if medians:
            found.append((start, end, max(medians)))
    return found
