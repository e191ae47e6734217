"""Pairs that exchange a rectangle: CutMix (Yun et al., ICCV 2019) between a real crop and its fake.

Both get a piece of the other, so that the border of the piece tells nothing; each is then fake by the share of its
area that is. A network that has to say how much of a crop is fake cannot go by one place, or by a gallery's manner.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def swap_rectangles(crops: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Exchange one rectangle in a share of the pairs, in place.

    The exchanged area is drawn evenly from 0 to all of the crop, its place evenly.

    Args:
        crops: uint8 [2p, 3, s, s], p reals and then their p fakes.
        share: of the pairs, 0 to 1.

    Returns:
        The crops, and float32 [2p]: the share of each crop that is fake, 0 and 1 where nothing was exchanged.
    """
    pairs, side = len(crops) // 2, crops.shape[-1]
    fake = torch.cat([torch.zeros(pairs), torch.ones(pairs)])
    for real in np.flatnonzero(rng.random(pairs) < share).tolist():
        size = round(side * float(np.sqrt(rng.random())))
        top, left = (int(rng.integers(side - size + 1)) for _ in range(2))
        piece = (slice(None), slice(top, top + size), slice(left, left + size))
        kept = crops[real][piece].clone()
        crops[real][piece] = crops[real + pairs][piece]
        crops[real + pairs][piece] = kept
        area = (size / side) ** 2
        fake[real], fake[real + pairs] = area, 1 - area
    return crops, fake
