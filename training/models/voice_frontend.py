"""Front ends of the voice networks, inside the graph: spectra as matrix products, filter banks, cepstra, masks.

Everything is built from slices, concatenation and matrix products, which every exporter and engine takes, so that
training and serving cannot differ. A frame is ``n_fft`` samples, its hop half of that; the hop divides a cell of 512
samples, so that frames fall into cells. Audio is float [n, 64600], a mask float [n, 127] (1: the cell holds recording).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipelines.audio.windows import CELL, RATE, SAMPLES

WHOLE = SAMPLES // CELL * CELL
"""Samples of the whole cells of a window: what the front ends look at."""


def mel(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Hertz to mel (O'Shaughnessy, 1987)."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0))


def filter_bank(n_fft: int, filters: int, scale: str = "linear", low: float = 0.0, high: float = RATE / 2) -> Tensor:
    """Triangular filters, float [n_fft / 2, filters]; each column adds up to 1.

    Bins are 0 to n_fft / 2 - 1 (the last one, half the rate, is left out). A filter narrower than a bin takes the
    nearest bin.
    """
    bins = np.arange(n_fft // 2) * RATE / n_fft
    if scale == "mel":
        edges = 700.0 * (10 ** (np.linspace(mel(low), mel(high), filters + 2) / 2595.0) - 1.0)
    else:
        edges = np.linspace(low, high, filters + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - left) / (centre - left)
    falling = (right - bins[:, None]) / (right - centre)
    bank = np.maximum(0.0, np.minimum(rising, falling))
    for empty in np.flatnonzero(bank.sum(axis=0) <= 0):
        bank[np.argmin(np.abs(bins - centre[empty])), empty] = 1.0
    return torch.from_numpy((bank / bank.sum(axis=0)).astype(np.float32))


def cosines(filters: int, coefficients: int) -> Tensor:
    """The first coefficients of an orthonormal DCT-II, float [filters, coefficients]."""
    places = (np.arange(filters)[:, None] + 0.5) * np.arange(coefficients)[None]
    table = np.cos(math.pi / filters * places) * math.sqrt(2.0 / filters)
    table[:, 0] /= math.sqrt(2.0)
    return torch.from_numpy(table.astype(np.float32))


class Spectrum(nn.Module):
    """Power spectrum, float [n, t, n_fft / 2]: white noise of variance v has v in every bin.

    The frame is folded first: the real part of a transform sees only ``x[k] + x[n_fft - k]``, the imaginary part only
    the difference, which halves the products.
    """

    window: Tensor
    real: Tensor
    imaginary: Tensor

    def __init__(self, n_fft: int) -> None:
        super().__init__()
        if CELL % (n_fft // 2):
            raise ValueError(f"the hop of {n_fft // 2} samples must divide a cell of {CELL}")
        self.hop, self.n_fft = n_fft // 2, n_fft
        self.frames = WHOLE // self.hop - 1
        window = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(n_fft) / n_fft)
        window /= np.sqrt((window**2).sum())
        self.register_buffer("window", torch.from_numpy(window.astype(np.float32)), persistent=False)
        half = n_fft // 2
        angle = 2 * math.pi / n_fft * np.arange(half + 1)[:, None] * np.arange(half)[None]
        self.register_buffer("real", torch.from_numpy(np.cos(angle).astype(np.float32)), persistent=False)
        self.register_buffer("imaginary", torch.from_numpy(np.sin(angle[1:half]).astype(np.float32)), persistent=False)

    def parts(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Real part and (negated) imaginary part of the transform, float [n, t, n_fft / 2] each."""
        hops = audio[:, :WHOLE].reshape(-1, WHOLE // self.hop, self.hop)
        framed = torch.cat([hops[:, :-1], hops[:, 1:]], dim=2) * self.window
        half = self.hop
        first, middle = framed[:, :, :1], framed[:, :, half : half + 1]
        rising, falling = framed[:, :, 1:half], framed[:, :, half + 1 :].flip(2)
        return torch.cat([first, rising + falling, middle], dim=2) @ self.real, (rising - falling) @ self.imaginary

    def forward(self, audio: Tensor) -> Tensor:
        real, imaginary = self.parts(audio)
        return real * real + imaginary * imaginary

    def valid(self, mask: Tensor) -> Tensor:
        """Frames that lie in cells of recording, float [n, t]."""
        ratio = CELL // self.hop
        hops = mask[:, : WHOLE // CELL, None].expand(-1, -1, ratio).reshape(-1, WHOLE // self.hop)
        return hops[:, :-1] * hops[:, 1:]


class Cepstra(nn.Module):
    """Cepstral coefficients, float [n, t, coefficients], of a power spectrum.

    The floor stands as ``log(power / floor + 1)``: the exporter drops an addition of 1e-9 as if it were none, and a
    logarithm of zero is then minus infinity. The constant ``log(floor)`` that is missing changes no deviation.
    """

    bank: Tensor
    table: Tensor

    def __init__(self, n_fft: int, filters: int, coefficients: int, floor: float, scale: str = "linear") -> None:
        super().__init__()
        self.register_buffer("bank", filter_bank(n_fft, filters, scale) / floor, persistent=False)
        self.register_buffer("table", cosines(filters, coefficients), persistent=False)

    def forward(self, power: Tensor) -> Tensor:
        return torch.log(power @ self.bank + 1.0) @ self.table


def deltas(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Slope over five frames (regression, as in HTK), and where all five are valid; two frames shorter on each side.

    Args:
        values: [n, t, c]; valid: [n, t].
    """
    ahead = values[:, 3:-1] - values[:, 1:-3]
    further = values[:, 4:] - values[:, :-4]
    there = valid[:, 4:] * valid[:, 3:-1] * valid[:, 2:-2] * valid[:, 1:-3] * valid[:, :-4]
    return (ahead + 2.0 * further) / 10.0, there
