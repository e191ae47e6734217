"""Self-blended faces whose mask is known: what heat maps are trained and measured on.

The same steps as ``training.pseudofakes.self_blended``, with the mask kept: as that draws it (``whole``), over one eye
or the mouth alone, over one side of the face, or a patch anywhere (hair, background). Masks that lie in many places
keep a map from being right by always pointing at the middle. A mask lives in the template's square, so it is carried
into a crop by a fixed transform.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.image.align import template
from training.pseudofakes import MASK_MARGIN, MASK_SIDE, Mask, Pixels, blend, changed_copy, mask_in_photo, moved_copy
from training.pseudofakes import face_mask as whole_mask

PARTS = ("left_eye", "right_eye", "mouth")
#: Every kind with its share of what the head of the heat map is trained on.
SHARES = {"whole": 0.25, "side": 0.2, "patch": 0.25, "left_eye": 0.1, "right_eye": 0.1, "mouth": 0.1}
KINDS = tuple(SHARES)


def part_mask(part: str, rng: np.random.Generator) -> Mask:
    """A soft mask over one eye or the mouth, in the template's square: float32 [128, 128] in 0..1.

    Raises:
        ValueError: the part is none of ``PARTS``.
    """
    points = template(MASK_SIDE, MASK_MARGIN)
    unit = MASK_SIDE / MASK_MARGIN
    if part == "mouth":
        centre, axes = points[3:].mean(axis=0), (rng.uniform(0.19, 0.26), rng.uniform(0.09, 0.14))
    elif part in PARTS:
        centre, axes = points[PARTS.index(part)], (rng.uniform(0.13, 0.19), rng.uniform(0.08, 0.12))
    else:
        raise ValueError(f"no part {part!r}: there are {', '.join(PARTS)}")
    moved = centre + rng.normal(0, 0.012, 2) * unit
    mask = np.zeros((MASK_SIDE, MASK_SIDE), np.float32)
    cv2.ellipse(
        mask,
        (round(float(moved[0])), round(float(moved[1]))),
        (round(axes[0] * unit), round(axes[1] * unit)),
        float(rng.normal(0, 6)),
        0,
        360,
        (1.0,),
        -1,
    )
    soft = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.8, 2.5)))
    return np.asarray(soft * rng.choice((0.75, 1.0, 1.0)), dtype=np.float32)


def side_mask(rng: np.random.Generator) -> Mask:
    """One side of a whole-face mask, cut by a line through the face at any angle."""
    mask = np.zeros_like(whole := whole_mask(rng))
    while mask.max() < 0.3:
        angle, middle = rng.uniform(0, 2 * np.pi), MASK_SIDE / 2 + rng.normal(0, 6, 2)
        ys, xs = np.mgrid[:MASK_SIDE, :MASK_SIDE]
        apart = (xs - middle[0]) * np.cos(angle) + (ys - middle[1]) * np.sin(angle)
        mask = np.asarray(whole * np.clip(0.5 + apart / rng.uniform(2, 8), 0, 1), dtype=np.float32)
        whole = whole_mask(rng) if mask.max() < 0.3 else whole
    return mask


def patch_mask(rng: np.random.Generator) -> Mask:
    """An ellipse anywhere in the middle 70 % of the template's square, its axes 6 to 20 % of the square."""
    mask = np.zeros((MASK_SIDE, MASK_SIDE), np.float32)
    centre = rng.uniform(0.15, 0.85, 2) * MASK_SIDE
    axes = rng.uniform(0.06, 0.2, 2) * MASK_SIDE
    place, size = (round(centre[0]), round(centre[1])), (round(axes[0]), round(axes[1]))
    cv2.ellipse(mask, place, size, float(rng.uniform(0, 180)), 0, 360, (1.0,), -1)
    soft = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.8, 4.0)))
    return np.asarray(soft * rng.choice((0.75, 1.0, 1.0)), dtype=np.float32)


def training_kind(rng: np.random.Generator) -> str:
    """A kind of mask, drawn by ``SHARES``."""
    return str(rng.choice(KINDS, p=list(SHARES.values())))


def draw_mask(kind: str, rng: np.random.Generator) -> Mask:
    """A mask of one of ``KINDS``."""
    drawers = {"whole": whole_mask, "side": side_mask, "patch": patch_mask}
    return drawers[kind](rng) if kind in drawers else part_mask(kind, rng)


def blended_with(pixels: Pixels, landmarks: npt.NDArray[np.float32], mask: Mask, rng: np.random.Generator) -> Pixels:
    """A self-blended image of a photo by a given mask; uint8 [h, w, 3] to the same."""
    height, width = pixels.shape[:2]
    over, under = pixels, pixels
    if rng.random() < 0.5:
        over = changed_copy(over, rng)
    else:
        under = changed_copy(under, rng)
    return blend(moved_copy(over, landmarks, rng), under, mask_in_photo(mask, landmarks, height, width))


def mask_in_crop(mask: Mask, size: int, margin: float) -> Mask:
    """A mask of the template's square as a crop of ``size`` and ``margin`` shows it, float32 [size, size] in 0..1."""
    there, here = template(MASK_SIDE, MASK_MARGIN), template(size, margin)
    zoom = float((here[1, 0] - here[0, 0]) / (there[1, 0] - there[0, 0]))
    shift = here.mean(axis=0) - zoom * there.mean(axis=0)
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    flags = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    if zoom < 0.5:  # far smaller: draw it large and shrink it by area, or thin masks would be missed
        return np.asarray(cv2.resize(mask_in_crop(mask, size * 4, margin), (size, size), interpolation=flags))
    return np.asarray(cv2.warpAffine(mask, matrix, (size, size), flags=cv2.INTER_LINEAR), dtype=np.float32)
