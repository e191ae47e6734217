"""Heat maps of aligned face crops: which network draws them, and where they lie in the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cards.card import ModelCard
from pipelines.image.align import inverse_transforms, similarities


def finest(cards: Sequence[ModelCard]) -> ModelCard | None:
    """The network with the finest map, of equals the one that is named last; None where there is no network."""
    return max(reversed(cards), key=_cells, default=None)


def geometry(card: ModelCard) -> tuple[int, float]:
    """Size and margin of the crops that a network takes.

    Raises:
        ValueError: its card does not say.
    """
    if card.preprocessing is None:
        raise ValueError(f"{card.name} works on face crops, its card must say preprocessing")
    return card.preprocessing.size, card.preprocessing.margin


def unit_square_to_picture(landmarks: NDArray[np.floating[Any]], size: int, margin: float) -> NDArray[np.float64]:
    """From crop coordinates of 0 to 1 to pixels of the picture.

    Args:
        landmarks: [n, 5, 2] in pixels; size, margin: of the crop.

    Returns:
        float64 [n, 2, 3], affine matrices.
    """
    back = inverse_transforms(similarities(landmarks, size, margin))
    unit = np.array([[size, 0, -0.5], [0, size, -0.5], [0, 0, 1]], dtype=np.float64)
    return np.asarray(back @ unit)


def packed(maps: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Log-odds [n, rows, columns] as the bytes of ``deepscan_client.TrackHeatMap``: sixteenths, -8 to 7.94."""
    steps = np.rint(np.nan_to_num(maps, posinf=8.0, neginf=-8.0) * 16.0 + 128.0)
    return np.asarray(np.clip(steps, 0, 255), dtype=np.uint8)


def _cells(card: ModelCard) -> int:
    return max((math.prod(tensor.shape) for tensor in card.outputs if tensor.name == "CAM"), default=0)
