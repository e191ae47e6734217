"""The founding document's convolutional network: four convolutions, attention after the last three, dense head.

Input 256 x 256 x 3; Conv 64 + BN + ReLU; three times MaxPool + Conv (128, 256, 512) + attention; global average
pooling; Dense 512 + dropout; Dense 256 + dropout; output. Each convolution is 3 x 3 and followed by ReLU; the batch
norm stands where the drawing has it, after the first. Attention is channel and spatial, as in CBAM (Woo et al.,
ECCV 2018): self-attention on maps of 128 x 128 cells is out of reach.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.output import Output

WIDTHS = (64, 128, 256, 512)
SIZE = 256


class ChannelAttention(nn.Module):
    """A gate for each channel from its mean and its maximum, through one shared two-layer perceptron."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)
        nn.init.ones_(self.excite.bias)  # counted twice: gates begin nearly open

    def forward(self, x: Tensor) -> Tensor:
        mean, peak = x.mean(dim=(2, 3)), x.amax(dim=(2, 3))
        gate = self.excite(torch.relu(self.squeeze(mean))) + self.excite(torch.relu(self.squeeze(peak)))
        return x * torch.sigmoid(gate)[:, :, None, None]


class SpatialAttention(nn.Module):
    """A gate for each cell from the mean and the maximum over its channels, through one 7 x 7 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)
        nn.init.constant_(self.conv.bias, 2.0)  # type: ignore[arg-type]  # begins nearly open

    def forward(self, x: Tensor) -> Tensor:
        told = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(told))


class DeepScanCnn(nn.Module):
    """Normalised float [n, 3, s, s], s a multiple of 8 (256 as drawn), to a logit, 512 features and a map of s/8 cells.

    The map is the exact share of each cell in the logit. With ReLU the dense head is linear around its own input:
    ``logit = w(x) . pooled + b(x)``, where ``w(x)`` is the product of its matrices with the columns of silent units
    left out. Applied to each cell instead of their mean this gives ``cam``, and ``cam.mean() + b(x) == logit``
    (dropout aside). It equals HiResCAM (Draelos and Carin 2020) at the last map, and needs no gradient, so that it
    is part of the exported graph.

    Attributes:
        side: of the pictures that it was made for; ``read_checkpoint`` sets that of the run.
    """

    takes, side = "crop", SIZE

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        inputs = (3, *WIDTHS[:-1])
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(WIDTHS[0])
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(inputs[1:], WIDTHS[1:], strict=True))
        self.attention = nn.ModuleList(nn.Sequential(ChannelAttention(c), SpatialAttention()) for c in WIDTHS[1:])
        self.dense1 = nn.Linear(WIDTHS[-1], 512)
        self.dense2 = nn.Linear(512, 256)
        self.classifier = nn.Linear(256, 1)
        self.dropout = dropout
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, std=0.05)
        nn.init.zeros_(self.classifier.bias)

    def features(self, x: Tensor) -> Tensor:
        """The last map, [n, 512, s/8, s/8]."""
        x = torch.relu(self.norm1(self.conv1(x)))
        for conv, attention in zip(self.convs, self.attention, strict=True):
            x = attention(torch.relu(conv(functional.max_pool2d(x, 2))))
        return x

    def forward(self, x: Tensor) -> Output:
        final = self.features(x)
        embedding = final.mean(dim=(2, 3))
        first = self.dense1(embedding)
        hidden = functional.dropout(torch.relu(first), self.dropout, self.training)
        second = self.dense2(hidden)
        logit = self.classifier(functional.dropout(torch.relu(second), self.dropout, self.training))
        # w(x): from the output back through the active units, [n, 256] to [n, 512] to [n, 512].
        back = (self.classifier.weight * (second > 0).to(x.dtype)) @ self.dense2.weight
        back = (back * (first > 0).to(x.dtype)) @ self.dense1.weight
        cam = (final * back[:, :, None, None]).sum(dim=1)
        return Output(logit, embedding, cam)
