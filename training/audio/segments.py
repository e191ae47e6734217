"""What a real clip and its copy share: the piece that is used, its band, its level and its channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import firwin2, oaconvolve

from pipelines.audio.windows import high_pass
from training.audio.sounds import RATE, Sound, band_edge, fitted, low_pass, power_density, rms

LONGEST = 5 * RATE
CONTEXT = 2_400
"""Samples either side that a vocoder gets beside the piece (0.15 s), so that the copy has no edge effects."""
FRAME = 320
UNDER_PEAK_DB = 40.0
MARGIN = 800
CHANNEL_DB = 6.0
LOUDNESS_DB = 15.0
STEP = 160
"""Samples of a step in which loudness is compared (10 ms)."""
SMOOTH = 2.0
"""Standard deviation, in steps, of the smoothing of energies and gains."""


@dataclass(frozen=True)
class Segment:
    """A piece of a real clip with its surroundings.

    Attributes:
        samples: float32 [n], the piece as training sees it.
        padded: float32 [CONTEXT + n + CONTEXT]; mirrored where the clip ends.
        edge: highest frequency that the clip carries, Hz.
    """

    samples: Sound
    padded: Sound
    edge: float


def speech_span(samples: Sound) -> tuple[int, int]:
    """First and one past the last sample within 40 dB of the loud frames (95th percentile), with 50 ms to spare."""
    count = len(samples) // FRAME
    if count < 3:
        return 0, len(samples)
    frames = samples[: count * FRAME].astype(np.float64).reshape(count, FRAME)
    levels = 20 * np.log10(np.sqrt(np.mean((frames - frames.mean(axis=1, keepdims=True)) ** 2, axis=1)) + 1e-9)
    loud = np.flatnonzero(levels > np.percentile(levels, 95) - UNDER_PEAK_DB)
    return max(0, int(loud[0]) * FRAME - MARGIN), min(len(samples), (int(loud[-1]) + 1) * FRAME + MARGIN)


def cut_segment(samples: Sound, longest: int = LONGEST) -> Segment:
    """Remove the offset, cut to the spoken part and to ``longest``, and keep what the clip's band carries."""
    edge = band_edge(samples)
    clean = low_pass(samples - np.float32(samples.mean(dtype=np.float64)), edge)
    start, stop = speech_span(clean)
    stop = min(stop, start + longest)
    around = np.pad(clean, CONTEXT, mode="reflect" if len(clean) > CONTEXT else "symmetric")
    return Segment(clean[start:stop].copy(), around[start : stop + 2 * CONTEXT].copy(), edge)


def match_channel(copy: Sound, real: Sound, limit_db: float = CHANNEL_DB) -> Sound:
    """Bring the copy's long-term spectrum to the real one's, smoothly and by at most ``limit_db``; no delay.

    Vocoders of a few minutes' training colour the sound. Such colour is not what betrays good ones, and a network would
    learn it first.
    """
    size = 512
    if len(copy) < 2 * size:
        return copy
    hertz, wanted = power_density(real, size)
    _, found = power_density(copy, size)
    floor = float(wanted.max()) * 1e-7
    gain = 10 * np.log10((wanted + floor) / (found + floor))
    gain = np.clip(gaussian_filter1d(gain, 8.0), -limit_db, limit_db)
    taps = firwin2(257, hertz, 10 ** (gain / 20), fs=RATE)
    return np.asarray(oaconvolve(copy, taps, mode="full")[128 : 128 + len(copy)], dtype=np.float32)


def match_level(copy: Sound, real: Sound) -> Sound:
    """The real one's root mean square and offset."""
    centred = copy - np.float32(copy.mean(dtype=np.float64))
    wanted = real - np.float32(real.mean(dtype=np.float64))
    return np.asarray(centred * np.float32(rms(wanted) / rms(centred)), dtype=np.float32)


def _energies(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smoothed mean energy of each step, never under what rounding to 16 bits leaves: float64 [steps]."""
    whole = np.pad(samples, (0, -len(samples) % STEP), mode="edge")
    energy = np.square(whole).reshape(-1, STEP).mean(axis=1)
    return np.asarray(gaussian_filter1d(energy, SMOOTH, mode="nearest") + (1 / 32768) ** 2 / 12)


def match_loudness(copy: Sound, real: Sound, limit_db: float = LOUDNESS_DB) -> Sound:
    """Give a copy the real clip's loudness from moment to moment, and its rumble.

    Weak vocoders hiss in pauses or fall silent there, which trivial numbers find and good vocoders do not do. Gains
    follow smoothed energies in steps of 10 ms, by at most ``limit_db``; what the preprocessing takes away as rumble
    (under about 35 Hz) is the real clip's own, so that the offset is the same too.

    Args:
        copy: float32 [n]; real: float32 [n], the piece that it copies.

    Returns:
        float32 [n], rounded to 16 bits as every clip of the cache is.
    """
    if len(copy) != len(real) or len(copy) < 2 * STEP:
        return copy
    voice, wanted = high_pass(copy, 0, len(copy)), high_pass(real, 0, len(real))
    gain = 10 * np.log10(_energies(wanted) / _energies(voice))
    gain = gaussian_filter1d(np.clip(gain, -limit_db, limit_db), SMOOTH, mode="nearest")
    places = (np.arange(len(gain)) + 0.5) * STEP
    made = voice * 10 ** (np.interp(np.arange(len(copy)), places, gain) / 20) + (real - wanted)
    return np.asarray(np.clip(np.round(made * 32768), -32768, 32767) / 32768, dtype=np.float32)


def as_partner(made: Sound, segment: Segment) -> Sound:
    """A vocoder's answer to ``segment.padded`` as the partner of ``segment.samples``: cut, channel, band and level.

    Returns:
        float32 [n], in time with the real piece.
    """
    length = len(segment.samples)
    piece = fitted(made, length + 2 * CONTEXT)[CONTEXT : CONTEXT + length]
    piece = match_level(low_pass(match_channel(piece, segment.samples), segment.edge), segment.samples)
    # Never clipped, which would be a cue; the level is evened out again before any network.
    return piece * np.float32(min(1.0, 0.98 / max(float(np.abs(piece).max(initial=0.0)), 1e-9)))
