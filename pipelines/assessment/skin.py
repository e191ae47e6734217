"""Skin tone of a face by its individual typology angle, in the six bins of Chardon et al. (1991).

``ITA = atan2(L* - 50, b*)`` in degrees over CIELAB (D65). It measures the *picture* of the skin: light, exposure, white
balance and make-up move it by tens of degrees, so a bin is no statement about a person, and differences between bins
may be differences between photos. Photos without colour have no angle.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.image.align import align_faces

Pixels = NDArray[np.uint8]
_SIDE = 112
#: Forehead between and above the eyes, and the two cheeks, in shares of a crop with margin 1 (x0, y0, x1, y1).
_REGIONS = ((0.38, 0.20, 0.62, 0.32), (0.24, 0.58, 0.38, 0.72), (0.62, 0.58, 0.76, 0.72))
#: Chroma below which skin has no hue that could be told.
_GREY = 3.0


class Tone(str, Enum):
    """Chardon's bins, by falling angle."""

    VERY_LIGHT = "very light"
    LIGHT = "light"
    INTERMEDIATE = "intermediate"
    TAN = "tan"
    BROWN = "brown"
    DARK = "dark"

    def __str__(self) -> str:
        return str(self.value)


#: Smallest angle of each bin but the last, in degrees; an angle on the limit belongs to the darker bin.
LIMITS = ((55.0, Tone.VERY_LIGHT), (41.0, Tone.LIGHT), (28.0, Tone.INTERMEDIATE), (10.0, Tone.TAN), (-30.0, Tone.BROWN))


def typology_angle(pixels: Pixels, landmarks: NDArray[np.floating[Any]]) -> float | None:
    """ITA in degrees of one face, or None for a face without colour.

    The median L* and b* of forehead and cheeks is taken over the three regions' medians, so that one region under
    hair, beard or a highlight does not decide.

    Args:
        pixels: UINT8 [height, width, 3] RGB.
        landmarks: [5, 2], x y in photo pixels, in the order of ``pipelines.image.faces``.
    """
    crop = align_faces(pixels, np.asarray(landmarks)[None], _SIDE, 1.0)[0]
    lab = cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    patches = [
        lab[round(y0 * _SIDE) : round(y1 * _SIDE), round(x0 * _SIDE) : round(x1 * _SIDE)].reshape(-1, 3)
        for x0, y0, x1, y1 in _REGIONS
    ]
    lightness, green_red, blue_yellow = np.median([np.median(patch, axis=0) for patch in patches], axis=0)
    if np.hypot(green_red, blue_yellow) < _GREY:
        return None
    return float(np.degrees(np.arctan2(lightness - 50.0, blue_yellow)))


def tone_of(angle: float) -> Tone:
    """The bin of an angle in degrees."""
    return next((tone for limit, tone in LIMITS if angle > limit), Tone.DARK)
