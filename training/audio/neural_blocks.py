"""Parts that the neural vocoders share: mel spectra, ConvNeXt blocks along time, the head of inverse transforms.

Tensors are [batch, channels, time] unless said otherwise; sounds are [batch, n] at 16 kHz.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.audio.sounds import RATE, mel_filters

FLOOR = 1e-5


class MelSpectra(nn.Module):
    """Natural logarithm of mel magnitudes: [b, n] -> [b, bands, n // hop + 1]."""

    window: Tensor
    filters: Tensor

    def __init__(self, size: int = 1024, hop: int = 256, bands: int = 80) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters(RATE, size, bands)), persistent=False)

    def forward(self, sound: Tensor) -> Tensor:
        """Always in float32: bfloat16 would round the quiet parts away."""
        with torch.autocast("cpu", enabled=False):
            spectra = spectrum(sound.float(), self.size, self.hop, self.window)
            return torch.log(torch.clamp(self.filters @ magnitude(spectra), min=FLOOR))


def spectrum(sound: Tensor, size: int, hop: int, window: Tensor) -> Tensor:
    """Complex [b, size / 2 + 1, n // hop + 1]."""
    return torch.stft(sound, size, hop, window=window, center=True, pad_mode="reflect", return_complex=True)


def magnitude(spectra: Tensor) -> Tensor:
    """Magnitudes whose gradient stays finite at zero."""
    return torch.sqrt(spectra.real**2 + spectra.imag**2 + 1e-9)


class TimeBlock(nn.Module):
    """ConvNeXt block along time: depth-wise convolution of 7 frames, then two layers within each frame."""

    def __init__(self, width: int, inner: int, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3 * dilation, groups=width, dilation=dilation)
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, inner)
        self.narrow = nn.Linear(inner, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, frames: Tensor) -> Tensor:
        """[b, t, width] -> [b, t, width]: channels last, so that layers are plain products."""
        near = self.depthwise(frames.transpose(1, 2)).transpose(1, 2)
        return torch.as_tensor(frames + self.scale * self.narrow(functional.gelu(self.wide(self.norm(near)))))


class Trunk(nn.Module):
    """Features [b, c, t] through a first convolution and blocks: [b, t, width]."""

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(channels, width, 7, padding=3)
        self.start = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(TimeBlock(width, 3 * width) for _ in range(depth))
        self.end = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        frames = self.start(self.first(features).transpose(1, 2))
        for block in self.blocks:
            frames = block(frames)
        return torch.as_tensor(self.end(frames))


class InverseHead(nn.Module):
    """Magnitude and phase of each frame, and the sound that they make by overlap-add."""

    window: Tensor

    def __init__(self, width: int, size: int, hop: int) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.out = nn.Linear(width, size + 2)
        self.register_buffer("window", torch.hann_window(size), persistent=False)

    def forward(self, frames: Tensor, length: int) -> Tensor:
        """[b, t, width] -> [b, length]."""
        answer = self.out(frames)
        with torch.autocast("cpu", enabled=False):
            size, turn = answer.float().transpose(1, 2).chunk(2, dim=1)
            magnitudes = torch.exp(torch.clamp(size, max=5.0))
            spectra = torch.complex(magnitudes * torch.cos(turn), magnitudes * torch.sin(turn))
            return inverse(spectra, self.size, self.hop, self.window, length)


def inverse(spectra: Tensor, size: int, hop: int, window: Tensor, length: int) -> Tensor:
    """Inverse of ``spectrum``: [b, length]."""
    return torch.istft(spectra, size, hop, window=window, center=True, length=length)


def blurred(features: Tensor, time: float, bands: float) -> Tensor:
    """Features smoothed along time and bands (sigma in frames and bands), as acoustic models smooth."""
    answer = features
    for sigma, axis in ((time, 2), (bands, 1)):
        if sigma > 0:
            reach = max(1, round(3 * sigma))
            steps = torch.arange(-reach, reach + 1, dtype=features.dtype)
            kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
            turned = answer.transpose(axis, 2)
            shape = turned.shape
            rows = functional.pad(turned.reshape(-1, 1, shape[2]), (reach, reach), mode="replicate")
            answer = functional.conv1d(rows, (kernel / kernel.sum())[None, None]).reshape(shape).transpose(axis, 2)
    return answer
