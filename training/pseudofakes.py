"""Pseudo-fakes: fakes made from real photos, so that each stands beside the photo that it came from.

* self-blended: a slightly changed copy of the face is blended over the photo (Shiohara & Yamasaki, CVPR 2022);
* cross-blended: another person's face, colour-matched, is blended over (the way of classical face swaps);
* reconstructed: the face or the whole photo has been through an image autoencoder (``training.reconstruct``).

All of it needs five landmarks only: the mask lives in the template's square and is carried into the photo. Blends over
the hulls of a face's outline are in ``training.data.face_blends``, traces of synthesis in ``training.data.traces``.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.image.align import inverse_transforms, similarities

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.float32]

MASK_SIDE = 128
MASK_MARGIN = 1.6
#: OpenCV takes one map of x and y together; its second map is then empty.
NO_MAP = np.empty(0, dtype=np.float32)
RATIOS = (0.35, 0.5, 0.75, 1.0, 1.0, 1.0)


def smooth_field(rng: np.random.Generator, side: int, cells: int, strength: float) -> npt.NDArray[np.float32]:
    """A smooth random displacement, float32 [side, side, 2] in pixels."""
    coarse = rng.normal(0, strength, (cells, cells, 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def face_mask(rng: np.random.Generator) -> Mask:
    """A random soft mask over the face or a part of it, in the template's square: float32 [128, 128] in 0..1."""
    side = MASK_SIDE
    mask = np.zeros((side, side), np.float32)
    unit = side / MASK_MARGIN  # pixels of the tight face square
    middle = side / 2
    kind = rng.random()
    if kind < 0.7:  # the whole face, from brows to chin or wider
        centre = (middle + rng.normal(0, 0.02) * unit, middle + rng.uniform(0.02, 0.14) * unit)
        axes = (rng.uniform(0.34, 0.48) * unit, rng.uniform(0.42, 0.62) * unit)
    elif kind < 0.85:  # eyes and nose
        centre = (middle, middle - rng.uniform(0.0, 0.1) * unit)
        axes = (rng.uniform(0.3, 0.42) * unit, rng.uniform(0.14, 0.25) * unit)
    else:  # mouth and chin
        centre = (middle, middle + rng.uniform(0.25, 0.35) * unit)
        axes = (rng.uniform(0.2, 0.35) * unit, rng.uniform(0.14, 0.25) * unit)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    power = rng.uniform(0.7, 1.0)  # below 1 the ellipse becomes squarer
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shape = np.sign(circle) * np.abs(circle) ** power * np.array(axes) + np.array(centre)
    shape += rng.normal(0, 0.015 * unit, shape.shape)
    cv2.fillPoly(mask, [shape.round().astype(np.int32)], (1.0,))
    field = smooth_field(rng, side, int(rng.integers(4, 8)), rng.uniform(1.0, 4.0))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=2).astype(np.float32) + field
    mask = np.asarray(cv2.remap(mask, grid, NO_MAP, cv2.INTER_LINEAR), dtype=np.float32)
    sigma = float(np.exp(rng.uniform(np.log(0.8), np.log(7.0))))
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), dtype=np.float32)
    if rng.random() < 0.5:  # keep the soft border inside the shape
        mask = np.clip(mask * 2 - 1, 0, 1)
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.0), dtype=np.float32)
    return np.asarray(mask * rng.choice(RATIOS), dtype=np.float32)


def mask_in_photo(mask: Mask, landmarks: npt.NDArray[np.float32], height: int, width: int) -> Mask:
    """Carry a mask of the template's square into a photo, float32 [height, width, 1]."""
    back = inverse_transforms(similarities(landmarks[None], MASK_SIDE, MASK_MARGIN))[0]
    return np.asarray(cv2.warpAffine(mask, back, (width, height), flags=cv2.INTER_LINEAR), dtype=np.float32)[..., None]


