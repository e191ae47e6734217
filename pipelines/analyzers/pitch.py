"""Fundamental frequency by YIN (de Cheveigné & Kawahara, 2002), all frames at once.

Steps of the paper that are taken: the difference function (2), its cumulative mean normalisation (3), the absolute
threshold (4) and parabolic interpolation (5); a second look among the lags that this voice uses takes the place of the
paper's sixth. It runs at 8 kHz, where a voice's period still has 16 samples at 500 Hz.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

from pipelines.analyzers.frames import HOP, RATE, Floats, runs

LOWEST, HIGHEST = 60.0, 500.0
"""Hertz: from a low male voice to a child's."""
_RATE = RATE // 2
_LONGEST = int(_RATE / LOWEST)
_SHORTEST = int(_RATE / HIGHEST)
_WIDTH = 256
"""Samples that are compared: 32 ms, two periods of a low voice."""
_SIZE = 512
_THRESHOLD = 0.15
"""A dip below it is taken before a deeper one at a longer lag: that keeps the octave."""
_NEARLY = 0.1
"""A dip that is so much shallower than the deepest still counts where it comes first: it is the octave above."""
_VOICED = 0.3
"""Largest aperiodicity of a voiced frame."""
_QUIET = 35.0
"""A frame so many dB below the loud ones is no voice of the speaker."""
_ROOM = (0.6, 1.9)
"""In the second look, lags between these shares of the first look's quartiles: a voice seldom leaps an octave."""
_BLOCK = 1024
_FILTER = signal.firwin(31, 0.45).astype(np.float32)
_NO_HUM = signal.butter(6, 80.0, "highpass", fs=_RATE, output="sos")
"""The hum of the mains is no voice; a low voice keeps its period in its harmonics."""


@dataclass(frozen=True)
class PitchTrack:
    """Fundamental frequency, a frame every 10 ms; frame i is centred on sample ``i * HOP``."""

    f0: Floats
    """[frames] hertz, 0 where the frame is unvoiced."""
    aperiodicity: Floats
    """[frames] share of the power that does not repeat after the period, 0 to 1 (0.01 is a clean vowel)."""

    @property
    def voiced(self) -> NDArray[np.bool_]:
        """[frames] whether there is a pitch."""
        return self.f0 > 0

    @property
    def stretches(self) -> NDArray[np.int64]:
        """[stretches, 2] first and one past the last frame where the pitch goes on without a jump of a fifth of it."""
        f0 = self.f0
        steady = np.ones(len(f0), bool)
        steady[1:] = np.abs(np.diff(f0)) <= 0.2 * np.maximum(f0[1:], f0[:-1])
        found = [
            (first + start, first + end)
            for first, last in runs(self.voiced)
            for start, end in _between(np.flatnonzero(~steady[first + 1 : last]) + 1, int(last - first))
        ]
        return np.array(found, dtype=np.int64).reshape(-1, 2)


def _between(cuts: NDArray[np.int64], length: int) -> list[tuple[int, int]]:
    marks = [0, *cuts.tolist(), length]
    return list(itertools.pairwise(marks))


