"""The fixed front end of ``voice_cepstra``: how much spectra, their fine structure and their phases vary.

Power spectra at 256, 512 and 1,024 samples, a linear filter bank, the logarithm over a low floor (the cue lies in the
quietest parts: a floor 25 dB under the mean costs 0.15 of AUC), an orthonormal cosine transform. Of these, over the
frames that hold recording:

- deviations of the coefficients, their slopes and the slopes of these;
- the same over loud frames alone, of coefficients and of bands: noise and codecs leave more of them;
- how bands one and three apart go together in loud frames;
- deviations of two coherences of phases in loud frames (512 and 1,024 samples): of neighbouring bins, which is one
  where a frame is a single pulse (group delay; Murthy and Yegnanarayana, 2011), and of a bin's second difference in
  time, which is one where it is a steady tone (instantaneous frequency). A vocoder draws phases of its own.

No means: they tell speaker and channel.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.audio.windows import CELL
from training.models.voice_frontend import WHOLE, Spectrum, cosines, deltas, filter_bank

SIZES, PHASES = (256, 512, 1024), (512, 1024)
FILTERS, FLOOR = 60, 1e-10
APART = (1, 3)
FEATURES = len(SIZES) * (9 * FILTERS + sum(FILTERS - apart for apart in APART)) + len(PHASES) * 2 * FILTERS
STRIDE, STRETCH = 4, 31
"""Cells between two local values, and cells of the stretch (0.99 s) that each one sees."""
PLACES = WHOLE // CELL // STRIDE + 1
LEAST = 1e-6


def rows_of(hop: int) -> Tensor:
    """What averages frames of a hop: float [1 + PLACES, frames]; the whole window, then a stretch around every
    ``STRIDE``-th cell, of which what lies outside the window is zero."""
    ratio = CELL // hop
    frames = WHOLE // hop - 1
    centre = (np.arange(PLACES) * STRIDE + STRIDE // 2)[:, None]
    cell = (np.arange(frames) // ratio)[None]
    inside = (cell >= centre - STRETCH // 2) & (cell <= centre + STRETCH // 2)
    rows = np.concatenate([np.full((1, frames), 1 / frames), inside / (STRETCH * ratio)])
    return torch.from_numpy(rows.astype(np.float32))


class Moments:
    """Weighed moments of series over the window and over stretches of it: [n, 1 + PLACES, c].

    Args:
        values: [n, t, c]; weight: [n, t], how much each frame counts; rows: [1 + PLACES, t + 2 k], of ``rows_of``,
            where the series is k frames shorter on each side than that of the spectra.
    """

    def __init__(self, values: Tensor, weight: Tensor, rows: Tensor) -> None:
        less = (rows.shape[1] - values.shape[1]) // 2
        self.rows = rows[None, :, less : rows.shape[1] - less] * weight[:, None, :]
        self.count = self.rows.sum(dim=2, keepdim=True).clamp(min=1e-3)
        # About the mean of the window, so that a mean square less a squared mean stays exact.
        self.about = values - self.rows[:, :1] @ values / self.count[:, :1]
        self.mean = self.rows @ self.about / self.count

    def product(self, first: slice, second: slice) -> Tensor:
        """Covariance of channels with others."""
        both = self.rows @ (self.about[:, :, first] * self.about[:, :, second]) / self.count
        return both - self.mean[:, :, first] * self.mean[:, :, second]

    def variance(self) -> Tensor:
        """At least zero."""
        return self.product(slice(None), slice(None)).clamp(min=0.0)


class Deviations(nn.Module):
    """Audio [n, 64600] and mask [n, 127] to features of the window, [n, FEATURES], and of stretches of a second,
    [n, PLACES, FEATURES], the n-th centred on cell 4 n + 2. Both are told by the same lines."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.spectra = nn.ModuleList(Spectrum(size) for size in SIZES)
        for size in SIZES:
            self.register_buffer(f"bank{size}", filter_bank(size, FILTERS), persistent=False)
            self.register_buffer(f"rows{size}", rows_of(size // 2), persistent=False)
        self.register_buffer("table", cosines(FILTERS, FILTERS), persistent=False)

    def forward(self, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        found: list[Tensor] = []
        for spectrum in self.spectra:
            assert isinstance(spectrum, Spectrum)
            valid = spectrum.valid(mask)
            # Counted in floors: an addition of 1e-9 to a power would be dropped by the exporter.
            real, imaginary = (part * FLOOR**-0.5 for part in spectrum.parts(audio))
            bank, rows = getattr(self, f"bank{spectrum.n_fft}"), getattr(self, f"rows{spectrum.n_fft}")
            bands = torch.log((real * real + imaginary * imaginary) @ bank + 1.0)
            loud = valid * loudness(bands.mean(dim=2), valid)
            found += levels(bands, bands @ self.table, valid, loud, rows)
            found += correlations(bands, loud, rows)
            if spectrum.n_fft in PHASES:
                found += phases(real, imaginary, bank, loud, rows)
        features = torch.cat(found, dim=2)
        return features[:, 0], features[:, 1:]


def loudness(level: Tensor, valid: Tensor) -> Tensor:
    """How loud a frame is among the valid ones, 0 to 1, [n, t]; half where it has their mean level."""
    count = valid.sum(dim=1, keepdim=True).clamp(min=1.0)
    about = level - (level * valid).sum(dim=1, keepdim=True) / count
    spread = torch.sqrt((about * about * valid).sum(dim=1, keepdim=True) / count)
    return torch.sigmoid(4.0 * about / (spread + 1e-3))


def levels(bands: Tensor, coefficients: Tensor, valid: Tensor, loud: Tensor, rows: Tensor) -> list[Tensor]:
    """Log deviations of coefficients and, over loud frames, of coefficients and bands; of slopes too."""
    # Where hardly anything is recording the deviation is 1: a logarithm of rounding errors would be noise.
    empty = 1.0 - ((rows[None] * valid[:, None, :]).sum(dim=2, keepdim=True) * 10.0).clamp(max=1.0)
    series, found = torch.cat([coefficients, bands], dim=2), []
    for order in range(3):
        if order:
            series, valid = deltas(series, valid)
            loud = valid * loud[:, 2:-2]
        for values, weight in ((series[:, :, :FILTERS], valid), (series, loud)):
            found.append(torch.log(Moments(values, weight, rows).variance() + LEAST + empty) / 2)
    return found


def correlations(bands: Tensor, weight: Tensor, rows: Tensor) -> list[Tensor]:
    """Correlation of bands ``APART`` over the frames, -1 to 1."""
    moments, found = Moments(bands, weight, rows), []
    alone = moments.variance()
    for apart in APART:
        above, below = slice(apart, None), slice(None, -apart)
        spread = torch.sqrt(alone[:, :, above] * alone[:, :, below] + LEAST)
        found.append(moments.product(above, below) / spread)
    return found


def phases(real: Tensor, imaginary: Tensor, bank: Tensor, weight: Tensor, rows: Tensor) -> list[Tensor]:
    """Deviations of the coherence of neighbouring bins, and of second differences in time.

    Args:
        real, imaginary: [n, t, bins] of the spectrum, counted in floors; bank: [bins, FILTERS].
    """
    length = torch.sqrt(real * real + imaginary * imaginary)
    near = _product(real[:, :, 1:], imaginary[:, :, 1:], real[:, :, :-1], imaginary[:, :, :-1])
    pulse = _coherence(*near, length[:, :, 1:] * length[:, :, :-1], bank[:-1])
    step = _product(real[:, 1:], imaginary[:, 1:], real[:, :-1], imaginary[:, :-1])
    turn = _product(step[0][:, 1:], step[1][:, 1:], step[0][:, :-1], step[1][:, :-1])
    # The length of the product from those of its parts: its own square is beyond what single precision holds.
    middle = length[:, 1:-1]
    root = torch.sqrt(length[:, 2:] * middle * middle * length[:, :-2] + 1.0)
    steady = _coherence(turn[0] / root, turn[1] / root, root, bank)
    there = weight[:, 2:] * torch.sign(weight[:, :-2] * weight[:, 1:-1])
    return [torch.sqrt(Moments(values, share, rows).variance()) for values, share in ((pulse, weight), (steady, there))]


def _product(real: Tensor, imaginary: Tensor, other: Tensor, other_imaginary: Tensor) -> tuple[Tensor, Tensor]:
    """A complex number times the conjugate of another."""
    return real * other + imaginary * other_imaginary, imaginary * other - real * other_imaginary


def _coherence(real: Tensor, imaginary: Tensor, size: Tensor, bank: Tensor) -> Tensor:
    """Length of the sum over a band against the sum of lengths, 0 to 1: [n, t, FILTERS]."""
    summed, across = real @ bank, imaginary @ bank
    return torch.sqrt(summed * summed + across * across + 1.0) / (size @ bank + 1.0)
