"""Log-mel spectrogram of speech, 100 frames a second: what lip-sync hears."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from pipelines.audio.source import RATE, Samples

Floats = npt.NDArray[np.float32]

BANDS = 40
HOP = RATE // 100
WINDOW = 400
"""Samples of one frame, 25 ms."""
_FFT = 512
_LOW, _HIGH = 60.0, 7600.0
_FLOOR_DB = 60.0
"""Below the loudest band of the clip: what is softer is taken as silence."""


def log_mel(samples: Samples) -> Floats:
    """The spectrogram of a clip, float32 [frames, 40], of mean 0 and deviation 1 in every band.

    Frame i is centred on the middle of samples 160 i to 160 i + 159; there is one for each 160 samples begun. Level and
    the colour of the channel go out with the means, so they are no cue. Digital silence gives zeros.

    Args:
        samples: [n] float32, 16 kHz mono.
    """
    count = -(-len(samples) // HOP)
    if not count:
        return np.zeros((0, BANDS), np.float32)
    before = (WINDOW - HOP) // 2
    padded = np.zeros(before + count * HOP + WINDOW, np.float32)
    padded[before : before + len(samples)] = np.nan_to_num(samples)
    found = np.empty((count, BANDS), np.float32)
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    for start in range(0, count, 2000):  # 20 s at a time
        part = np.lib.stride_tricks.sliding_window_view(padded[start * HOP :], WINDOW)[::HOP][
            : min(2000, count - start)
        ]
        power = np.square(np.abs(np.fft.rfft(part * window, _FFT)))
        found[start : start + len(part)] = power @ _filters()
    loudest = float(found.max())
    if loudest < 1e-9:
        return np.zeros_like(found)
    logs = 10 * np.log10(found / loudest + 10 ** (-_FLOOR_DB / 10))
    logs = (logs - logs.mean(axis=0)) / np.maximum(logs.std(axis=0), 1.0)
    return np.asarray(logs, dtype=np.float32)


@cache
def _filters() -> Floats:
    """Triangles, evenly spaced in mel, [257, 40]; each sums to 1."""
    mels = np.linspace(2595 * np.log10(1 + _LOW / 700), 2595 * np.log10(1 + _HIGH / 700), BANDS + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.arange(_FFT // 2 + 1) * RATE / _FFT
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    shapes = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(shapes / np.maximum(shapes.sum(axis=0), 1e-9), dtype=np.float32)