def changed_copy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A slightly changed copy: colour, and sharpness or a pass through a lower resolution."""
    image: npt.NDArray[Any] = pixels.astype(np.float32)
    if rng.random() < 0.8:
        hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV).astype(np.float32)
        hsv[..., 0] = (hsv[..., 0] + rng.normal(0, 3)) % 180
        hsv[..., 1] *= rng.normal(1, 0.12)
        hsv[..., 2] *= rng.normal(1, 0.08)
        image = cv2.cvtColor(np.clip(hsv, 0, [179, 255, 255]).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    if rng.random() < 0.5:
        image += rng.normal(0, 6, 3).astype(np.float32)
        image = (image - image.mean()) * np.float32(rng.normal(1, 0.07)) + image.mean()
    kind = rng.random()
    height, width = image.shape[:2]
    if kind < 0.4:
        factor = rng.uniform(0.3, 0.9)
        small = (max(8, round(width * factor)), max(8, round(height * factor)))
        down = cv2.resize(image, small, interpolation=int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR])))
        up = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST], p=[0.45, 0.45, 0.1]))
        image = cv2.resize(down, (width, height), interpolation=up)
    elif kind < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3))
    elif kind < 0.8:
        image = image + rng.uniform(0.2, 1.0) * (image - cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.0)))
    return np.clip(image, 0, 255).round().astype(np.uint8)


def moved_copy(pixels: Pixels, landmarks: npt.NDArray[np.float32], rng: np.random.Generator) -> Pixels:
    """The photo moved a little around its face, with a smooth deformation: what a blended face never fits exactly."""
    height, width = pixels.shape[:2]
    span = float(np.ptp(landmarks[:, 0]) + np.ptp(landmarks[:, 1])) / 2
    centre = landmarks.mean(axis=0)
    turn, zoom = rng.normal(0, 1.5), float(np.exp(rng.normal(0, 0.025)))
    matrix = np.asarray(cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, zoom), dtype=np.float64)
    matrix[:, 2] += rng.normal(0, 0.02, 2) * span
    inverse = cv2.invertAffineTransform(matrix)
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    grid = np.stack([xs, ys], axis=2) @ inverse[:, :2].T.astype(np.float32) + inverse[:, 2].astype(np.float32)
    strength = 0.012 * span if rng.random() < 0.5 else 0.0
    if strength:
        coarse = rng.normal(0, strength, (6, 6, 2)).astype(np.float32)
        grid += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    moved = cv2.remap(pixels, grid.astype(np.float32), NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.uint8)


def blend(over: Pixels, under: Pixels, mask: Mask) -> Pixels:
    """Blend two photos of one shape by a mask [h, w, 1]."""
    mixed = under.astype(np.float32) + mask * (over.astype(np.float32) - under.astype(np.float32))
    return np.clip(mixed, 0, 255).round().astype(np.uint8)


def self_blended(pixels: Pixels, landmarks: npt.NDArray[np.float32], rng: np.random.Generator) -> Pixels:
    """A self-blended image of a photo; uint8 [h, w, 3] to the same."""
    height, width = pixels.shape[:2]
    over, under = pixels, pixels
    if rng.random() < 0.5:
        over = changed_copy(over, rng)
    else:
        under = changed_copy(under, rng)
    over = moved_copy(over, landmarks, rng)
    return blend(over, under, mask_in_photo(face_mask(rng), landmarks, height, width))


def part_replaced(
    pixels: Pixels, replacement: Pixels, landmarks: npt.NDArray[np.float32], rng: np.random.Generator
) -> Pixels:
    """The photo with its face taken from another version of the same photo (such as a reconstruction)."""
    mask = mask_in_photo(face_mask(rng), landmarks, *pixels.shape[:2])
    over = changed_copy(replacement, rng) if rng.random() < 0.4 else replacement
    return blend(over, pixels, mask)


def coloured_like(over: Pixels, under: Pixels, mask: Mask, most: float = 2.0) -> Pixels:
    """A photo with the mean and spread of another's colours, both where a mask [h, w, 1] is above 0.2.

    The spread of a channel changes by at most the factor ``most``.
    """
    inside = mask[..., 0] > 0.2
    if inside.sum() <= 50:
        return over
    here = under[inside].astype(np.float32)
    there = over[inside].astype(np.float32)
    gain = np.clip(here.std(axis=0) / (there.std(axis=0) + 1e-3), 1 / most, most)
    matched = np.clip((over - there.mean(axis=0)) * gain + here.mean(axis=0), 0, 255)
    return np.asarray(matched.round(), dtype=np.uint8)


def cross_blended(
    pixels: Pixels,
    landmarks: npt.NDArray[np.float32],
    other: Pixels,
    other_landmarks: npt.NDArray[np.float32],
    rng: np.random.Generator,
) -> Pixels:
    """Another person's face, moved onto this one and matched in colour, blended over the photo."""
    height, width = pixels.shape[:2]
    to_square = similarities(other_landmarks[None], MASK_SIDE, MASK_MARGIN)[0]
    from_square = inverse_transforms(similarities(landmarks[None], MASK_SIDE, MASK_MARGIN))[0]
    matrix = from_square[:, :2] @ to_square
    matrix[:, 2] += from_square[:, 2]
    moved = cv2.warpAffine(other, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = mask_in_photo(face_mask(rng), landmarks, height, width)
    return blend(coloured_like(np.asarray(moved, dtype=np.uint8), pixels, mask), pixels, mask)
