"""Ask the landmark networks about aligned face crops: 468 mesh points, and the contour and iris of one eye.

A face crop is :data:`SIDE` pixels wide with a margin of :data:`MARGIN`, so that the eye's own crop keeps its pixels
and the mesh sees it shrunk by a fifth. All points come back in pixels of the face crop. The numbers of the points are
MediaPipe's: "right" and "left" are the person's, so the person's right eye is at the left of the picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.image.align import warp_crop
from pipelines.infer import Array

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

MESH, IRIS = "face_mesh", "eye_iris"
SIDE = 240
MARGIN = 1.3
MESH_SIDE, EYE_SIDE = 192, 64
EYES = ((33, 133), (263, 362))
"""Outer and inner corner of the eye at the left of the picture, and of the one at its right."""
_EYE_CROP = 2.3
"""The eye's crop is so many times as wide as the eye: what the iris network was trained with."""

_FINE = 0.5
"""Down to this zoom a crop is drawn at once; below, with area averaging, at three times the cost."""

INNER_LIPS = ((13, 14), (82, 87), (312, 317))
"""Upper and lower inner lip, in the middle and beside it."""
LIP_CORNERS = (78, 308)
INNER_FACE = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 129, 358, 55, 285, 61, 291)
"""Corners of the eyes, nose, inner ends of the brows and corners of the mouth: what a face swap replaces."""
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""Outline of the face from the forehead's middle clockwise."""
LOWER_LID = tuple(range(1, 8))
"""Points of the eye's contour between its corners 0 and 8, and above each the one of the upper lid."""
UPPER_LID = tuple(range(9, 16))


def face_crop(pixels: Pixels, matrix: Floats) -> Pixels:
    """The face crop, UINT8 [SIDE, SIDE, 3].

    Args:
        pixels: UINT8 [h, w, 3] RGB; matrix: [2, 3] from its pixels to those of the crop.
    """
    if np.hypot(matrix[0, 0], matrix[1, 0]) < _FINE:
        return warp_crop(pixels, matrix, SIDE)
    drawn = cv2.warpAffine(pixels, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, dtype=np.uint8)


def mesh_pictures(crops: Pixels) -> Pixels:
    """Face crops [k, SIDE, SIDE, 3] as the mesh network sees them, UINT8 [k, 192, 192, 3]."""
    shape = (MESH_SIDE, MESH_SIDE)
    shrunk = [cv2.resize(crop, shape, interpolation=cv2.INTER_AREA) for crop in crops]
    return np.asarray(np.stack(shrunk), dtype=np.uint8)


def mesh_points(answer: Array) -> Floats:
    """POINTS [k, 468, 3] of the network in pixels of the face crop, float64."""
    points = answer.astype(np.float64) * (SIDE / MESH_SIDE)
    points[..., :2] += 0.5 * (SIDE / MESH_SIDE) - 0.5
    return np.asarray(points)


def eye_transforms(corners: Floats, right: NDArray[np.bool_]) -> Floats:
    """From pixels of the face crop to those of the eye's crop, [k, 2, 3].

    Args:
        corners: [k, 2, 2] outer and inner corner of the eye, x y in the face crop.
        right: [k] whether it is the eye at the right of the picture, which is mirrored.
    """
    outer, inner = corners[:, 0], corners[:, 1]
    across = inner - outer
    width = np.maximum(np.hypot(across[:, 0], across[:, 1]), 2.0)
    direction = across / width[:, None]
    # The network wants the outer corner at the left. Of the other eye outer to inner runs leftwards in the picture:
    # turning it level and mirroring it are one step.
    down = np.stack([-direction[:, 1], direction[:, 0]], axis=1) * np.where(right, -1.0, 1.0)[:, None]
    scale = EYE_SIDE / (_EYE_CROP * width)
    linear = np.stack([direction, down], axis=1) * scale[:, None, None]
    shift = (EYE_SIDE - 1) / 2 - (linear @ ((outer + inner) / 2)[:, :, None])[..., 0]
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def eye_pictures(crops: Pixels, transforms: Floats) -> Pixels:
    """The eyes of face crops [k, SIDE, SIDE, 3], UINT8 [k, 64, 64, 3]."""
    size = (EYE_SIDE, EYE_SIDE)
    cut = [
        cv2.warpAffine(crop, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for crop, matrix in zip(crops, transforms, strict=True)
    ]
    return np.asarray(np.stack(cut), dtype=np.uint8)


def gaze_of(contour: Array, iris: Array, right: NDArray[np.bool_]) -> Floats:
    """Where the iris stands between the corners of its eye, in widths of the eye, [k, 2].

    Args:
        contour: [k, 71, 3] and iris: [k, 5, 3] of the network, in pixels of the eye's crop.
        right: [k] whether the crop was mirrored.

    Returns:
        x to the right of the picture from the middle between the corners, y downwards.
    """
    corners = contour[:, (0, 8), :2].astype(np.float64)
    across = corners[:, 1] - corners[:, 0]
    width = np.maximum(np.hypot(across[:, 0], across[:, 1]), 1.0)
    along = across / width[:, None]
    down = np.stack([-along[:, 1], along[:, 0]], axis=1)
    offset = iris[:, 0, :2].astype(np.float64) - corners.mean(axis=1)
    x = (offset * along).sum(axis=1) / width
    return np.stack([np.where(right, -x, x), (offset * down).sum(axis=1) / width], axis=1)


def eye_aspect_ratio(contour: Array) -> Floats:
    """How open an eye is: mean height between the lids over the width between the corners, [k].

    The eye aspect ratio of Soukupova and Cech (Real-Time Eye Blink Detection using Facial Landmarks, 2016), with the
    five middle pairs of the contour. Open eyes have about 0.2 to 0.4, closed ones below 0.1.

    Args:
        contour: [k, 71, 2 or 3], any unit.
    """
    points = contour[..., :2].astype(np.float64)
    heights = np.linalg.norm(points[:, UPPER_LID[1:-1]] - points[:, LOWER_LID[1:-1]], axis=2).mean(axis=1)
    widths = np.linalg.norm(points[:, 8] - points[:, 0], axis=1)
    return np.asarray(heights / np.maximum(widths, 1e-6))


def mouth_opening(points: Floats) -> Floats:
    """Height between the inner lips over the width between the corners of the mouth, [k].

    Args:
        points: [k, 468, 2 or 3] of the mesh, any unit.
    """
    upper, lower = (points[:, [pair[side] for pair in INNER_LIPS], :2] for side in (0, 1))
    heights = np.linalg.norm(lower - upper, axis=2).mean(axis=1)
    widths = np.linalg.norm(points[:, LIP_CORNERS[1], :2] - points[:, LIP_CORNERS[0], :2], axis=1)
    return np.asarray(heights / np.maximum(widths, 1e-6))
