"""Go on from shipped weights: ``python -m training.unfold OUT`` turns ``weights.safetensors`` into a checkpoint.

``--network`` names one of the EfficientNet-Lite0s of the repository; a heat-map head is written beside it.

The shipped network has its batch norms folded into the convolutions; training wants them back. A folded convolution
answers ``z + b``. With the mean ``m`` and variance ``v`` of ``z`` over training crops, a batch norm with scale
``sqrt(v + eps)`` and shift ``m + b`` answers the same and normalises again while it trains. Filters get the length that
ImageNet's have, because the length decides how fast a normalised filter learns.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from cards.repository import ModelRepository
from training.checkpoints import save_state
from training.crops import crops_of
from training.data.cache import load_cache
from training.models.efficientnet_lite import EfficientNetLite0, pretrained
from training.models.localising import FILE
from training.models.output import normalised
from training.settings import Settings

#: Each convolution and the batch norm behind it, within the network and within a block.
_STEM = (("_conv_stem", "_bn0"), ("_conv_head", "_bn1"))
_BLOCK = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
CROPS = 256
MAP_HEAD = "map_head."
"""Before the names of the weights of a heat-map head (``training.models.localising``)."""


def _pairs(model: EfficientNetLite0) -> list[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    owners: list[tuple[str, nn.Module, tuple[tuple[str, str], ...]]] = [("", model, _STEM)]
    owners += [(f"_blocks.{place}.", block, _BLOCK) for place, block in enumerate(model._blocks)]
    return [
        (prefix + conv, getattr(owner, conv), getattr(owner, norm))
        for prefix, owner, names in owners
        for conv, norm in names
        if hasattr(owner, conv)
    ]


@torch.inference_mode()
def unfold(weights: dict[str, np.ndarray], crops: Tensor) -> EfficientNetLite0:  # type: ignore[type-arg]
    """The network with batch norms whose answer on ``crops`` equals the folded network's.

    Args:
        weights: of ``weights.safetensors``.
        crops: normalised float [n, 3, s, s]; statistics are taken from them.
    """
    model = pretrained()
    hooks = []
    for name, conv, norm in _pairs(model):
        folded = torch.from_numpy(weights[f"{name}.weight"].astype(np.float32))
        bias = torch.from_numpy(weights[f"{name}.bias"].astype(np.float32))
        length = conv.weight.flatten(1).norm(dim=1) / folded.flatten(1).norm(dim=1).clamp_min(1e-6)
        length = length.clamp(1e-3, 1e3)
        conv.weight.copy_(folded * length[:, None, None, None])

        def measure(norm: nn.Module, args: tuple[Tensor, ...], length: Tensor = length, bias: Tensor = bias) -> None:
            assert isinstance(norm, nn.BatchNorm2d)
            values = args[0].double()
            mean, variance = values.mean(dim=(0, 2, 3)).float(), values.var(dim=(0, 2, 3)).float()
            norm.running_mean, norm.running_var = mean, variance
            norm.weight.copy_(torch.sqrt(variance + norm.eps) / length)
            norm.bias.copy_(mean / length + bias)

        hooks.append(norm.register_forward_pre_hook(measure))
    for name in ("weight", "bias"):
        getattr(model.classifier, name).copy_(torch.from_numpy(weights[f"classifier.{name}"].astype(np.float32)))
    model.eval()
    model(crops)  # layer by layer: a norm is set before its answer is used
    for hook in hooks:
        hook.remove()
    return model


def main(arguments: list[str] | None = None) -> int:
    """Write ``OUT/last.pt``; its averaged weights are the shipped ones, for ``training.train --start``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", default="frame_cnn")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    models = ModelRepository()
    name = options.network
    weights = load_file(str(models.root / name / str(models.latest(name)) / "weights.safetensors"))
    told = models.record(name).training  # what made these weights stays with them
    known = {field.name: told[field.name] for field in fields(Settings) if field.name in told}
    settings = Settings(**known | {name: tuple(known.get(name, ())) for name in ("without", "groups")})
    photos = load_cache(options.cache / "photos")
    items = np.random.default_rng(6).choice(len(photos), CROPS, replace=False)
    crops = torch.from_numpy(crops_of(photos, items, settings.size, settings.margin)).permute(0, 3, 1, 2)
    model = unfold(weights, normalised(crops))
    options.out.mkdir(parents=True, exist_ok=True)
    state = {
        "average": model.state_dict(),
        "network": settings.network,
        "step": told.get("steps", 0),
        "spent": 60.0 * told.get("minutes_spent", 0.0),
        "settings": json.dumps(asdict(settings)),
    }
    save_state(options.out / "last.pt", state)
    head = {key.removeprefix(MAP_HEAD): value for key, value in weights.items() if key.startswith(MAP_HEAD)}
    if head:
        save_state(options.out / FILE, {key: torch.from_numpy(value.astype(np.float32)) for key, value in head.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
