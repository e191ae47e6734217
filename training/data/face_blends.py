"""Blends over hulls of a face's outline: self-blended as the paper does it, and swaps between two people.

* landmark-blended: Shiohara and Yamasaki, *Detecting Deepfakes with Self-Blended Images* (CVPR 2022), step by step;
* face-swapped: another person's face is warped triangle by triangle onto the outline of this one, and blended by a
  soft mask or in the gradients (Poisson; Perez et al., SIGGRAPH 2003), as the programs of classical face swaps do.

Milliseconds here are of one core, for photos of 256 x 256.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial import Delaunay

from pipelines.image.align import face_sizes, inverse_transforms, similarities
from training.data.face_outline import OUTLINE, WHOLE, Points, hull_mask, outline_in_square, plain_hull
from training.pseudofakes import MASK_MARGIN, MASK_SIDE, NO_MAP, Mask, Pixels, blend, coloured_like, mask_in_photo

Landmarks = npt.NDArray[np.float32]

_WIDER = 1.3
#: A ring around the face, so that what lies under a mask's soft border is warped too.
_RING: Points = OUTLINE[cv2.convexHull(OUTLINE.astype(np.float32), returnPoints=False)[:, 0]]
_RING = _RING.mean(axis=0) + (_RING - _RING.mean(axis=0)) * _WIDER
_TRIANGLES: npt.NDArray[np.int32] = Delaunay(np.concatenate([OUTLINE, _RING])).simplices.astype(np.int32)
_GUARD = 3
"""Pixels that a mask for Poisson blending keeps from the photo's border, and the border around what is solved."""
_SMALLEST = 12


