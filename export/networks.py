"""Trained networks in the form in which they are exported: folded, rounded to half precision, normalisation inside."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cards.card import Preprocessing
from export.graph import half_rounded
from training.models.efficientnet_lite import EfficientNetLite0

#: Each batch norm of the backbone and the convolution that it follows.
_STEM = (("_conv_stem", "_bn0"), ("_conv_head", "_bn1"))
_BLOCK = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))


def folded(model: EfficientNetLite0) -> EfficientNetLite0:
    """A copy in evaluation mode whose batch norms are folded into their convolutions."""
    result = copy.deepcopy(model).eval()
    for owner, pairs in [(result, _STEM), *((block, _BLOCK) for block in result._blocks)]:
        for conv, norm in pairs:
            if hasattr(owner, conv):
                setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
                setattr(owner, norm, nn.Identity())
    return result


def weights_of(model: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """The weights as float32 arrays by name."""
    return {name: value.detach().float().contiguous().numpy() for name, value in model.state_dict().items()}


def load_weights(model: nn.Module, weights: dict[str, npt.NDArray[np.float32]]) -> None:
    """Put weights into a folded network, every name exactly once."""
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()}, strict=True)


def half(model: EfficientNetLite0) -> EfficientNetLite0:
    """A folded copy whose weights survive a round trip through ``weights.safetensors``."""
    result = folded(model)
    load_weights(result, {name: half_rounded(value) for name, value in weights_of(result).items()})
    return result


def read_folded(path: Path) -> EfficientNetLite0:
    """The folded network of a ``weights.safetensors``, in float32 (for fine-tuning heads, and for tests)."""
    result = folded(EfficientNetLite0())
    load_weights(result, {name: value.astype(np.float32) for name, value in load_file(str(path)).items()})
    return result


def from_checkpoint(path: Path) -> EfficientNetLite0:
    """The averaged weights of a training checkpoint (read with ``weights_only=True``)."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = EfficientNetLite0()
    model.load_state_dict(state["average"])
    return model.eval()


class Served(nn.Module):
    """What the repository serves: UINT8 [n, s, s, 3] RGB to LOGIT [n, 1], EMBEDDING [n, 1280], CAM [n, s/32, s/32]."""

    factor: Tensor
    shift: Tensor

    def __init__(self, network: EfficientNetLite0, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("factor", (1 / (255 * std)).reshape(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        planar = images.permute(0, 3, 1, 2).float() * self.factor + self.shift
        output = self.network(planar)
        return output.logit, output.embedding, output.cam
