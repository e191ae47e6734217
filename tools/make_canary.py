"""Writes ``serving/canary.flac``: a voice of our own making, so that no speaker and no licence is involved.

``python tools/make_canary.py``. Glottal pulses through four formants (Klatt, 1980) speak eight syllables in 2.8 s:
voice activity takes it for speech, which is all that a canary needs. The same file comes out again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from scipy import signal

RATE = 16_000
TARGET = Path(__file__).resolve().parents[1] / "serving" / "canary.flac"
# Formants in hertz (Peterson & Barney, 1952), and their bandwidths.
VOWELS = {
    "a": (730, 1090, 2440, 3400),
    "e": (530, 1840, 2480, 3500),
    "i": (270, 2290, 3010, 3600),
    "o": (570, 840, 2410, 3300),
    "u": (300, 870, 2240, 3300),
}
WIDTHS = (80, 100, 140, 200)
# Vowel, seconds, pitch at its begin and end in hertz.
SYLLABLES = (
    ("a", 0.22, 130, 120),
    ("e", 0.20, 125, 135),
    ("o", 0.25, 135, 118),
    ("i", 0.20, 122, 128),
    ("u", 0.25, 125, 110),
    ("a", 0.22, 120, 125),
    ("e", 0.20, 122, 115),
    ("i", 0.30, 118, 95),
)
PAUSE_AFTER = 3


def speak(noise: np.random.Generator) -> NDArray[np.float32]:
    """The syllables, float32 [n] at 16 kHz."""
    parts = [np.zeros(RATE // 5)]
    for place, (vowel, seconds, begin, end) in enumerate(SYLLABLES):
        parts.append(_hiss(noise) if place % 2 else np.zeros(RATE // 25))
        voiced = _vowel(noise, vowel, seconds, begin, end)
        parts.append(voiced / np.abs(voiced).max() * 0.35)
        if place == PAUSE_AFTER:
            parts.append(np.zeros(RATE // 8))
    whole = np.concatenate([*parts, np.zeros(RATE // 5)])
    return np.asarray(whole + 3e-4 * noise.standard_normal(len(whole)), dtype=np.float32)


def _vowel(noise: np.random.Generator, vowel: str, seconds: float, begin: float, end: float) -> NDArray[np.float64]:
    count = round(seconds * RATE)
    moments = np.arange(count) / RATE
    pitch = np.linspace(begin, end, count) * (1 + 0.01 * np.sin(2 * np.pi * 5 * moments))
    phase = np.cumsum(pitch / RATE) % 1
    flow = np.where(phase < 0.6, np.sin(np.pi * phase / 0.6) ** 2, 0.0)
    sound = np.diff(flow, prepend=flow[0]) + 0.002 * noise.standard_normal(count)
    for formant, width in zip(VOWELS[vowel], WIDTHS):
        radius = np.exp(-np.pi * width / RATE)
        poles = [1.0, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2]
        sound = signal.lfilter([sum(poles)], poles, sound)
    return np.asarray(sound * np.minimum(1, np.minimum(moments / 0.03, (moments[-1] - moments) / 0.05)))


def _hiss(noise: np.random.Generator) -> NDArray[np.float64]:
    count = round(0.08 * RATE)
    band = signal.butter(2, [3500, 7000], "band", fs=RATE)
    return np.asarray(0.02 * signal.lfilter(*band, noise.standard_normal(count)) * np.hanning(count))


def main() -> int:
    """Write the file."""
    samples = np.rint(speak(np.random.default_rng(4)) * 32767).astype(np.int16)
    with av.open(str(TARGET), "w", format="flac", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    print(f"written: {TARGET.name}, {TARGET.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