def source_transforms(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The paper's change of the source or the target: colour, then a lower resolution or sharpening. 5 ms.

    Channels shift by up to 20 levels in three of ten, hue, saturation and value change, brightness and contrast by up
    to a tenth; then half of the photos lose every second or fourth pixel, half are sharpened.
    """
    image: npt.NDArray[Any] = pixels
    if rng.random() < 0.3:
        image = np.clip(image + rng.uniform(-20, 20, 3), 0, 255).astype(np.uint8)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-4, 4)) % 180
    hsv[..., 1:] = np.clip(hsv[..., 1:] * rng.uniform(0.85, 1.15, 2), 0, 255)
    image = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    image = image * rng.uniform(0.9, 1.1) + rng.uniform(-0.1, 0.1) * image.mean()
    if rng.random() < 0.5:
        height, width = image.shape[:2]
        ratio = int(rng.choice((2, 4)))
        small = cv2.resize(image, (width // ratio, height // ratio), interpolation=cv2.INTER_NEAREST)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        crisp = rng.uniform(0.2, 0.5)
        around = cv2.GaussianBlur(image, (3, 3), 0)
        image = image + crisp * rng.uniform(2, 6) * (image - around)
    return np.clip(image, 0, 255).round().astype(np.uint8)


def landmark_blended(pixels: Pixels, landmarks: Landmarks, rng: np.random.Generator) -> Pixels:
    """A self-blended photo over a hull of its landmarks: uint8 [h, w, 3] to the same. 8 ms.

    Either the face that is laid over or the photo under it was transformed; the face and its mask are shifted and
    scaled together by up to 3 (down: 1.5) and 5 %, and the mask alone is deformed (Shiohara and Yamasaki, 3.2).
    """
    height, width = pixels.shape[:2]
    over, under = pixels, pixels
    if rng.random() < 0.5:
        over = source_transforms(over, rng)
    else:
        under = source_transforms(under, rng)
    unit = float(face_sizes(landmarks[None])[0])
    centre = landmarks.mean(axis=0).astype(np.float64)
    scale = rng.uniform(0.95, 1 / 0.95)
    shift = rng.uniform(-1, 1, 2) * (0.03, 0.015) * unit
    matrix = np.column_stack([np.eye(2) * scale, centre * (1 - scale) + shift])
    moved = cv2.warpAffine(over, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    points = (landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    mask = mask_in_photo(hull_mask(points, rng), points, height, width)
    return blend(np.asarray(moved, dtype=np.uint8), under, mask)


def _mesh(landmarks: Landmarks) -> Points:
    """Outline and ring of a face in its photo, float64 [n, 2]."""
    square = outline_in_square(landmarks)
    ring = (0.5 + (_RING - 0.5) / MASK_MARGIN) * MASK_SIDE - 0.5
    back = inverse_transforms(similarities(landmarks[None], MASK_SIDE, MASK_MARGIN))[0]
    return np.asarray(np.concatenate([square, ring]) @ back[:, :2].T + back[:, 2])


def warped_face(
    other: Pixels, other_landmarks: Landmarks, landmarks: Landmarks, height: int, width: int
) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Another photo's face on the place of this one, warped piecewise affinely over the triangles of the outline.

    A face that is much larger is reduced by area averaging first. 3 ms.

    Returns:
        uint8 [height, width, 3], and the mask of what the triangles cover; the rest is undefined.
    """
    shrink = float(face_sizes(landmarks[None])[0] / face_sizes(other_landmarks[None])[0])
    if shrink < 0.75:
        size = (max(8, round(other.shape[1] * shrink)), max(8, round(other.shape[0] * shrink)))
        factors = np.array([size[0] / other.shape[1], size[1] / other.shape[0]])
        other = np.asarray(cv2.resize(other, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        other_landmarks = ((other_landmarks + 0.5) * factors - 0.5).astype(np.float32)
    here, there = _mesh(landmarks)[_TRIANGLES], _mesh(other_landmarks)[_TRIANGLES]  # [t, 3, 2]
    flat = np.concatenate([here, np.ones((len(here), 3, 1))], axis=2)
    maps = (np.linalg.pinv(flat) @ there).astype(np.float32)  # [t, 3, 2]: x, y, 1 of this photo to the other
    number = np.full((height, width), -1, np.int32)
    for place, corners in enumerate((here * 16).round().astype(np.int32)):
        cv2.fillConvexPoly(number, corners, (place,), cv2.LINE_8, 4)
    ys, xs = np.nonzero(number >= 0)
    mine = maps[number[ys, xs]]
    found = xs[:, None].astype(np.float32) * mine[:, 0] + ys[:, None].astype(np.float32) * mine[:, 1] + mine[:, 2]
    grid = np.zeros((height, width, 2), np.float32)
    grid[ys, xs] = found
    face = cv2.remap(other, grid, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(face, dtype=np.uint8), number >= 0


def poisson_blended(over: Pixels, under: Pixels, mask: Mask) -> Pixels | None:
    """Blend the gradients of ``over`` into a photo where a mask [h, w, 1] is above a half (Perez et al., 2003).

    Only the surroundings of the mask are solved, and the mask keeps from the photo's border, where there is nothing to
    join. 4 ms.

    Returns:
        uint8 [h, w, 3]; None where too little of the mask is left.
    """
    inside = (mask[..., 0] > 0.5).astype(np.uint8)
    inside[:_GUARD], inside[-_GUARD:], inside[:, :_GUARD], inside[:, -_GUARD:] = 0, 0, 0, 0
    x, y, wide, tall = cv2.boundingRect(inside)
    if min(wide, tall) < _SMALLEST:
        return None
    # The mask keeps _GUARD pixels from the photo's border, so this lies inside the photo.
    area = np.s_[y - _GUARD : y + tall + _GUARD, x - _GUARD : x + wide + _GUARD]
    part, filled = np.ascontiguousarray(under[area]), np.ascontiguousarray(inside[area]) * np.uint8(255)
    left, top, wide, tall = cv2.boundingRect(filled)
    centre = (left + wide // 2, top + tall // 2)
    joined = under.copy()
    # OpenCV writes into the mask that it is given, and its rounding touches the surroundings.
    cloned = cv2.seamlessClone(np.ascontiguousarray(over[area]), part, filled.copy(), centre, cv2.NORMAL_CLONE)
    joined[area] = np.where(filled[..., None] > 0, cloned, part)
    return joined


def face_swapped(
    pixels: Pixels, landmarks: Landmarks, other: Pixels, other_landmarks: Landmarks, rng: np.random.Generator
) -> Pixels:
    """Another person's face in the place of this one, alpha or Poisson blended by chance; uint8 [h, w, 3].

    Under the soft mask the face takes the photo's colours first; Poisson blending finds them itself. 9 ms.
    """
    height, width = pixels.shape[:2]
    over, covered = warped_face(other, other_landmarks, landmarks, height, width)
    mask = mask_in_photo(hull_mask(landmarks, rng, WHOLE), landmarks, height, width) * covered[..., None]
    mask /= max(float(mask.max()), 1e-6)
    poisson, strength = rng.random() < 0.5, np.float32(rng.choice((0.8, 1.0, 1.0)))
    if poisson and (joined := poisson_blended(over, pixels, mask)) is not None:
        return joined
    # Hair over the forehead or the ears is no guide to the colour of a skin.
    features = mask_in_photo(plain_hull(landmarks, "features"), landmarks, height, width) * covered[..., None]
    return blend(coloured_like(over, pixels, features, most=1.5), pixels, mask * strength)
