"""Noises and rooms that training adds to both clips of a pair; each depends on its random numbers alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import firwin2, oaconvolve

from training.audio.sounds import RATE, Sound, rms


def coloured_noise(length: int, slope: float, rng: np.random.Generator) -> Sound:
    """Noise of unit power whose power falls as frequency to ``-slope`` (0 white, 1 pink, 2 brown), flat under 40 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hertz = np.maximum(np.fft.rfftfreq(length, 1 / RATE), 40.0)
    noise = np.fft.irfft(spectrum * hertz ** (-slope / 2), length)
    return np.asarray(noise / max(float(noise.std()), 1e-9), dtype=np.float32)


def babble(length: int, voices: Sequence[Sound], rng: np.random.Generator) -> Sound:
    """Three to seven voices at once, of unit power; voices without sound are passed over.

    Raises:
        ValueError: there are no voices.
    """
    if not len(voices):
        raise ValueError("babble needs voices")
    total = np.zeros(length, np.float32)
    for item in rng.integers(0, len(voices), int(rng.integers(3, 8))):
        voice = voices[int(item)]
        if len(voice) < 1600 or rms(voice) < 1e-5:
            continue
        start = int(rng.integers(len(voice)))
        turns = np.resize(np.roll(voice, -start), length)
        total += turns * np.float32(rng.uniform(0.5, 1.0) / rms(voice))
    return np.asarray(total / max(rms(total), 1e-9), dtype=np.float32)


def hum(length: int, rng: np.random.Generator) -> Sound:
    """Mains hum of 50 or 60 Hz with overtones, of unit power."""
    base = float(rng.choice([50.0, 60.0])) * float(np.exp(rng.normal(0, 0.002)))
    time = np.arange(length) / RATE
    tones = [
        rng.uniform(0, 1) / number * np.sin(2 * np.pi * base * number * time + rng.uniform(0, 6.3))
        for number in range(1, 9)
    ]
    total = np.sum(tones, axis=0)
    return np.asarray(total / max(float(total.std()), 1e-9), dtype=np.float32)


def room(seconds: float, direct_db: float, rng: np.random.Generator) -> Sound:
    """Impulse response of a made-up room: a direct sound, a few echoes, a tail that dies by 60 dB in ``seconds``.

    Args:
        direct_db: how much louder the direct sound is than all the rest.

    Returns:
        float32 [m], unit energy; the direct sound is its first sample, so that nothing is late.
    """
    length = max(64, int(seconds * RATE))
    time = np.arange(length) / RATE
    tail = rng.standard_normal(length) * 10 ** (-3 * time / seconds)
    tail[: int(0.004 * RATE)] = 0
    for _ in range(int(rng.integers(3, 9))):
        tail[int(rng.uniform(0.002, 0.04) * RATE) % length] += rng.normal(0, 2.0)
    tail = oaconvolve(tail, firwin2(65, [0, 500, 4000, 8000], [1, 1, 0.5, 0.15], fs=RATE), mode="same")
    tail[0] = 0
    tail *= 10 ** (-direct_db / 20) / max(float(np.sqrt((tail**2).sum())), 1e-9)
    tail[0] = 1.0
    return np.asarray(tail / np.sqrt((tail**2).sum()), dtype=np.float32)


def random_equaliser(strength_db: float, rng: np.random.Generator) -> Sound:
    """A linear-phase filter of 129 taps with random bumps of at most about ``strength_db``."""
    points = np.sort(rng.uniform(100, 7900, 5))
    gains = rng.uniform(-1, 1, 7) * strength_db
    return np.asarray(firwin2(129, [0, *points, 8000], 10 ** (gains / 20), fs=RATE), dtype=np.float32)
