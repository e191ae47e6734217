"""Small videos of one public-domain face that moves, and what finds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
SAMPLES = Path(__file__).resolve().parents[3] / "samples"


def portrait() -> Pixels:
    """The astronaut, UINT8 [512, 512, 3] RGB; the face is about 110 px wide."""
    return np.asarray(cv2.cvtColor(cv2.imread(str(SAMPLES / "astronaut.jpg")), cv2.COLOR_BGR2RGB), dtype=np.uint8)


def moving(picture: Pixels, count: int, width: int = 320, height: int = 240, zoom: float = 1.0) -> list[Pixels]:
    """Frames in which the face of the picture sways slowly, near the middle."""
    frames = []
    for place in range(count):
        shift = np.array([20 * np.sin(place / 6), 8 * np.cos(place / 5)])
        angle, scale = 4 * np.sin(place / 7), zoom * (1 + 0.04 * np.sin(place / 4))
        matrix = np.asarray(cv2.getRotationMatrix2D((224, 117), angle, scale), dtype=np.float64)
        matrix[:, 2] += np.array([width / 2 - 224, height / 2 - 117]) + shift
        frames.append(
            np.asarray(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), dtype=np.uint8)
        )
    return frames


@pytest.fixture(scope="session")
def face_frames() -> Callable[..., list[Pixels]]:
    """``face_frames(count, width, height, zoom)``."""
    picture = portrait()
    return lambda count, width=320, height=240, zoom=1.0: moving(picture, count, width, height, zoom)
