"""Backbones of timm: used where timm is there, answered with a remedy where it is not."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from deepscan_client.errors import InstallationError
from training.models import timm_backbone
from training.models.registry import network

torch.set_num_threads(1)


def test_without_timm_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InstallationError, match=r"timm is not installed .*pip install"):
        network("timm/resnet18")


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_a_backbone_of_timm_answers_as_every_crop_network_does() -> None:
    entry = network("timm/mobilenetv3_small_050")
    assert (entry.name, entry.takes, entry.family) == ("timm/mobilenetv3_small_050", "crop", "cnn")
    model = entry.empty().eval()
    with torch.inference_mode():
        output = model(*entry.example(2))
    assert output.logit.shape == (2, 1)
    assert output.cam.shape == (2, 5, 5)
    (bias,) = (p for n, p in model.named_parameters() if n.endswith("classifier.bias"))
    torch.testing.assert_close(output.cam.mean(dim=(1, 2)) + bias.detach(), output.logit[:, 0], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_what_timm_does_not_know_or_what_has_no_map_is_refused() -> None:
    with pytest.raises(InstallationError, match="no model"):
        network("timm/no_such_backbone")
    with pytest.raises(ValueError, match="map"):
        timm_backbone.TimmBackbone("vit_tiny_patch16_224")
