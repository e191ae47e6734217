"""People of rendered videos: the astronaut, and small grey portraits of LFW as scikit-image carries them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data as pictures

Pixels = NDArray[np.uint8]
SIZE = (320, 240)
SIDE = 170
"""Of a portrait in the picture, in pixels; the face is nearly as high."""
ELI, SUE, TOM = 45, 18, 11
"""Numbers of three portraits that look into the camera. The names are ours."""


@dataclass(frozen=True)
class Place:
    """Where a person stands in the picture: middle in pixels, size of the portrait's side, and what is behind."""

    x: float = 160.0
    y: float = 120.0
    side: int = SIDE


def portrait_of(number: int, side: int = SIDE) -> Pixels:
    """One of the first hundred pictures of scikit-image's ``lfw_subset``, UINT8 [side, side, 3]; they have 25 pixels
    a side."""
    table = np.asarray(pictures.lfw_subset())  # type: ignore[no-untyped-call]
    grey = cv2.resize(np.rint(table[number] * 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.repeat(grey[..., None], 3, axis=2), dtype=np.uint8)


def backdrop(colour: tuple[int, int, int]) -> Pixels:
    """A wall in uneven light."""
    light = 0.7 + 0.3 * np.arange(SIZE[0]) / SIZE[0]
    wall = np.array(colour)[None, None] * light[None, :, None]
    return np.repeat(wall, SIZE[1], axis=0).astype(np.uint8)


def put(frame: Pixels, person: Pixels, place: Place, step: int) -> Pixels:
    """The frame with a person in it, who sways slowly from step to step."""
    height, width = person.shape[:2]
    matrix = cv2.getRotationMatrix2D(
        (width / 2, height / 2), 3 * np.sin(step / 7), place.side / width * (1 + 0.03 * np.sin(step / 5))
    )
    shift = (place.x - width / 2 + 9 * np.sin(step / 6), place.y - height / 2 + 4 * np.cos(step / 5))
    matrix[:, 2] += shift
    size = (frame.shape[1], frame.shape[0])
    mask = cv2.warpAffine(np.ones((height, width), np.float32), matrix, size)[..., None]
    drawn = cv2.warpAffine(person, matrix, size) * mask + frame * (1 - mask)
    return np.asarray(np.rint(drawn), dtype=np.uint8)
