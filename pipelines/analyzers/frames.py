"""Frames of a recording, 10 ms apart, and what is measured of each: the ground that the voice analyzers share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float32]

RATE = 16_000
CELL = 512
"""Samples of one cell of the speech track."""
HOP = 160
WIDTH = 400
"""A spectral frame is 25 ms wide."""
_BLOCK = 1024
"""Frames that are transformed at once: memory stays flat for a long recording."""
_LEAST = 1e-10
BANDS = ((80.0, 500.0), (500.0, 2000.0), (2000.0, 7500.0))
"""Hertz: the voice's own band, the formants, and what breath and fricatives fill."""


@dataclass(frozen=True)
class Frames:
    """Levels of a recording, a frame every 10 ms; frame i is centred on sample ``i * HOP``."""

    levels: Floats
    """[frames] dB relative to full scale, 80 to 7,500 Hz."""
    bands: Floats
    """[frames, 3] the same for each of :data:`BANDS`."""
    flatness: Floats
    """[frames] geometric over arithmetic mean of the power from 500 to 7,500 Hz: 1 for white noise, 0 for a tone."""
    speech: Floats
    """[frames] probability of speech, of the cell that the frame's centre lies in."""


def frames_of(samples: Floats, speech: Floats) -> Frames:
    """Measure a recording.

    Args:
        samples: [n] 16 kHz mono in -1 to 1; speech: [cells] probability for each 512 samples.
    """
    count = max(1, len(samples) // HOP)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WIDTH, dtype=np.float32) / WIDTH)).astype(np.float32)
    hertz = np.arange(CELL // 2 + 1) * RATE / CELL
    masks = [(hertz >= low) & (hertz < high) for low, high in BANDS]
    upper = masks[1] | masks[2]
    # A sine of full scale has 0 dB (Parseval: the bins from 0 to the middle hold half of its energy under the window).
    scale = 4.0 / (CELL * float(np.sum(np.square(window))))
    padded = np.concatenate([np.zeros(WIDTH // 2, np.float32), samples, np.zeros(WIDTH, np.float32)])
    view = np.lib.stride_tricks.sliding_window_view(padded, WIDTH)[::HOP][:count]
    bands = np.empty((count, len(BANDS)), np.float32)
    flatness = np.empty(count, np.float32)
    for start in range(0, count, _BLOCK):
        part = slice(start, start + _BLOCK)
        power = np.square(np.abs(fft.rfft(view[part] * window, CELL, axis=1))) * scale
        for place, mask in enumerate(masks):
            bands[part, place] = power[:, mask].sum(axis=1)
        high = power[:, upper] + _LEAST * 1e-4
        flatness[part] = np.exp(np.log(high).mean(axis=1)) / high.mean(axis=1)
    cells = np.minimum(np.arange(count) * HOP // CELL, max(0, len(speech) - 1))
    return Frames(
        levels=decibels(bands.sum(axis=1)),
        bands=decibels(bands),
        flatness=flatness,
        speech=speech[cells].astype(np.float32) if len(speech) else np.zeros(count, np.float32),
    )


def decibels(power: Floats) -> Floats:
    """10 log10, with a floor at -100 dB."""
    return np.asarray(10 * np.log10(np.maximum(power, _LEAST)), dtype=np.float32)


def runs(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[runs, 2] first and one past the last place of each stretch of True."""
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)