def pitch_track(samples: Floats, speech: Floats) -> PitchTrack:
    """The pitch of a recording.

    Args:
        samples: [n] 16 kHz mono.
        speech: [frames] probability of speech of each frame (:class:`~pipelines.analyzers.frames.Frames`).
    """
    half = signal.upfirdn(_FILTER, samples, up=1, down=2)[len(_FILTER) // 4 :]
    half = signal.sosfilt(_NO_HUM, half)
    reach = _WIDTH + _LONGEST + 1
    # The middle of what is compared, at the lag of a middle voice, lies on the frame's centre.
    before = (_WIDTH + _RATE // 120) // 2
    padded = np.concatenate([np.zeros(before, np.float32), half, np.zeros(reach, np.float32)]).astype(np.float32)
    view = np.lib.stride_tricks.sliding_window_view(padded, reach)[:: HOP // 2]
    count = min(len(speech), len(view))
    spoken = np.flatnonzero(speech[:count] > 0.5)
    f0, aperiodicity = np.zeros(len(speech), np.float32), np.ones(len(speech), np.float32)
    if not len(spoken):
        return PitchTrack(f0, aperiodicity)
    parts = [_differences(view[spoken[start : start + _BLOCK]]) for start in range(0, len(spoken), _BLOCK)]
    difference, normal, energy = (np.concatenate(columns) for columns in zip(*parts))
    audible = energy > np.quantile(energy, 0.9) * 10 ** (-_QUIET / 10)
    found, rest = _choose(difference, normal, _SHORTEST, _LONGEST)
    voiced = audible & (rest < _VOICED)
    if voiced.any():
        low, high = np.quantile(found[voiced], [0.25, 0.75])
        shortest = max(_SHORTEST, int(_RATE / (high * _ROOM[1])))
        longest = min(_LONGEST, int(np.ceil(_RATE / (low * _ROOM[0]))))
        found, rest = _choose(difference, normal, shortest, longest)
        voiced = audible & (rest < _VOICED)
    f0[spoken] = np.where(voiced, found, 0.0)
    aperiodicity[spoken] = rest
    return PitchTrack(f0, aperiodicity)


def _differences(frames: Floats) -> tuple[Floats, Floats, Floats]:
    """Difference function and its normalised form [k, longest lag + 2], and energy [k], of frames [k, samples]."""
    spectrum = fft.rfft(frames, _SIZE, axis=1)
    head = fft.rfft(frames[:, :_WIDTH], _SIZE, axis=1)
    lags = _LONGEST + 2
    products = fft.irfft(spectrum * np.conj(head), _SIZE, axis=1)[:, :lags]
    sums = np.cumsum(np.square(frames, dtype=np.float64), axis=1)
    energies = np.empty((len(frames), lags), np.float32)  # the sums need more digits than their differences
    energies[:, 0] = sums[:, _WIDTH - 1]
    energies[:, 1:] = sums[:, _WIDTH : _WIDTH + lags - 1] - sums[:, : lags - 1]
    difference = np.maximum(energies[:, :1] + energies - 2 * products, np.float32(0))
    running = np.cumsum(difference[:, 1:], axis=1)
    normal = np.ones_like(difference)
    normal[:, 1:] = difference[:, 1:] * np.arange(1, lags, dtype=np.float32) / np.maximum(running, np.float32(1e-12))
    return difference, normal, sums[:, -1].astype(np.float32)


def _choose(difference: Floats, normal: Floats, shortest: int, longest: int) -> tuple[Floats, Floats]:
    """Frequency (hertz) and aperiodicity of each frame, among the lags from ``shortest`` to ``longest``."""
    inner = normal[:, shortest : longest + 1]
    limit = np.maximum(_THRESHOLD, inner.min(axis=1, keepdims=True) + _NEARLY)
    dips = (inner < limit) & (inner <= normal[:, shortest + 1 : longest + 2])
    best = np.where(dips.any(axis=1), np.argmax(dips, axis=1), np.argmin(inner, axis=1)) + shortest
    rows = np.arange(len(normal))
    shift = parabola(difference[rows, best - 1], difference[rows, best], difference[rows, best + 1])
    return (_RATE / (best + shift)).astype(np.float32), np.clip(normal[rows, best], 0, 1)


def parabola(left: NDArray[Any], middle: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    """Where the vertex of a parabola through three neighbours lies, from the middle one, -0.5 to 0.5."""
    bend = left - 2 * middle + right
    safe = np.where(np.abs(bend) < 1e-20, 1.0, bend)
    return np.asarray(np.where(np.abs(bend) < 1e-20, 0.0, np.clip(0.5 * (left - right) / safe, -0.5, 0.5)))
