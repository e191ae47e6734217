"""What every network of the registry answers, and the normalisation that every one of them expects.

Crop networks take float [n, 3, s, s], RGB of 0 to 1 minus ``MEAN``, divided by ``STD`` (so about -1 to 1). Sequence
networks take float [n, t, d] and a mask [n, t]; ``hybrid`` takes [n, t, 3, s, s] and a mask. A mask holds 1 for a frame
that is there and 0 for one that is not; what lies behind a 0 changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN, STD = 127.0 / 255, 128.0 / 255
"""One normalisation for all networks (``card.preprocessing`` repeats it): backbones that were pretrained with another
one carry the difference as an :class:`Affine`."""

CLIP_FRAMES = 16
"""Frames of a clip, for sequence networks and ``hybrid``."""


def normalised(pixels: Tensor) -> Tensor:
    """uint8 [..., 3, s, s] to the networks' float input; single crops in channels-last order."""
    scaled = (pixels.float() / 255 - MEAN) / STD
    return scaled.contiguous(memory_format=torch.channels_last) if scaled.ndim == 4 else scaled


class Output(NamedTuple):
    """What a network answers.

    Attributes:
        logit: [n, 1], log-odds of a fake before calibration; of an autoencoder its standardised reconstruction error.
        embedding: [n, d], pooled features (the latent of an autoencoder).
        cam: [n, h, w]. Crop networks: contribution of each cell to the logit; its mean plus a term that no cell owns
            (the bias) is the logit. Autoencoders: the same of the error. Sequences and clips: [n, 1, t], the share of
            attention that each frame gets; it adds up to 1 over the frames that are there.
    """

    logit: Tensor
    embedding: Tensor
    cam: Tensor


class VoiceOutput(NamedTuple):
    """What a voice network answers; it takes audio float [n, 64600] and a mask float [n, 127].

    Attributes:
        logit: [n, 1], log-odds of a fake before calibration.
        embedding: [n, d], features of the window.
        frames: [n, t], log-odds of stretches of about a second, evenly spaced over the window.
    """

    logit: Tensor
    embedding: Tensor
    frames: Tensor


class Affine(nn.Module):
    """From the common normalisation to the one that a backbone was pretrained with: a factor and a shift a channel.

    Args:
        mean, std: of the pretrained weights, for RGB of 0 to 1.
    """

    factor: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        own_mean, own_std = torch.tensor(mean), torch.tensor(std)
        self.register_buffer("factor", (STD / own_std).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", ((MEAN - own_mean) / own_std).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.shift


def set_line(layer: nn.Linear, line: npt.NDArray[np.float64], bias: float) -> None:
    """Put a fitted line [d] into a layer with one answer."""
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(line[None]).float())
        layer.bias.fill_(bias)


class LinearHead(nn.Module):
    """Pooling, dropout and one linear layer over a map; the class-activation map is exact (Zhou et al., CVPR 2016).

    The logit is linear in the mean of the map's cells, so that applying the layer to each cell splits it up:
    ``cam.mean() + bias == logit`` (dropout aside).
    """

    def __init__(self, features: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.classifier = nn.Linear(features, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, final: Tensor) -> Output:
        """From a map [n, c, h, w]."""
        embedding = final.mean(dim=(2, 3))
        logit = self.classifier(functional.dropout(embedding, self.dropout, self.training))
        cam = functional.conv2d(final, self.classifier.weight[:, :, None, None])[:, 0]
        return Output(logit, embedding, cam)
