"""Traces of synthesis on real photos: what stands for wholly synthetic faces without one generator's content.

* up-sampled: the photo went through a low resolution and came back by zero insertion and a small kernel, as transposed
  convolutions and nearest-neighbour layers do it; the phases of the grid are not quite alike (checkerboards), and the
  highest frequencies are not the photo's (Durall et al., CVPR 2020);
* spectral peaks: a faint periodic pattern whose frequencies are fractions of the sampling frequency, the grid of
  bright points in a generator's spectrum (Frank et al., ICML 2020).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

PERIODS = (2, 4, 8, 16)
"""Of the spectral peaks, in pixels: what one to four doublings leave."""
_PAD = 4


def drawn_kernel(factor: int, rng: np.random.Generator) -> Floats:
    """A kernel of a transposed convolution with this stride, float32 [k, k].

    Its shape is bilinear interpolation's, or nearest-neighbour's with a convolution of three pixels behind it, a little
    disturbed; each of its ``factor`` x ``factor`` phases sums to nearly 1, the gains differ by 0.4 to 3 %.
    """
    if rng.random() < 1 / 3:
        beside = rng.uniform(0.1, 0.6)
        line = np.convolve(np.ones(factor), (beside, 1.0, beside))
    else:
        length = int(rng.choice((2 * factor - 1, 2 * factor)))
        line = (1 - np.abs(np.arange(length) - (length - 1) / 2) / factor) ** rng.uniform(0.6, 1.4)
    length = len(line)
    kernel = np.outer(line, line) * (1 + rng.normal(0, 0.08, (length, length)))
    strength = float(np.exp(rng.uniform(np.log(0.004), np.log(0.03))))
    gains = 1 + rng.normal(0, strength, (factor, factor))
    gains += 1 - gains.mean()
    for row in range(factor):
        for column in range(factor):
            kernel[row::factor, column::factor] *= gains[row, column] / kernel[row::factor, column::factor].sum()
    return np.asarray(kernel, np.float32)


def enlarged(low: Floats, factor: int, kernel: Floats) -> Floats:
    """Zero insertion and a convolution: float32 [h, w, 3] to [factor * h, factor * w, 3]."""
    padded = np.pad(low, ((_PAD, _PAD), (_PAD, _PAD), (0, 0)), mode="reflect")  # keeps the phases of a grid
    wide = np.zeros((padded.shape[0] * factor, padded.shape[1] * factor, 3), np.float32)
    start = (factor - 1) // 2
    wide[start::factor, start::factor] = padded
    side = len(kernel)
    made = cv2.filter2D(wide, -1, kernel, anchor=(side // 2, side // 2))
    trim = _PAD * factor
    return np.asarray(made[trim:-trim, trim:-trim], dtype=np.float32)


def upsampled(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A photo that came back from half or a quarter of its resolution; uint8 [h, w, 3]. 4 ms of one core at 256 x 256.

    A quarter returns in one step or in two doublings. Part of the lost detail is given back, so that softness alone
    does not name the fake: 0.2 to 0.9 of it, 0.5 to 1 after a quarter.
    """
    height, width = pixels.shape[:2]
    factor = int(rng.choice((2, 4), p=(0.6, 0.4)))
    steps = (2, 2) if factor == 4 and rng.random() < 0.5 else (factor,)
    tall, wide = -(-height // factor) * factor, -(-width // factor) * factor
    whole = cv2.copyMakeBorder(pixels, 0, tall - height, 0, wide - width, cv2.BORDER_REPLICATE).astype(np.float32)
    made = np.asarray(cv2.resize(whole, (wide // factor, tall // factor), interpolation=cv2.INTER_AREA), np.float32)
    for step in steps:
        made = enlarged(made, step, drawn_kernel(step, rng))
    detail = rng.uniform(0.2, 0.9) if factor == 2 else rng.uniform(0.5, 1.0)
    smooth = cv2.GaussianBlur(whole, (0, 0), 0.6 * factor)
    made = made + np.float32(detail) * (whole - smooth)
    return np.clip(made[:height, :width], 0, 255).round().astype(np.uint8)


def peak_tile(period: int, rng: np.random.Generator) -> Floats:
    """One period of a pattern of zero mean and unit deviation, float32 [period, period, 3].

    Either a few frequencies or the whole grid of multiples of 1 / period, alike in the channels to a drawn degree.
    """
    grey = rng.random()
    waves = grey * rng.normal(size=(period, period, 1)) + (1 - grey) * rng.normal(size=(period, period, 3))
    spectrum = np.fft.fft2(waves, axes=(0, 1))
    if period > 2 and rng.random() < 0.5:
        kept = rng.random((period, period)) < 3 / period**2
        # The highest frequencies are where up-sampling leaves its images; one of them always stays.
        kept[tuple(((0, period // 2), (period // 2, 0), (period // 2, period // 2))[int(rng.integers(3))])] = True
        spectrum *= kept[..., None]
    spectrum[0, 0] = 0
    tile = np.fft.ifft2(spectrum, axes=(0, 1)).real
    return np.asarray(tile / max(float(tile.std()), 1e-6), dtype=np.float32)


def spectral_peaks(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A photo with a faint periodic pattern (0.8 to 4 grey levels); uint8 [h, w, 3]. 0.5 ms at 256 x 256.

    Half of the patterns follow the brightness of the photo, as what a network does to its feature maps.
    """
    height, width = pixels.shape[:2]
    period = int(rng.choice(PERIODS, p=(0.25, 0.3, 0.3, 0.15)))
    strength = np.float32(np.exp(rng.uniform(np.log(0.8), np.log(4.0))))
    tile = peak_tile(period, rng)
    pattern = np.tile(tile, (-(-height // period), -(-width // period), 1))[:height, :width] * strength
    image = pixels.astype(np.float32)
    if rng.random() < 0.5:
        pattern = pattern * (image / np.float32(max(float(image.mean()), 16.0)))
    return np.clip(image + pattern, 0, 255).round().astype(np.uint8)
