"""Five landmarks of one face at any moment, steady while the detector trembles and the head moves.

A look at five frames a second is enough for what is then read at the video's own rate (lips): landmarks are smoothed
over time and read at each frame's own time. A cut or a gap is no movement.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SMOOTH_S = 0.1
"""Standard deviation, in seconds, of the weights with which landmarks are averaged; the landmarks' own spacing where
that is more."""
MOST_GAP_S = 0.5
"""Seconds without landmarks over which the face is taken to move evenly; longer gaps are gaps."""
_MOST_JUMP = 0.6
"""Face sizes between neighbouring landmarks within which they are one shot: more is a cut or another face."""
_EDGE_S = 0.1
"""Seconds before the first and after the last landmark of a shot in which the face still counts as followed."""


def landmarks_at(
    times: npt.NDArray[np.floating[Any]],
    landmarks: npt.NDArray[np.floating[Any]],
    moments: npt.NDArray[np.floating[Any]],
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Landmarks at any moments, smoothed over time.

    Args:
        times: seconds of the landmarks, rising, [k]; landmarks: [k, 5, 2] in frame pixels, k >= 1.
        moments: seconds, [m].

    Returns:
        float64 [m, 5, 2], and bool [m]: whether the face was followed there.
    """
    times = np.asarray(times, dtype=np.float64)
    shots = _shots(times, np.asarray(landmarks, dtype=np.float64))
    found = np.zeros((len(moments), 5, 2))
    seen = np.zeros(len(moments), dtype=bool)
    for place, moment in enumerate(np.asarray(moments, dtype=np.float64)):
        after = int(np.searchsorted(times, moment))
        near = [side for side in (after - 1, after) if 0 <= side < len(times)]
        nearest = min(near, key=lambda side: abs(times[side] - moment))
        first, last = shots[nearest]
        own, points = times[first:last], landmarks[first:last]
        seen[place] = own[0] - _EDGE_S <= moment <= own[-1] + _EDGE_S
        found[place] = _at(own, points, moment)[0]
    return found, seen


def _shots(times: FloatArray, landmarks: FloatArray) -> Sequence[tuple[int, int]]:
    """For each moment with landmarks, the range of those that belong to one movement with it."""
    centres = landmarks.mean(axis=1)
    sizes = np.maximum(np.ptp(landmarks[..., 1], axis=1), 1e-6)
    jumps = np.linalg.norm(np.diff(centres, axis=0), axis=1) / np.minimum(sizes[1:], sizes[:-1])
    edges = np.flatnonzero((np.diff(times) > MOST_GAP_S) | (jumps > _MOST_JUMP)) + 1
    bounds = [0, *edges.tolist(), len(times)]
    return [(first, last) for first, last in pairwise(bounds) for _ in range(last - first)]


def _at(times: FloatArray, landmarks: npt.NDArray[np.floating[Any]], moment: float) -> FloatArray:
    """Landmarks at a moment, float64 [1, 5, 2]: a line fitted to the neighbours, near ones counting more."""
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else SMOOTH_S
    apart = times - moment
    weights = np.exp(-0.5 * (apart / max(SMOOTH_S, spacing)) ** 2) + 1e-12
    weights /= weights.sum()
    flat = np.asarray(landmarks, dtype=np.float64).reshape(len(times), -1)
    mean, middle = weights @ flat, float(weights @ apart)
    spread = float(weights @ (apart - middle) ** 2)
    slope = (weights * (apart - middle)) @ flat / spread if spread > 1e-6 else np.zeros(flat.shape[1])
    most = max(SMOOTH_S, 0.5 * spacing)  # the line is not drawn on far beyond the first and the last
    reach = float(np.clip(-middle, -most, most))
    return np.asarray((mean + slope * reach).reshape(1, 5, 2))
