"""Pairs that exchange a rectangle: nothing is lost, and the targets say how much of each is fake."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.data.swaps import swap_rectangles
from training.pair_module import loss_of
from training.settings import Settings


def pairs(count: int, side: int = 32) -> torch.Tensor:
    """Reals of 0 and fakes of 255."""
    crops = torch.zeros(2 * count, 3, side, side, dtype=torch.uint8)
    crops[count:] = 255
    return crops


def test_each_crop_is_fake_by_its_share_of_the_area() -> None:
    crops, fake = swap_rectangles(pairs(40), 1.0, np.random.default_rng(3))
    torch.testing.assert_close(crops.float().mean(dim=(1, 2, 3)) / 255, fake)
    # What one of a pair gave away the other has.
    torch.testing.assert_close(fake[:40] + fake[40:], torch.ones(40))
    assert 0.3 < float(fake[:40].mean()) < 0.7


def test_only_the_share_that_was_asked_for_is_touched() -> None:
    _, fake = swap_rectangles(pairs(400), 0.25, np.random.default_rng(3))
    assert 0.18 < float((fake[:400] > 0).float().mean()) < 0.32
    crops, fake = swap_rectangles(pairs(4), 0.0, np.random.default_rng(3))
    assert torch.equal(crops, pairs(4))
    assert fake.tolist() == [0.0] * 4 + [1.0] * 4


def test_a_pair_that_exchanged_most_of_itself_is_ranked_the_other_way_round() -> None:
    logits = torch.tensor([2.0, -2.0])
    whole = loss_of(logits, 1, Settings())[1]
    turned = loss_of(logits, 1, Settings(), torch.tensor([0.9, 0.1]))[1]
    half = loss_of(logits, 1, Settings(), torch.tensor([0.5, 0.5]))[1]
    assert float(turned) < float(whole)
    assert float(half) == pytest.approx(0.0)
