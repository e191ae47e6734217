"""From what a network says of each frame to what it says of a face: a few bad frames decide nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BEST = 0.75
"""Share of the frames, the best by quality, that are pooled."""
TRIM = 0.2
"""Share of them that is left out at either end."""
LEAST = 3
"""Frames below which nothing is left out for its quality."""


def pooled(values: NDArray[np.float64], quality: NDArray[np.float64]) -> float:
    """Trimmed mean of the values of the better frames.

    One wild frame of five moves nothing, whatever its value: it is either of the worst quality or the most extreme.

    Args:
        values: log-odds of each frame, [k] with k of at least 1.
        quality: of each frame, [k]; only the order counts.
    """
    count = min(len(values), max(LEAST, int(np.ceil(BEST * len(values)))))
    best = np.argsort(-quality, kind="stable")[:count]
    kept = np.sort(np.asarray(values, dtype=np.float64)[best])
    trim = int(TRIM * len(kept) + 1e-9)
    return float(kept[trim : len(kept) - trim].mean())
