"""A made-up voice: gliding harmonics through two formants, syllables, breath."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

RATE = 16_000


def voice(seconds: float = 2.0, seed: int = 0, level: float = 0.1) -> NDArray[np.float32]:
    """float32 [seconds * 16000], within [-1, 1]; a fifth of a second of near silence at both ends."""
    rng = np.random.default_rng(seed)
    length = round(seconds * RATE)
    time = np.arange(length) / RATE
    tone = rng.uniform(100, 200) * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 6)))
    beats = np.floor(np.cumsum(tone / RATE))
    sound = (np.diff(beats, prepend=0) > 0) + 0.02 * rng.standard_normal(length)
    for centre, width in ((rng.uniform(400, 800), 90), (rng.uniform(1200, 2200), 140), (2800, 220)):
        radius = np.exp(-np.pi * width / RATE)
        sound = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2], sound)
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * time) + 0.4, 0, 1)
    edge = np.clip(np.minimum(time, seconds - time) / 0.2 - 1, 0, 1)
    sound = sound * syllables * edge
    sound = sound / (np.sqrt(np.mean(sound**2)) + 1e-9) * level + 1e-4 * rng.standard_normal(length)
    return np.clip(sound, -1, 1).astype(np.float32)
