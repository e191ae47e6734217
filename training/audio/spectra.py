"""Short-time spectra of one sound, as arrays: analysis, overlap-add synthesis, pitch. No torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from training.audio.sounds import RATE, Floats, Sound

Complex = npt.NDArray[np.complex128]


def stft(samples: npt.NDArray[np.floating[Any]], size: int, hop: int) -> Complex:
    """Hann-windowed spectra around every ``hop`` samples: complex [n // hop + 1, size / 2 + 1]."""
    window = np.hanning(size + 1)[:-1]
    around = np.pad(samples.astype(np.float64), size // 2, mode="reflect" if len(samples) > size // 2 else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(around, size)[::hop]
    return np.asarray(np.fft.rfft(frames * window, axis=1))


def istft(spectra: Complex, size: int, hop: int, length: int) -> Floats:
    """Least-squares inverse of ``stft``: float64 [length]."""
    window = np.hanning(size + 1)[:-1]
    frames = np.fft.irfft(spectra, size, axis=1) * window
    total = overlap_add(frames, hop)
    weight = overlap_add(np.broadcast_to(window**2, frames.shape), hop)
    whole = total / np.maximum(weight, 1e-8)
    return np.pad(whole[size // 2 :], (0, length))[:length]


def overlap_add(frames: Floats, hop: int) -> Floats:
    """Sum of frames [t, size] that begin every ``hop`` samples; ``hop`` divides the size or frames are padded to it."""
    count, size = frames.shape
    parts = -(-size // hop)
    padded = np.pad(frames, ((0, 0), (0, parts * hop - size)))
    total = np.zeros((count + parts, hop))
    for part in range(parts):
        total[part : part + count] += padded[:, part * hop : (part + 1) * hop]
    return total.reshape(-1)[: (count - 1) * hop + size]


def pitch(samples: Sound, hop: int, low: float = 60.0, high: float = 400.0) -> tuple[Floats, Floats]:
    """Fundamental frequency and how periodic each frame is, by the normalised autocorrelation.

    Returns:
        Hz and 0 to 1, float64 [n // hop + 1] each; the frequency is 0 where a frame is not periodic.
    """
    size, padded = 1024, 2048
    around = np.pad(samples.astype(np.float64), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(around, size)[::hop] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, padded, axis=1)) ** 2
    lags = np.fft.irfft(power, axis=1)
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), padded)) ** 2)
    shortest, longest = int(RATE / high), int(RATE / low)
    curve = lags[:, shortest:longest] / (lags[:, :1] + 1e-9) * (window[0] / window[shortest:longest])
    # A little in favour of short periods, or octaves below win.
    best = np.argmax(curve * np.linspace(1.0, 0.85, curve.shape[1]), axis=1)
    strength = np.clip(curve[np.arange(len(curve)), best], 0, 1)
    return np.where(strength > 0.45, RATE / (best + shortest), 0.0), strength
