"""The face network with a map of its own: where a face was changed, finer than the last feature map.

The class-activation map of a network that was trained on whole faces says which cell added to its belief, at a 32nd of
the crop's side; evidence of a blend (a step in noise or sharpness) is local. A small head reads four maps of the frozen
backbone and the picture's fine residuals, and answers log-odds of a change for each cell of 8 x 8 pixels. Logit and
embedding stay the backbone's, bit for bit.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.efficientnet_lite import STAGES, EfficientNetLite0
from training.models.output import Output

#: File of a run in which the head's weights lie.
FILE = "heatmap.pt"
#: Stages whose last map is read (positions in ``STAGES``): 24 channels at s/4, 40 at s/8, 112 at s/16, 320 at s/32.
TAPS = (1, 2, 4, 6)
WIDTH = 32
#: Side in pixels of the cells that the map has.
CELL = 8


class Residuals(nn.Module):
    """What the backbone smooths away: fine residuals of the picture, and how strong they are around each cell.

    forward(x): normalised [n, 3, s, s] to [n, width + 9, s/8, s/8]: learned features of the residual, the logarithm of
    its strength at two scales, and the mean colour.
    """

    kernels: Tensor

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        # One convolution: ONNX Runtime's average pooling at full size costs twelve times as much.
        near, far, point = torch.zeros(3, 5, 5).unbind()
        near[1:4, 1:4], far[:], point[2, 2] = 1 / 9, 1 / 25, 1.0
        kernels = torch.zeros(6, 3, 5, 5)
        for colour in range(3):
            kernels[colour, colour], kernels[3 + colour, colour] = point - near, near - far
        self.register_buffer("kernels", kernels, persistent=False)
        self.first = nn.Conv2d(6, 24, 3, stride=2, padding=1)
        self.second = nn.Sequential(nn.Conv2d(24, 24, 3, stride=2, padding=1, groups=24), nn.Conv2d(24, 32, 1))
        self.third = nn.Sequential(nn.Conv2d(32, 32, 3, stride=2, padding=1, groups=32), nn.Conv2d(32, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        fine = functional.conv2d(x, self.kernels, padding=2)
        strength = torch.log(functional.avg_pool2d(fine.abs(), CELL) + 1e-3)
        y = functional.relu6(self.first(fine * 8))
        y = functional.relu6(self.second(y))
        return torch.cat([functional.relu6(self.third(y)), strength, functional.avg_pool2d(x, CELL)], dim=1)


class MapHead(nn.Module):
    """The picture and the maps of four stages to one map.

    forward(x, maps): x normalised [n, 3, s, s]; maps each [n, channels, s/k, s/k], finest first; answers
    [n, s/8, s/8], log-odds of a change.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.entries = nn.ModuleList(nn.Conv2d(STAGES[tap][3], width, 1) for tap in TAPS)
        self.residuals = Residuals(width)
        deep = 2 * width
        self.mix = nn.Conv2d(width * len(TAPS) + width + 9, deep, 1)
        self.looks = nn.ModuleList(nn.Conv2d(deep, deep, 5, padding=2, groups=deep) for _ in range(3))
        self.mixes = nn.ModuleList(nn.Conv2d(deep, deep, 1) for _ in range(3))
        self.overall = nn.Conv2d(deep, deep, 1)
        self.answer = nn.Conv2d(deep, 1, 1)

    def forward(self, x: Tensor, maps: list[Tensor]) -> Tensor:
        grid = maps[1].shape[2:]
        entered = [entry(y) for entry, y in zip(self.entries, [functional.avg_pool2d(maps[0], 2), *maps[1:]])]
        enlarged = [y if y.shape[2:] == grid else _enlarged(y, grid[0]) for y in entered]
        y = functional.relu6(self.mix(torch.cat([*enlarged, self.residuals(x)], dim=1)))
        for look, mix in zip(self.looks, self.mixes):
            # A cell is odd beside its neighbours or beside the whole face.
            y = y + functional.relu6(mix(look(y) + self.overall(y.mean(dim=(2, 3), keepdim=True))))
        result: Tensor = self.answer(y)[:, 0]
        return result


def _enlarged(x: Tensor, side: int) -> Tensor:
    return functional.interpolate(x, scale_factor=side // x.shape[2], mode="bilinear", align_corners=False)


class LocalisingEfficientNetLite0(EfficientNetLite0):
    """``EfficientNetLite0`` whose ``cam`` is the answer of ``map_head``: [n, s/8, s/8]."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__(dropout)
        self.map_head = MapHead()

    def maps(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last feature map [n, 1280, s/32, s/32] and the maps that the head reads."""
        ends, place = [], -1
        for stage in STAGES:
            place += stage[4]
            ends.append(place)
        return self.maps_after(x, {ends[tap] for tap in TAPS})

    def forward(self, x: Tensor) -> Output:
        final, taken = self.maps(x)
        embedding = final.mean(dim=(2, 3))
        logit = self.classifier(functional.dropout(embedding, self.dropout, self.training))
        return Output(logit, embedding, self.map_head(x, taken))


def with_map_head(model: EfficientNetLite0, head: dict[str, Tensor]) -> LocalisingEfficientNetLite0:
    """A trained network with the trained weights of its head; in evaluation mode."""
    result = LocalisingEfficientNetLite0(model.dropout)
    result.load_state_dict({**model.state_dict(), **{f"map_head.{name}": value for name, value in head.items()}})
    return result.eval()


def localised(model: nn.Module, checkpoint: Path) -> nn.Module:
    """The network of a checkpoint with the head that ``training.heatmap_head`` wrote beside it, where there is one.

    Raises:
        RuntimeError: the head was made for another shape of network.
    """
    path = checkpoint.with_name(FILE)
    if type(model) is not EfficientNetLite0 or not path.is_file():
        return model
    return with_map_head(model, torch.load(path, map_location="cpu", weights_only=True))
