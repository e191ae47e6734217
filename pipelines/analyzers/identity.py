"""Identity consistency: how far the face before a moment is from the face after it, by embeddings of its frames.

The largest cosine distance between the mean embedding of the seconds before a moment and that of the seconds after it,
as speaker drift is measured for voices. Embeddings of a network that was not trained to tell people apart (such as
``frame_cnn``'s) also follow pose, light and expression: the number is only comparable within one network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.analyzers.series import Floats


@dataclass(frozen=True)
class IdentityDrift:
    """Where a face changes most."""

    distance: float
    """Cosine distance of before and after, 0 (the same) to 2."""
    at_s: float
    within: float
    """Median cosine distance of a frame's embedding to the mean of its side: what changes from frame to frame."""
    frames: int


def identity_drift(
    times: Floats, embeddings: NDArray[np.float32] | Floats, window_s: float = 2.0
) -> IdentityDrift | None:
    """The drift of one track.

    Args:
        times: seconds, rising, [n]; embeddings: [n, d], not zero.
        window_s: seconds before and after a moment that are compared; half of the track where that is shorter.

    Returns:
        None where fewer than three frames lie on each side of every moment.
    """
    if len(times) < 6:
        return None
    unit = np.asarray(embeddings, dtype=np.float64)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)
    reach = min(window_s, float(times[-1] - times[0]) / 2)
    best: IdentityDrift | None = None
    for place in range(3, len(times) - 2):
        moment = float((times[place - 1] + times[place]) / 2)
        first = int(np.searchsorted(times, moment - reach - 1e-9))
        last = int(np.searchsorted(times, moment + reach + 1e-9))
        if place - first < 3 or last - place < 3:
            continue
        sides = unit[first:place], unit[place:last]
        before, after = (side.mean(axis=0) for side in sides)
        scale = float(np.linalg.norm(before) * np.linalg.norm(after))
        distance = 1.0 - float(before @ after) / scale if scale > 1e-9 else 0.0
        if best is None or distance > best.distance:
            near = [1.0 - side @ (mean / max(np.linalg.norm(mean), 1e-9)) for side, mean in zip(sides, (before, after))]
            best = IdentityDrift(distance, moment, float(np.median(np.concatenate(near))), last - first)
    return best
