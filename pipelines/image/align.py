"""Align faces: the similarity transform from five landmarks to a fixed template, used by training and serving alike.

The template has ArcFace's proportions (Deng et al., 2019). A margin above 1 shows more around the face: the template
shrinks about the centre of the crop by that factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

_DRAWERS = ThreadPoolExecutor(2, thread_name_prefix="align")
"""Crops at different scales are drawn side by side: OpenCV lets go of the interpreter, and nothing else runs then."""

#: Left eye, right eye, nose tip, mouth corners (as seen in the picture) in the unit square of a crop with margin 1.
TEMPLATE: FloatArray = (
    np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]]) / 112.0
)


def template(size: int, margin: float) -> FloatArray:
    """The five template points in pixels of a crop of ``size`` x ``size`` with ``margin``, float64 [5, 2].

    Raises:
        ValueError: the size is below 1 or the margin is not positive.
    """
    if size < 1 or not margin > 0:
        raise ValueError(f"a crop needs a size of at least 1 and a positive margin, got {size} and {margin}")
    # Pixel centres lie at half integers of the continuous square; OpenCV counts them from 0.
    return (0.5 + (TEMPLATE - 0.5) / margin) * size - 0.5


def similarities(landmarks: npt.NDArray[np.floating[Any]], size: int, margin: float) -> FloatArray:
    """Least-squares similarity transforms from photo pixels to crop pixels.

    Umeyama (1991) without reflection; in two dimensions it has a closed form over complex numbers, so all faces are
    solved at once.

    Args:
        landmarks: [n, 5, 2], x y in photo pixels.
        size: side of the crop in pixels; margin: see the module.

    Returns:
        float64 [n, 2, 3], affine matrices. Points that all coincide give the scale of one pixel, never a division
        by zero.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise ValueError(f"landmarks must be [n, 5, 2], got {points.shape}")
    target = template(size, margin)
    source = points[..., 0] + 1j * points[..., 1]
    goal = target[:, 0] + 1j * target[:, 1]
    source_mean, goal_mean = source.mean(axis=1, keepdims=True), goal.mean()
    centred = source - source_mean
    spread = np.maximum((np.abs(centred) ** 2).sum(axis=1), 1e-6)
    turn = (np.conj(centred) * (goal - goal_mean)).sum(axis=1) / spread
    turn = np.where(np.abs(turn) < 1e-9, 1.0 + 0j, turn)
    shift = goal_mean - turn * source_mean[:, 0]
    return np.stack(
        [np.stack([turn.real, -turn.imag, shift.real], axis=1), np.stack([turn.imag, turn.real, shift.imag], axis=1)],
        axis=1,
    )


def inverse_transforms(transforms: FloatArray) -> FloatArray:
    """Transforms from crop pixels back to photo pixels, for overlays; [n, 2, 3] to [n, 2, 3]."""
    # In closed form: LAPACK's threads would go on spinning for longer than the whole photo takes.
    a, b, c, d = transforms[:, 0, 0], transforms[:, 0, 1], transforms[:, 1, 0], transforms[:, 1, 1]
    rows = [np.stack([d, -b], axis=1), np.stack([-c, a], axis=1)]
    linear = np.stack(rows, axis=1) / (a * d - b * c)[:, None, None]
    shift = -(linear @ transforms[:, :, 2:])
    return np.concatenate([linear, shift], axis=2)


