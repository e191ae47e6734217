"""The mouth of one face through a video: grey crops at 25 a second, steady while the head moves.

Landmarks come from any look at the frames, also a sparse one (five a second): they are smoothed and read at every
frame's own time, so that neither the detector's jitter nor the speaking mouth moves the crop. Crops are resampled by
time, so 22, 24, 30 and 60 frames a second, and files whose rate varies, give the same 25.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.image.align import TEMPLATE, similarities, warp_crop
from pipelines.video.source import Frame

FloatArray = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

RATE = 25
"""Crops a second."""
SIDE = 48
"""Pixels of a crop's side."""
SPAN = 0.72
"""Side of a crop as a share of the aligned face with margin 1: from under the nose to the chin."""
SMOOTH_S = 0.1
"""Standard deviation, in seconds, of the weights with which landmarks are averaged over time."""
MOST_GAP_S = 0.5
"""Seconds without landmarks over which the face is taken to move evenly; nothing is cut in longer gaps."""
_MOST_JUMP = 0.6
"""Face sizes between neighbouring landmarks within which they are one shot: more is a cut or another face."""
_CENTRE = np.array([0.5, TEMPLATE[3:, 1].mean() + 0.03])
_UNIT = 1000


@dataclass(frozen=True)
class Mouths:
    """Crops at 25 a second.

    Attributes:
        start: seconds from the video's first frame to the first crop.
        crops: uint8 [n, 48, 48], grey.
        seen: bool [n]; False where no face was followed (the crop repeats its neighbour).
    """

    start: float
    crops: Pixels
    seen: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.crops)


def mouth_transforms(
    times: npt.NDArray[np.floating[Any]],
    landmarks: npt.NDArray[np.floating[Any]],
    moments: npt.NDArray[np.floating[Any]],
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Transforms from frame pixels to the mouth's crop at any moments.

    Args:
        times: seconds of the landmarks, rising, [k]; landmarks: [k, 5, 2] in frame pixels, k >= 1.
        moments: seconds, [m].

    Returns:
        float64 [m, 2, 3], and bool [m]: whether the face was followed there.
    """
    times = np.asarray(times, dtype=np.float64)
    shots = _shots(times, np.asarray(landmarks, dtype=np.float64))
    found = np.zeros((len(moments), 2, 3))
    seen = np.zeros(len(moments), dtype=bool)
    for place, moment in enumerate(np.asarray(moments, dtype=np.float64)):
        after = int(np.searchsorted(times, moment))
        near = [side for side in (after - 1, after) if 0 <= side < len(times)]
        nearest = min(near, key=lambda side: abs(times[side] - moment))
        first, last = shots[nearest]
        own, points = times[first:last], landmarks[first:last]
        inside = own[0] - 0.1 <= moment <= own[-1] + 0.1
        seen[place] = inside
        found[place] = _transform(_at(own, points, moment))
    return found, seen


def cut_mouths(
    frames: Iterable[Frame],
    times: npt.NDArray[np.floating[Any]],
    landmarks: npt.NDArray[np.floating[Any]],
    scale: float = 1.0,
) -> Mouths:
    """Cut the mouth out of frames, in the order of time.

    Args:
        frames: at the video's own rate, or so much of it as is wanted; one is in memory at a time.
        times, landmarks: see :func:`mouth_transforms`; in pixels of the video's full frames.
        scale: pixels of ``frames`` over pixels of full frames.

    Returns:
        Crops at 25 a second from the first frame to the last; none where there are no frames or no landmarks.
    """
    if not len(times):
        return Mouths(0.0, np.zeros((0, SIDE, SIDE), np.uint8), np.zeros(0, bool))
    stamps: list[float] = []
    crops: list[Pixels] = []
    seen: list[bool] = []
    for frame in frames:
        (matrix,), (there,) = mouth_transforms(times, landmarks, np.array([frame.time]))
        whole = matrix.copy()
        whole[:, :2] /= scale
        whole[:, 2] += matrix[:, :2].sum(axis=1) * (0.5 / scale - 0.5)  # pixel centres lie at half integers
        grey = cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY)
        crops.append(warp_crop(np.asarray(grey[..., None], np.uint8), whole, SIDE).reshape(SIDE, SIDE))
        stamps.append(frame.time)
        seen.append(bool(there))
    if not stamps:
        return Mouths(0.0, np.zeros((0, SIDE, SIDE), np.uint8), np.zeros(0, bool))
    return _resampled(np.array(stamps), np.stack(crops), np.array(seen))


def _resampled(stamps: FloatArray, crops: Pixels, seen: npt.NDArray[np.bool_]) -> Mouths:
    """25 crops a second; between two frames their mixture, so that a moving lip keeps its time."""
    if len(stamps) == 1:
        return Mouths(float(stamps[0]), crops, seen)
    count = int(np.floor((stamps[-1] - stamps[0]) * RATE + 1e-6)) + 1
    moments = stamps[0] + np.arange(count) / RATE
    after = np.clip(np.searchsorted(stamps, moments - 1e-6), 1, len(stamps) - 1)
    gap = np.maximum(stamps[after] - stamps[after - 1], 1e-6)
    share = np.clip((moments - stamps[after - 1]) / gap, 0.0, 1.0).astype(np.float32)[:, None, None]
    mixed = crops[after - 1] * (1 - share) + crops[after] * share
    there = seen[after - 1] & seen[after] & (gap < MOST_GAP_S)
    return Mouths(float(stamps[0]), np.clip(np.rint(mixed), 0, 255).astype(np.uint8), there)


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
    reach = float(np.clip(-middle, -0.5 * spacing, 0.5 * spacing))
    return np.asarray((mean + slope * reach).reshape(1, 5, 2))


def _transform(landmarks: FloatArray) -> FloatArray:
    """From frame pixels to the crop of the mouth, float64 [2, 3]."""
    face = similarities(landmarks, _UNIT, 1.0)[0]
    factor = SIDE / (SPAN * _UNIT)
    matrix = face * factor
    # In pixel centres: pixel p of the face's square lies at p + 0.5 of its continuous side.
    matrix[:, 2] += factor * 0.5 - 0.5 + SIDE / 2 - factor * _UNIT * _CENTRE
    return np.asarray(matrix)
