"""The outline of a face from five landmarks: jaw, brows, forehead, eyes, nose and mouth of a drawn mean face.

The caches hold five landmarks a face. A mean face of 71 points, drawn over the mean picture of some hundred aligned
faces, lies in the frame of the alignment template; what a face's own five landmarks differ from the template is spread
smoothly over it, so that the outline follows the pose and the proportions. Masks are hulls of its parts.

Example:
    >>> points = outline_in_square(landmarks)              # float64 [71, 2] in the template's square
    >>> mask = mask_in_photo(hull_mask(landmarks, rng), landmarks, *photo.shape[:2])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.image.align import TEMPLATE, similarities, template
from training.pseudofakes import MASK_MARGIN, MASK_SIDE, NO_MAP, Mask, smooth_field

Points = npt.NDArray[np.float64]

_MIDDLE = 56.0
_Half = tuple[tuple[float, float], ...]
# The left half of each part as seen in the picture, in the template's 112 px.
_JAW: _Half = (
    *((18.5, 50.0), (19.0, 60.0), (20.5, 69.5), (23.0, 79.0), (27.0, 88.0), (32.5, 97.0), (39.5, 105.0)),
    *((47.0, 112.5), (56.0, 117.0)),
)
_FOREHEAD: _Half = ((20.5, 32.0), (25.5, 20.0), (35.0, 11.5), (46.0, 7.5), (56.0, 6.5))
_BROW: _Half = ((23.0, 42.0), (28.0, 37.5), (34.5, 36.0), (41.5, 37.0), (48.0, 40.0))
_EYE: _Half = ((29.0, 52.5), (34.5, 49.0), (41.5, 49.0), (47.0, 53.0), (41.5, 55.2), (34.5, 55.2))
_NOSE: _Half = (
    *((47.0, 76.5), (51.5, 78.8), (49.0, 70.0), (56.0, 50.0), (56.0, 57.0), (56.0, 64.0), (56.0, 72.0), (56.0, 80.0)),
)
_MOUTH: _Half = (*((41.5, 92.3), (46.5, 88.5), (52.0, 86.5), (46.0, 97.5), (51.0, 100.5), (56.0, 87.5), (56.0, 101.2)),)


def _whole(half: _Half) -> Points:
    """A part with its mirror image; points on the middle line stand once."""
    points = np.array(half)
    mirrored = points[points[:, 0] != _MIDDLE] * (-1, 1) + (2 * _MIDDLE, 0)
    return np.concatenate([points, mirrored])


def _mirrored(half: _Half) -> Points:
    return np.array(half) * (-1, 1) + (2 * _MIDDLE, 0)


_DRAWN: dict[str, Points] = {
    "jaw": _whole(_JAW),
    "forehead": _whole(_FOREHEAD),
    "left_brow": np.array(_BROW),
    "right_brow": _mirrored(_BROW),
    "left_eye": np.array(_EYE),
    "right_eye": _mirrored(_EYE),
    "nose": _whole(_NOSE),
    "mouth": _whole(_MOUTH),
}
#: All points in the unit square of a crop with margin 1, float64 [n, 2], and the places of each part in it.
OUTLINE: Points = np.concatenate(list(_DRAWN.values())) / 112.0
_ENDS = np.cumsum([len(points) for points in _DRAWN.values()]).tolist()
PARTS: dict[str, slice] = {
    name: slice(end - len(points), end) for (name, points), end in zip(_DRAWN.items(), _ENDS, strict=True)
}
_BROWS, _EYES = ("left_brow", "right_brow"), ("left_eye", "right_eye")
#: Hulls that a mask may have: the parts that each spans, and its share (Shiohara and Yamasaki draw whole faces mostly).
HULLS: dict[str, tuple[tuple[str, ...], float]] = {
    "face": (("jaw", *_BROWS), 0.3),
    "face_and_forehead": (("jaw", *_BROWS, "forehead"), 0.3),
    "features": ((*_BROWS, *_EYES, "nose", "mouth"), 0.15),
    "eyes": ((*_BROWS, *_EYES), 0.09),
    "mouth": (("mouth",), 0.09),
    "nose": (("nose",), 0.07),
}
WHOLE = ("face", "face_and_forehead", "features")
"""Hulls that hold all that makes an identity: those of a swap."""
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
"""Blending ratios of the paper."""
#: How much each landmark moves each point of the outline, [n, 5]: inverse squared distances (Shepard), so that a point
#: at a landmark goes with it and a point far from all goes with their mean, which a similarity leaves at 0.
_SPREAD: Points = 1 / (((OUTLINE[:, None] - TEMPLATE[None]) ** 2).sum(axis=2) + 1e-5)
_SPREAD /= _SPREAD.sum(axis=1, keepdims=True)


def outline_in_square(landmarks: npt.NDArray[np.floating[Any]]) -> Points:
    """The outline of a face in the template's square of ``MASK_SIDE`` pixels, float64 [n, 2]; ``PARTS`` names places.

    Args:
        landmarks: [5, 2] in photo pixels. Whatever they are, only what a similarity leaves of them counts here.
    """
    matrix = similarities(landmarks[None], MASK_SIDE, MASK_MARGIN)[0]
    own = np.asarray(landmarks, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    placed = (0.5 + (OUTLINE - 0.5) / MASK_MARGIN) * MASK_SIDE - 0.5
    return np.asarray(placed + _SPREAD @ (own - template(MASK_SIDE, MASK_MARGIN)))


def plain_hull(landmarks: npt.NDArray[np.floating[Any]], name: str) -> Mask:
    """One of ``HULLS`` in the template's square, filled, float32 [128, 128]."""
    outline = outline_in_square(landmarks)
    return _filled(np.concatenate([outline[PARTS[part]] for part in HULLS[name][0]]))


