"""What happens to a photo on its way: the conditions of the robustness sweep, each over UINT8 [h, w, 3] RGB pixels.

Noise is drawn from a seed, so that the same photo is damaged in the same way each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

QUALITIES = (90, 70, 50, 30)
FACTORS = (0.75, 0.5, 0.25)
BLURS = (0.5, 1.0, 2.0)
NOISES = (2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Condition:
    """A kind of damage and its strength.

    Attributes:
        family: ``none``, ``jpeg`` (quality), ``resize`` (factor; the photo is brought back to its size), ``blur``
            (Gaussian, sigma in pixels) or ``noise`` (Gaussian, sigma in grey levels).
        strength: see above.
    """

    family: str
    strength: float = 0.0

    @property
    def name(self) -> str:
        """Such as ``jpeg 50``."""
        return self.family if self.family == "none" else f"{self.family} {self.strength:g}"

    def apply(self, pixels: Pixels, seed: int = 0) -> Pixels:
        """The damaged photo, of the same shape; a file step is lossless unless the damage is JPEG.

        Raises:
            ValueError: the family is unknown.
        """
        if self.family not in _APPLY:
            raise ValueError(f"no damage {self.family!r}: there are {', '.join(_APPLY)}")
        return _APPLY[self.family](pixels, self.strength, seed)


CONDITIONS = (
    Condition("none"),
    *(Condition("jpeg", quality) for quality in QUALITIES),
    *(Condition("resize", factor) for factor in FACTORS),
    *(Condition("blur", sigma) for sigma in BLURS),
    *(Condition("noise", sigma) for sigma in NOISES),
)


def _jpeg(pixels: Pixels, quality: float, _seed: int) -> Pixels:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not done:
        raise RuntimeError("OpenCV could not write a JPEG")
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _resize(pixels: Pixels, factor: float, _seed: int) -> Pixels:
    height, width = pixels.shape[:2]
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    shrunk = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _blur(pixels: Pixels, sigma: float, _seed: int) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.uint8)


def _noise(pixels: Pixels, sigma: float, seed: int) -> Pixels:
    drawn = np.random.default_rng(seed).normal(0, sigma, pixels.shape)
    return np.clip(pixels + drawn, 0, 255).round().astype(np.uint8)


_APPLY: dict[str, Callable[[Pixels, float, int], Pixels]] = {
    "none": lambda pixels, _strength, _seed: pixels,
    "jpeg": _jpeg,
    "resize": _resize,
    "blur": _blur,
    "noise": _noise,
}
