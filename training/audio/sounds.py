"""Sound in and out of files, and the few transforms that copy synthesis, damage and shortcut tests share.

Everything is mono float32 in [-1, 1] at 16,000 Hz unless an argument says otherwise.
"""

from __future__ import annotations

import functools
import io
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from scipy.signal import firwin, oaconvolve, resample_poly

from deepscan_client.errors import DeepScanError
from pipelines.audio.source import decode_audio

RATE = 16_000
Sound = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


class SoundError(ValueError):
    """A file that cannot be read as sound."""


def read_sound(path: Path) -> Sound:
    """Decode a file with the very function that serving uses: float32 [n] at 16 kHz.

    Raises:
        SoundError: the file holds no sound, or is broken.
    """
    try:
        return decode_audio(path.read_bytes())[0]
    except DeepScanError as error:
        raise SoundError(f"{path}: {error}") from error


def write_sound(path: Path, samples: Sound, rate: int = RATE) -> None:
    """Write 16-bit FLAC through a temporary file, so that a reader never meets half a file."""
    whole = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(buffer.getvalue())
    partial.rename(path)


def resample(samples: Sound, old: int, new: int) -> Sound:
    """Polyphase resampling; float32 [ceil(n * new / old)]."""
    if old == new:
        return samples
    divisor = np.gcd(old, new)
    return np.asarray(resample_poly(samples, new // divisor, old // divisor), dtype=np.float32)


def fitted(samples: npt.NDArray[np.floating[Any]], length: int) -> Sound:
    """Cut, or padded with zeros at the end, to ``length``; what is not finite becomes zero."""
    kept = np.nan_to_num(np.asarray(samples[:length], dtype=np.float32), posinf=0.0, neginf=0.0)
    return np.pad(kept, (0, length - len(kept)))


def rms(samples: Sound) -> float:
    """Root mean square, never zero."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))


@functools.lru_cache(maxsize=32)
def _mel_filters(rate: int, size: int, bands: int, low: float, high: float) -> Sound:
    def to_mel(hertz: Floats) -> Floats:
        return np.where(hertz < 1000, hertz * 3 / 200, 15 + np.log(np.maximum(hertz, 1e-3) / 1000) / (np.log(6.4) / 27))

    def to_hertz(mel: Floats) -> Floats:
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))

    ends = to_mel(np.array([low, high]))
    edges = to_hertz(np.linspace(float(ends[0]), float(ends[1]), bands + 2))
    bins = np.linspace(0, rate / 2, size // 2 + 1)
    rising = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return np.asarray(filters, dtype=np.float32)


def mel_filters(rate: int, size: int, bands: int, low: float = 0.0, high: float | None = None) -> Sound:
    """Slaney's mel filters with unit area, as most vocoders want them: float32 [bands, size / 2 + 1]."""
    return _mel_filters(rate, size, bands, low, high or rate / 2)


def power_density(samples: Sound, size: int) -> tuple[Floats, Floats]:
    """Frequencies (Hz) and Welch's power density, Hann windows that overlap by a half: float64 [size / 2 + 1] each.

    SciPy's own walks over the windows one by one, which takes ten times as long.
    """
    size = min(size, len(samples))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), size)[:: size - size // 2]
    centred = frames - frames.mean(axis=1, keepdims=True)
    power = np.square(np.abs(np.fft.rfft(centred * window, axis=1))).mean(axis=0) / (RATE * (window**2).sum())
    power[1 : len(power) if size % 2 else -1] *= 2
    return np.fft.rfftfreq(size, 1 / RATE), power


def band_edge(samples: Sound) -> float:
    """Highest frequency (Hz) that carries more than the rounding to 16 bits, or than 75 dB under the loudest band.

    Half of the rate where nothing is cut off. Silence gives 0.
    """
    if len(samples) < 256:
        return RATE / 2
    hertz, power = power_density(samples, 512)
    floor = (1 / 32768) ** 2 / 12 / (RATE / 2)
    smooth = np.convolve(power, np.ones(3) / 3, mode="same")[1:-1]
    carrying = np.flatnonzero(smooth > max(4 * floor, smooth.max() * 10**-7.5))
    if not len(carrying):
        return 0.0
    edge = float(hertz[1:-1][carrying[-1]])
    return RATE / 2 if edge > 0.93 * RATE / 2 else edge


def low_pass(samples: Sound, edge: float, rate: int = RATE) -> Sound:
    """Linear-phase low-pass without delay; unchanged where ``edge`` is within 7 % of half of the rate."""
    if edge > 0.93 * rate / 2:
        return samples
    taps = firwin(255, max(edge, 50.0), fs=rate)
    return np.asarray(oaconvolve(samples, taps, mode="full")[127 : 127 + len(samples)], dtype=np.float32)
