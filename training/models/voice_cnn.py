"""Two convolutional voice networks over a front end inside the graph: a spectrogram network and an MFCC network.

Both take the mean over time out of every band first (it tells speaker, channel and level), and both answer with a
linear head over features in time, so that the logit of the window is the mean of what each moment says, and ``FRAMES``
is the same mean over a second.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.audio.windows import CELL, SAMPLES
from training.models.output import VoiceOutput
from training.models.voice_frontend import WHOLE, Cepstra, Spectrum, deltas

STRIDE, STRETCH = 4, 31
"""Cells between two local scores, and cells that each one sees, as in ``voice_cepstra``."""
PLACES = WHOLE // CELL // STRIDE + 1


def centred(values: Tensor, valid: Tensor) -> Tensor:
    """Values [n, t, c] less their mean over the valid frames [n, t]; 0 where not valid."""
    share = valid[:, :, None]
    mean = (values * share).sum(dim=1, keepdim=True) / share.sum(dim=1, keepdim=True).clamp(min=1.0)
    return (values - mean) * share


def cell_mask(mask: Tensor, ratio: int) -> Tensor:
    """Mask of steps of ``ratio`` cells, [n, 1, steps]: the share of each that holds recording."""
    whole = mask[:, None, : WHOLE // CELL]
    return functional.avg_pool1d(whole, ratio, ratio)


class MomentHead(nn.Module):
    """Features in time [n, c, t] to an answer: weighted means over the window and over stretches of a second.

    Args:
        width: c; step: cells that one moment stands for.
    """

    def __init__(self, width: int, step: int, dropout: float) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, 1)
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)
        self.step, self.dropout = step, dropout

    def forward(self, features: Tensor, share: Tensor) -> VoiceOutput:
        """Args: features [n, c, t]; share [n, 1, t], how much of each moment holds recording."""
        embedding = (features * share).sum(dim=2) / share.sum(dim=2).clamp(min=1e-3)
        logit = self.classifier(functional.dropout(embedding, self.dropout, self.training))
        told = functional.conv1d(features, self.classifier.weight[:, :, None]) * share
        every, width = STRIDE // self.step, STRETCH // self.step | 1
        pad = (width // 2 - every // 2, width // 2 + every)
        sums = functional.avg_pool1d(functional.pad(torch.cat([told, share], dim=1), pad), width, every)
        frames = sums[:, 0, :PLACES] / sums[:, 1, :PLACES].clamp(min=1e-3) + self.classifier.bias
        return VoiceOutput(logit, embedding, frames)


class Block(nn.Module):
    """Two convolutions with batch norm, the second with a short cut, [n, c, t, f]; the first one may stride."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, (3, 1), padding=(1, 0), bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return torch.relu(x + self.norm2(self.conv2(x)))


class VoiceSpectrogram(nn.Module):
    """Log spectrogram of 252 frames by 256 bins (512 samples, hop 256) through residual blocks, about 150 MMAC."""

    takes, samples = "audio", SAMPLES

    def __init__(self, floor: float = 1e-9, dropout: float = 0.2) -> None:
        super().__init__()
        self.spectrum, self.raised = Spectrum(512), 1.0 / floor
        self.entry = nn.Conv2d(1, 24, (3, 8), (1, 4), padding=(1, 2), bias=False)
        self.entry_norm = nn.BatchNorm2d(24)
        self.blocks = nn.Sequential(
            Block(24, 36, (2, 2)), Block(36, 48, (1, 2)), Block(48, 96, (2, 2)), Block(96, 144, (1, 2))
        )
        self.head = MomentHead(2 * 144, 2, dropout)

    def forward(self, audio: Tensor, mask: Tensor) -> VoiceOutput:
        valid = self.spectrum.valid(mask)
        picture = centred(torch.log(self.spectrum(audio) * self.raised + 1.0), valid) * 0.4
        picture = functional.pad(picture, (0, 0, 0, 1))[:, None]  # 252 frames: two a cell
        picture = picture.contiguous(memory_format=torch.channels_last)
        final = cast(Tensor, self.blocks(torch.relu(self.entry_norm(self.entry(picture)))))
        features = torch.cat([final.mean(dim=3), final.amax(dim=3)], dim=1)
        return cast(VoiceOutput, self.head(features, cell_mask(mask, 2)))


class TimeBlock(nn.Module):
    """A dilated convolution over time with a short cut, [n, c, t, 1]."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, (3, 1), padding=(dilation, 0), dilation=(dilation, 1), bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm(self.conv(x)))


class VoiceMfcc(nn.Module):
    """20 mel-frequency cepstra with slopes and their slopes (512 samples, hop 256) through convolutions over time."""

    takes, samples = "audio", SAMPLES

    def __init__(self, width: int = 128, floor: float = 1e-9, dropout: float = 0.2) -> None:
        super().__init__()
        self.spectrum, self.cepstra = Spectrum(512), Cepstra(512, 40, 20, floor, "mel")
        self.entry = nn.Conv2d(60, width, (5, 1), padding=(2, 0), bias=False)
        self.entry_norm = nn.BatchNorm2d(width)
        self.first = nn.Sequential(TimeBlock(width, 1), TimeBlock(width, 2))
        self.down = nn.Conv2d(width, width, (4, 1), (4, 1), bias=False)
        self.down_norm = nn.BatchNorm2d(width)
        self.second = nn.Sequential(TimeBlock(width, 1), TimeBlock(width, 2))
        self.head = MomentHead(width, 2, dropout)

    def forward(self, audio: Tensor, mask: Tensor) -> VoiceOutput:
        values, valid = self.cepstra(self.spectrum(audio)), self.spectrum.valid(mask)
        first, there = deltas(values, valid)
        second, there2 = deltas(first, there)
        series = [
            centred(values, valid) * 0.3,
            functional.pad(centred(first, there), (0, 0, 2, 2)) * 2.0,
            functional.pad(centred(second, there2), (0, 0, 4, 4)) * 5.0,
        ]
        x = functional.pad(torch.cat(series, dim=2), (0, 0, 0, 1)).transpose(1, 2)[:, :, :, None]
        x = self.first(torch.relu(self.entry_norm(self.entry(x))))
        x = self.second(torch.relu(self.down_norm(self.down(x))))
        return cast(VoiceOutput, self.head(x[:, :, :, 0], cell_mask(mask, 2)))
