"""Partial fakes: one or two seconds of a real clip replaced by the copy of the same words.

The spliced pieces that partial-fake detection is measured with come from the vocoder of the fold that ``measures``
them (``own_istft``): models of that fold have not heard it, the final model may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.audio.cache import VoiceCache
from training.audio.folds import VoiceFold
from training.audio.segments import match_channel
from training.audio.sounds import RATE, Sound, rms

FADE = 240
"""Samples of the cross-fade at each end (15 ms), inside the spliced interval."""
LEVEL_DB = 6.0
TRIES = 40
FRAME = 320


class SpliceError(ValueError):
    """The clip is too short, or has no speech to replace."""


@dataclass(frozen=True)
class Spliced:
    """A real clip with a false piece.

    Attributes:
        samples: float32 [n]; start, stop: seconds of the replaced interval, fades included.
    """

    samples: Sound
    start: float
    stop: float

    def mask(self, cell: int) -> Sound:
        """Share of each cell of ``cell`` samples that is false: float32 [ceil(n / cell)]."""
        flags = np.zeros(-(-len(self.samples) // cell) * cell, np.float32)
        flags[round(self.start * RATE) : round(self.stop * RATE)] = 1
        return np.asarray(flags.reshape(-1, cell).mean(axis=1), dtype=np.float32)


def splice(real: Sound, copy: Sound, rng: np.random.Generator, shortest: float = 1.0, longest: float = 2.0) -> Spliced:
    """Replace a spoken interval of the real clip by its time-aligned copy, in level and channel like its surroundings.

    Args:
        real, copy: float32 [n] each, in time with each other.
        shortest, longest: seconds; never more than 60 % of the clip.

    Raises:
        SpliceError: the clip is under 1.2 times ``shortest``, or has no speech.
    """
    length = min(len(real), len(copy))
    if length < 1.2 * shortest * RATE:
        raise SpliceError(f"{length / RATE:.2f} s are too short for a piece of {shortest} s")
    size = round(min(rng.uniform(shortest, longest), 0.6 * length / RATE) * RATE)
    size = max(size, min(length, round(0.5 * shortest * RATE)))
    whole = rms(real[:length])
    best, start = -1.0, 0
    for place in rng.integers(0, length - size + 1, TRIES):
        piece = real[place : place + size]
        frames = piece[: len(piece) // FRAME * FRAME].reshape(-1, FRAME)
        spoken = float((np.sqrt((frames**2).mean(axis=1)) > 0.2 * whole).mean())
        if spoken > best + 0.15 or best < 0:
            best, start = spoken, int(place)
        if spoken > 0.6:
            start = int(place)
            break
    if best <= 0 or whole < 1e-4:
        raise SpliceError("no speech to replace")
    stop = start + size
    false = match_channel(copy[:length], real[:length])[start:stop]
    bound = 10 ** (LEVEL_DB / 20)
    false = false * np.float32(np.clip(rms(real[start:stop]) / rms(false), 1 / bound, bound))
    fade = np.ones(size, np.float32)
    ramp = np.linspace(0, 1, min(FADE, size // 4), dtype=np.float32)
    # No fade where the piece begins or ends with the clip.
    if start > 0:
        fade[: len(ramp)] = ramp
    if stop < length:
        fade[-len(ramp) :] = ramp[::-1]
    made = real[:length].copy()
    made[start:stop] = made[start:stop] * (1 - fade) + false * fade
    return Spliced(np.clip(made, -1, 1), start / RATE, stop / RATE)


def measuring_family(folds: Sequence[VoiceFold]) -> str:
    """The family of vocoders whose copies are spliced for measuring.

    Raises:
        ValueError: no fold is kept for that.
    """
    for fold in folds:
        if fold.measures:
            return fold.families[0]
    raise ValueError("no fold measures partial fakes")


def spliced_clips(cache: VoiceCache, family: str, count: int, seed: int = 0) -> list[tuple[int, Spliced]]:
    """Up to ``count`` partial fakes of one family, each with the position of its real clip.

    Clips that are too short are left out. One of each speaker before a second one of any.
    """
    rng = np.random.default_rng(seed)
    pairs = [pair for pair in cache.pairs if cache.rows[int(pair[0])].family == family]
    order = [pairs[int(place)] for place in rng.permutation(len(pairs))]
    turns: dict[str, int] = {}
    ranked = []
    for pair in order:
        speaker = cache.rows[int(pair[0])].speaker
        turns[speaker] = turns.get(speaker, 0) + 1
        ranked.append((turns[speaker], pair))
    ranked.sort(key=lambda each: each[0])
    found: list[tuple[int, Spliced]] = []
    for _, (fake, real) in ranked:
        if len(found) == count:
            break
        try:
            found.append((int(real), splice(cache.samples(int(real)), cache.samples(int(fake)), rng)))
        except SpliceError:
            continue
    return found
