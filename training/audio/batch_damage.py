"""Damage of whole batches of pairs on the device that trains; both of a pair alike, with the same random numbers.

What a recording meets: another speed, a room, a colour, a narrower band, noise and other voices, a transform codec, a
telephone. Real codecs cannot run on an accelerator; ``training.audio.cuts`` packs some windows that
went through them. Levels are those of the windows (``LEVEL`` while speaking), at 16 kHz.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.audio.windows import CELL, DITHER, RATE, SAMPLES

WHOLE = 81_920
"""Samples of a window and of the zeros after it, so that no echo comes round: 2 to the 14th, five times."""
ROOM = WHOLE - SAMPLES
SPEEDS = (0.9, 0.95, 1.05, 1.1)
FRAME = 512
"""Samples of the transform codec's frames; they overlap by half."""


class Dice:
    """Random numbers on one device, one for each of ``pairs``."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, pairs: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """float [pairs, 1, 1]."""
        drawn = torch.rand(pairs, 1, 1, generator=self.generator, device=self.device)
        return low + (high - low) * drawn

    def taken(self, pairs: int, chance: float) -> Tensor:
        """bool [pairs, 1, 1]."""
        return self.uniform(pairs) < chance

    def normal(self, *shape: int) -> Tensor:
        """float of that shape."""
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def order(self, count: int) -> Tensor:
        """A permutation, int64 [count]."""
        return torch.randperm(count, generator=self.generator, device=self.device)


def power(audio: Tensor, cells: Tensor) -> Tensor:
    """Mean square over the recording, [p, 2, 1]."""
    return audio.square().sum(dim=2, keepdim=True) / (cells.clamp(min=1) * CELL)[:, None, None] + 1e-12


def faster(audio: Tensor, cells: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Tempo and pitch together; what no longer fits is cut off, whole cells stay."""
    length = round(SAMPLES / factor)
    spectra = torch.fft.rfft(audio)
    size = length // 2 + 1
    spectra = functional.pad(spectra, (0, max(0, size - spectra.shape[2])))[:, :, :size]
    made = torch.fft.irfft(spectra, length) * (length / SAMPLES)
    made = functional.pad(made, (0, max(0, SAMPLES - length)))[:, :, :SAMPLES]
    return made, (cells / factor).floor().long().clamp(max=SAMPLES // CELL)


def response(pairs: int, dice: Dice) -> Tensor:
    """What rooms, colours and bands do to a spectrum of ``WHOLE`` samples, complex [pairs, 1, WHOLE / 2 + 1]."""
    place = torch.linspace(0, 1, WHOLE // 2 + 1, device=dice.device)
    waves = torch.cos(math.pi * place * torch.arange(1, 7, device=dice.device)[:, None])
    strength = dice.uniform(pairs, 0.5, 4.0) * dice.taken(pairs, 0.4)
    decibel = (dice.normal(pairs, 1, 6) / torch.arange(1, 7, device=dice.device).sqrt()) @ waves * strength
    hertz = place * (RATE / 2)
    passed = torch.sigmoid((dice.uniform(pairs, 3400, 7800) - hertz) / 60.0)
    gain = 10 ** (decibel / 20) * torch.where(dice.taken(pairs, 0.2), passed, 1.0)
    # A hole somewhere in the spectrum: no band may be the only one that is looked at.
    hole = ((hertz - dice.uniform(pairs, 0, 8000)).abs() - dice.uniform(pairs, 100, 1000)) / 60.0
    gain = gain * torch.where(dice.taken(pairs, 0.25), torch.sigmoid(hole), 1.0)
    time = torch.arange(ROOM, device=dice.device) / RATE
    tail = dice.normal(pairs, 1, ROOM) * torch.exp(-6.9 * time / dice.uniform(pairs, 0.1, 0.8))
    tail = tail / tail.square().sum(dim=2, keepdim=True).sqrt() * 10 ** (-dice.uniform(pairs, -2, 12) / 20)
    tail = tail * dice.taken(pairs, 0.2)
    tail[:, :, 0] += 1.0
    echo: Tensor = torch.fft.rfft(tail, WHOLE)
    return gain * echo


def noise(audio: Tensor, cells: Tensor, dice: Dice) -> Tensor:
    """Coloured noise, or four other real windows at once, [p, 1, SAMPLES], by its level under the real window."""
    pairs = len(audio)
    spectra = torch.fft.rfft(dice.normal(pairs, 1, SAMPLES))
    bins = torch.arange(spectra.shape[2], device=dice.device) * (RATE / SAMPLES)
    slope = torch.where(dice.taken(pairs, 0.5), 0.0, dice.uniform(pairs, 0.0, 1.0))
    made = torch.fft.irfft(spectra * bins.clamp(min=40.0) ** -slope, SAMPLES)
    voices = torch.stack([audio[dice.order(pairs), :1].roll(shift * 9_001, dims=2) for shift in range(4)]).sum(dim=0)
    made = torch.where(dice.taken(pairs, 0.25), voices, made)
    made = made / (made.square().mean(dim=2, keepdim=True).sqrt() + 1e-9)
    level = power(audio[:, :1], cells).sqrt() * 10 ** (-dice.uniform(pairs, 5, 45) / 20)
    second = dice.normal(pairs, 1, SAMPLES) * 10 ** (-dice.uniform(pairs, 30, 65) / 20)
    second = second * power(audio[:, :1], cells).sqrt()
    return made * level * dice.taken(pairs, 0.45) + second * dice.taken(pairs, 0.3)


def coded(audio: Tensor, dice: Dice) -> Tensor:
    """What a transform codec does: each band of each frame in steps of its own, so that quiet bins become holes."""
    pairs, half = len(audio), FRAME // 2
    window = torch.sin(math.pi * (torch.arange(FRAME, device=dice.device) + 0.5) / FRAME)
    flat = functional.pad(audio.reshape(-1, SAMPLES), (half, half + -SAMPLES % half))
    spectra = torch.fft.rfft(flat.unfold(1, FRAME, half) * window)[:, :, :half]
    bands = spectra.reshape(pairs, 2, -1, half // 8, 8)
    size = bands.abs().square().mean(dim=4, keepdim=True).sqrt()
    share = torch.linspace(0, 1, half // 8, device=dice.device)[:, None]
    worth = dice.uniform(pairs, -6, 20)[:, :, :, None, None] - dice.uniform(pairs, 0, 12)[:, :, :, None, None] * share
    step = size * 10 ** (-worth / 20) + 1e-9
    steps = torch.view_as_real(bands) / step[..., None]
    bands = torch.view_as_complex((torch.round(steps) * step[..., None]).contiguous())
    spectra = functional.pad(bands.reshape(2 * pairs, -1, half), (0, 1))
    frames = torch.fft.irfft(spectra, FRAME) * window
    made = functional.pad(frames[:, :, :half].flatten(1), (0, half))
    made = made + functional.pad(frames[:, :, half:].flatten(1), (half, 0))
    return made[:, half : half + SAMPLES].reshape(pairs, 2, SAMPLES)


def called(audio: Tensor, dice: Dice) -> Tensor:
    """Over a telephone: a narrow band at 8 kHz in logarithmic steps (G.711), 64 to 512 of them on each side."""
    pairs, half = len(audio), SAMPLES // 2
    spectra = torch.fft.rfft(audio)[:, :, : half // 2 + 1]
    hertz = torch.arange(spectra.shape[2], device=dice.device) * (RATE / SAMPLES)
    band = torch.sigmoid((dice.uniform(pairs, 3200, 3800) - hertz) / 60.0)
    band = band * torch.sigmoid((hertz - dice.uniform(pairs, 150, 350)) / 30.0)
    made = torch.fft.irfft(spectra * band, half)
    peak = made.abs().amax(dim=2, keepdim=True) + 1e-9
    size = 2.0 ** -dice.uniform(pairs, 6, 10).floor()
    steps = torch.sign(made) * torch.log1p(255 * made.abs() / peak) / math.log(256)
    steps = torch.round(steps / size) * size
    made = torch.sign(steps) * torch.expm1(steps.abs() * math.log(256)) / 255 * peak
    wide: Tensor = torch.fft.irfft(functional.pad(torch.fft.rfft(made), (0, half - half // 2)), SAMPLES)
    return wide


def damaged(audio: Tensor, cells: Tensor, dice: Dice) -> tuple[Tensor, Tensor]:
    """Damage pairs of windows.

    Args:
        audio: float [p, 2, SAMPLES], the real window first; cells: int64 [p] that hold recording.

    Returns:
        The same shapes; zero behind the cells, at the level that the real window had, with the dither of serving.
    """
    pairs = len(audio)
    level = power(audio, cells)
    if float(dice.uniform(1)) < 0.3:
        chosen = SPEEDS[int(float(dice.uniform(1)) * len(SPEEDS)) % len(SPEEDS)]
        audio, cells = faster(audio, cells, chosen)
    audio = torch.fft.irfft(torch.fft.rfft(audio, WHOLE) * response(pairs, dice), WHOLE)[:, :, :SAMPLES]
    audio = audio + noise(audio, cells, dice)
    audio = torch.where(dice.taken(pairs, 0.3), coded(audio, dice), audio)
    audio = torch.where(dice.taken(pairs, 0.12), called(audio, dice), audio)
    there = (torch.arange(SAMPLES, device=audio.device) < cells[:, None] * CELL)[:, None]
    audio = audio * there
    audio = audio * (level / power(audio, cells)).sqrt() + DITHER * dice.normal(pairs, 1, SAMPLES)
    return audio * there, cells
