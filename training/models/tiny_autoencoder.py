"""The tiny image autoencoder whose reconstructions serve as pseudo-fakes.

The layout follows the published weights of TAESD's FLUX.2 variant (github.com/madebyollin/taesd, MIT), which imitate
the autoencoder that latent diffusion models end with: what it cannot reproduce is missing from their pictures too.
The weights are a tool of training; they are read from a file that is named by the user and are never shipped.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

LATENT_CHANNELS = 32
WIDTH = 64


def _conv(inputs: int, outputs: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


class _Block(nn.Module):
    """Residual block; ``pooled`` adds the normalised bottleneck of the variant's middle blocks."""

    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH), nn.ReLU(), _conv(WIDTH, WIDTH))
        self.pool: nn.Sequential | None = None
        if pooled:
            self.pool = nn.Sequential(
                nn.Conv2d(WIDTH, 4 * WIDTH, 1, bias=False),
                nn.GroupNorm(4, 4 * WIDTH),
                nn.ReLU(inplace=True),
                nn.Conv2d(4 * WIDTH, WIDTH, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class _Squash(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class TinyAutoencoder(nn.Module):
    """Encoder to 32 channels at an eighth of the side, and decoder back; RGB in 0..1, sides multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        down: list[nn.Module] = [_conv(3, WIDTH), _Block()]
        for stage in range(3):
            down += [_conv(WIDTH, WIDTH, stride=2, bias=False), *(_Block(pooled=stage == 2) for _ in range(3))]
        up: list[nn.Module] = [_Squash(), _conv(LATENT_CHANNELS, WIDTH), nn.ReLU()]
        for stage in range(3):
            up += [
                *(_Block(pooled=stage == 0) for _ in range(3)),
                nn.Upsample(scale_factor=2),
                _conv(WIDTH, WIDTH, bias=False),
            ]
        self.encoder = nn.Sequential(*down, _conv(WIDTH, LATENT_CHANNELS))
        self.decoder = nn.Sequential(*up, _Block(), _conv(WIDTH, 3))

    def forward(self, x: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(self.encoder(x)).clamp(0, 1)
        return reconstruction


def load_autoencoder(encoder: Path, decoder: Path) -> TinyAutoencoder:
    """Build the autoencoder from the two weight files; raises RuntimeError where their layout differs."""
    model = TinyAutoencoder()
    model.encoder.load_state_dict(torch.load(encoder, map_location="cpu", weights_only=True))
    model.decoder.load_state_dict(torch.load(decoder, map_location="cpu", weights_only=True))
    return model.eval().requires_grad_(False)