def _filled(points: Points) -> Mask:
    mask = np.zeros((MASK_SIDE, MASK_SIDE), np.float32)
    corners = cv2.convexHull((points * 16).round().astype(np.int32))
    return np.asarray(cv2.fillConvexPoly(mask, corners, (1.0,), cv2.LINE_AA, 4), np.float32)


def hull_mask(
    landmarks: npt.NDArray[np.floating[Any]], rng: np.random.Generator, hulls: Sequence[str] = tuple(HULLS)
) -> Mask:
    """A random soft mask over a hull of the face's outline, in the template's square: float32 [128, 128] in 0..1.

    As Shiohara and Yamasaki (CVPR 2022) make it: the convex hull is deformed elastically, shrunk by a blur of which
    only what stayed whole is kept, softened by a second blur, and multiplied by a blending ratio. 0.5 ms.

    Args:
        landmarks: [5, 2] in photo pixels; hulls: names in ``HULLS`` to draw from.
    """
    shares = np.array([HULLS[name][1] for name in hulls])
    name = hulls[int(rng.choice(len(hulls), p=shares / shares.sum()))]
    outline = outline_in_square(landmarks)
    spanned = np.concatenate([outline[PARTS[part]] for part in HULLS[name][0]])
    if name in ("mouth", "nose"):  # parts that are replaced alone are cut with some skin around them
        spanned = spanned.mean(axis=0) + (spanned - spanned.mean(axis=0)) * rng.uniform(1.15, 1.5)
    field = smooth_field(rng, MASK_SIDE, int(rng.integers(4, 11)), rng.uniform(0.5, 3.5))
    grid = np.stack(np.meshgrid(np.arange(MASK_SIDE), np.arange(MASK_SIDE)), axis=2).astype(np.float32) + field
    mask = np.asarray(cv2.remap(_filled(spanned), grid, NO_MAP, cv2.INTER_LINEAR), np.float32)
    whole = name in WHOLE
    shrunk = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.6, 2.4) if whole else 0.6)
    core = (shrunk > 0.99 * max(float(shrunk.max()), 1e-6)).astype(np.float32)
    mask = np.asarray(cv2.GaussianBlur(core, (0, 0), rng.uniform(0.7, 4.5 if whole else 2.0)), np.float32)
    return np.asarray(mask / max(float(mask.max()), 1e-6) * rng.choice(RATIOS), np.float32)
