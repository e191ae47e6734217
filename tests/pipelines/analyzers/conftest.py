"""A throat made of numbers: pulses whose period and strength are known, through resonances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

RATE = 16_000
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Vowel:
    """Samples with what is true of them."""

    samples: Floats
    jitter: float
    """Mean absolute difference of neighbouring periods over the mean period."""
    shimmer: float


@pytest.fixture(scope="session")
def vowel() -> Callable[..., Vowel]:
    """``vowel(f0, seconds, jitter=0, shimmer=0, seed=0, formants=...)``: spreads are standard deviations, shares."""

    def make(
        f0: float,
        seconds: float,
        jitter: float = 0.0,
        shimmer: float = 0.0,
        seed: int = 0,
        formants: Sequence[tuple[float, float]] = ((500, 80), (1500, 120), (2500, 160)),
    ) -> Vowel:
        rng, over = np.random.default_rng(seed), 16
        count = int(seconds * f0)
        periods = RATE / f0 * (1 + jitter * rng.normal(size=count))
        strengths = 1 + shimmer * rng.normal(size=count)
        at = np.round(np.cumsum(periods) * over).astype(int)
        at = at[at < int(seconds * RATE) * over]
        sound: Any = np.zeros(int(seconds * RATE) * over)
        sound[at] = strengths[: len(at)]
        sound = signal.resample_poly(sound, 1, over)
        for hertz, width in formants:
            radius = np.exp(-np.pi * width / RATE)
            sound = signal.lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hertz / RATE), radius**2], sound)
        truth, kept = np.diff(at) / over, strengths[: len(at)]
        return Vowel(
            (0.5 * sound / np.abs(sound).max()).astype(np.float32),
            float(np.abs(np.diff(truth)).mean() / truth.mean()),
            float(np.abs(np.diff(kept)).mean() / kept.mean()),
        )

    return make


@pytest.fixture(scope="session")
def band_noise() -> Callable[..., Floats]:
    """``band_noise(seconds, rms, low=600, high=6000, seed=0)``: what a breath is, float32 [n]."""

    def make(seconds: float, rms: float, low: float = 600, high: float = 6000, seed: int = 0) -> Floats:
        sos = signal.butter(4, [low, high], "bandpass", fs=RATE, output="sos")
        sound = signal.sosfilt(sos, np.random.default_rng(seed).normal(size=int(seconds * RATE)))
        fade = np.minimum(1, np.minimum(np.arange(len(sound)), np.arange(len(sound))[::-1]) / (0.02 * RATE))
        return np.asarray(rms * sound / sound.std() * fade, dtype=np.float32)

    return make