def face_sizes(landmarks: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """Side of the photo's square that a crop with margin 1 shows, in photo pixels, float64 [n].

    It is the measure of a face's resolution: a crop of 160 px whose face has a size of 80 was enlarged twofold.
    """
    transforms = similarities(landmarks, 1, 1.0)
    return np.asarray(1.0 / np.hypot(transforms[:, 0, 0], transforms[:, 1, 0]))


def inside_shares(
    landmarks: npt.NDArray[np.floating[Any]], height: int, width: int, margin: float, points: int = 32
) -> FloatArray:
    """Share of each face's crop that lies inside the photo, 0 to 1, float64 [n]; the rest would be its border.

    Args:
        landmarks: [n, 5, 2] in photo pixels; height, width: of the photo; margin: see the module.
        points: how many of a side are looked at.
    """
    back = inverse_transforms(similarities(landmarks, points, margin))
    along = np.arange(points, dtype=np.float64)
    grid = np.stack([np.tile(along, points), np.repeat(along, points)])
    places = back[:, :, :2] @ grid + back[:, :, 2:] + 0.5  # of the continuous photo, [n, 2, points²]
    inside = (places >= 0) & (places < np.array([width, height])[:, None])
    return np.asarray(inside.all(axis=1).mean(axis=1))


def align_faces(
    pixels: Pixels,
    landmarks: npt.NDArray[np.floating[Any]],
    size: int,
    margin: float,
    border: int = cv2.BORDER_REPLICATE,
) -> Pixels:
    """Cut aligned square crops out of a photo.

    A crop that shrinks the photo is drawn at twice its size, from a copy of the photo that was reduced by area
    averaging where it is finer than that, and then halved by area averaging: fine detail does not alias.

    Args:
        pixels: UINT8 [height, width, 3]; landmarks: [n, 5, 2] in photo pixels; size, margin: see the module.
        border: what lies outside the photo, as OpenCV's border code (default: the border is replicated).

    Returns:
        UINT8 [n, size, size, 3].
    """
    transforms = similarities(landmarks, size, margin)
    crops = np.empty((len(transforms), size, size, 3), dtype=np.uint8)
    for crop, matrix in zip(crops, transforms, strict=True):
        crop[...] = warp_crop(pixels, matrix, size, border)
    return crops


def align_each(
    pixels: Pixels, landmarks: npt.NDArray[np.floating[Any]], geometries: Iterable[tuple[int, float]]
) -> dict[tuple[int, float], Pixels]:
    """Aligned crops of several sizes and margins, as :func:`align_faces` cuts them.

    Of two that show the face at one scale the smaller is the middle of the larger, so that a photo is drawn once for
    both.

    Args:
        geometries: sizes and margins.
    """
    drawn: dict[tuple[int, float], Future[Pixels]] = {}
    middles: dict[tuple[int, float], tuple[tuple[int, float], slice]] = {}
    for size, margin in sorted(set(geometries), reverse=True):
        for wide, reach in drawn:
            inset, odd = divmod(wide - size, 2)
            if not odd and math.isclose(wide / reach, size / margin, rel_tol=1e-5):
                middles[size, margin] = (wide, reach), slice(inset, inset + size)
                break
        else:
            drawn[size, margin] = _DRAWERS.submit(align_faces, pixels, landmarks, size, margin)
    made = {shape: crops.result() for shape, crops in drawn.items()}
    for shape, (whole, middle) in middles.items():
        made[shape] = np.ascontiguousarray(made[whole][:, middle, middle])
    return made


def warp_crop(pixels: Pixels, matrix: FloatArray, size: int, border: int = cv2.BORDER_REPLICATE) -> Pixels:
    """One crop of ``size`` x ``size`` for a transform from photo to crop pixels, without aliasing."""
    zoom = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if zoom >= 1.0:
        drawn = cv2.warpAffine(pixels, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
        return np.asarray(drawn, dtype=np.uint8)
    # Pixel i of the crop covers pixels 2i and 2i+1 of the drawing at twice its size.
    double = matrix * 2.0
    double[:, 2] += 0.5
    region, double = _reduced_region(pixels, double, 2 * size)
    drawn = cv2.warpAffine(region, double, (2 * size, 2 * size), flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _reduced_region(pixels: Pixels, matrix: FloatArray, size: int) -> tuple[Pixels, FloatArray]:
    """The part of the photo that a crop needs, reduced to the crop's resolution where it is finer; and its matrix."""
    zoom = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if zoom >= 1.0:
        return pixels, matrix
    height, width = pixels.shape[:2]
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], dtype=np.float64) - 0.5
    back = inverse_transforms(matrix[None])[0]
    square = corners @ back[:, :2].T + back[:, 2]
    pad = int(np.ceil(2 / zoom)) + 2
    low = np.clip(np.floor(square.min(axis=0)).astype(int) - pad, 0, [width - 1, height - 1])
    high = np.clip(np.ceil(square.max(axis=0)).astype(int) + pad, low + 1, [width, height])
    region = pixels[low[1] : high[1], low[0] : high[0]]
    target = (max(1, round(region.shape[1] * zoom)), max(1, round(region.shape[0] * zoom)))
    ratio = np.array([target[0] / region.shape[1], target[1] / region.shape[0]])
    reduced = cv2.resize(region, target, interpolation=cv2.INTER_AREA)
    # reduced = (photo - low + 0.5) * ratio - 0.5, so photo = (reduced + 0.5) / ratio - 0.5 + low
    linear = matrix[:, :2] / ratio
    shift = matrix[:, :2] @ (0.5 / ratio - 0.5 + low) + matrix[:, 2]
    return np.asarray(reduced, dtype=np.uint8), np.column_stack([linear, shift])
