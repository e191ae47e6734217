"""Pauses between words and the breaths that are taken in them, from speech activity and band energies.

A pause is a stretch without speech (the speech track below one half) of at least 0.1 s between two stretches of speech;
each of its ends is moved to the steepest rise or fall of the level nearby, because the speech track has cells of 32 ms
and a memory. A breath is a stretch of 0.12 to 1.2 s outside speech whose level stands 6 dB or more above the floor of
the silence around it, and well below the speech, whose spectrum above 500 Hz is noise and no tone, and which has no
more below 500 Hz, where a voice has most, than above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.analyzers.frames import HOP, RATE, Floats, Frames, runs

SECONDS = HOP / RATE
_SHORTEST_PAUSE = 0.1
_SEARCH = (16, 10)
"""Frames before and after the speech track's own edge in which the level's edge is looked for."""
_EDGE = 4
"""Frames on each side of an edge whose mean levels are compared."""
_HANGOVER = 50
_QUIET_SHARE = 0.3
"""Up to this share of the way from the silence's floor to the speech's level a frame is quiet."""
_STEP_DB = 6.0
"""Smallest step of the level that is an edge; below it the speech track's own stands."""
_ABOVE_FLOOR_DB = 6.0
_BELOW_SPEECH_DB = 8.0
_BREATH = (0.12, 1.2)
_BRIDGE = 3
"""Frames of a gap inside a breath."""
_FLAT = 0.2
"""Smallest spectral flatness of breath noise; voices lie below 0.1."""
_TILT_DB = 3.0
"""The band of the voice (80 to 500 Hz) may exceed the upper bands of a breath by this much."""


@dataclass(frozen=True)
class Stretches:
    """Stretches of a recording in seconds."""

    pauses: NDArray[np.float64]
    """[pauses, 2] start and end."""
    breaths: NDArray[np.float64]
    """[breaths, 2] start and end."""
    contrast_db: float
    """Mean level of speech over the level of the silence; small where noise fills the pauses."""


def pauses_and_breaths(frames: Frames) -> Stretches:
    """The pauses and breaths of a recording; none where there is no speech."""
    spoken = frames.speech > 0.5
    if not spoken.any():
        return Stretches(np.zeros((0, 2)), np.zeros((0, 2)), 0.0)
    loud = float(np.quantile(frames.levels[spoken], 0.75))
    silent = frames.levels[~spoken]
    floor = float(np.quantile(silent if len(silent) >= 10 else frames.levels, 0.1))
    gaps = runs(~spoken)
    quiet = frames.levels < floor + _QUIET_SHARE * max(0.0, loud - floor)
    moved = [(_edge(frames.levels, _back(quiet, a), -1), _edge(frames.levels, b, 1)) for a, b in gaps]
    count = len(spoken)
    pauses = [
        (start * SECONDS, end * SECONDS)
        for (first, last), (start, end) in zip(gaps, moved)
        if first > 0 and last < count and (end - start) * SECONDS >= _SHORTEST_PAUSE
    ]
    breaths = [
        ((start + first) * SECONDS, (start + last) * SECONDS)
        for start, end in moved
        for first, last in _breaths(frames, start, end, floor, loud)
    ]
    return Stretches(
        np.array(pauses, dtype=np.float64).reshape(-1, 2),
        np.array(breaths, dtype=np.float64).reshape(-1, 2),
        max(0.0, loud - floor),
    )


def _back(quiet: NDArray[np.bool_], place: int) -> int:
    """Start of the quiet stretch that ends at ``place``: after a sudden end the speech track stays up for a while."""
    low = max(0, place - _HANGOVER)
    sounding = np.flatnonzero(~quiet[low:place])
    return int(low + sounding[-1] + 1) if len(sounding) else int(place)


def _edge(levels: Floats, place: int, sign: int) -> int:
    """The frame near ``place`` where the level falls (sign -1) or rises (1) most; ``place`` where it hardly moves."""
    if place in (0, len(levels)):
        return int(place)
    # The speech track is late at both ends of a word: it looks back.
    low = max(_EDGE, place - _SEARCH[0])
    high = min(len(levels) - _EDGE, place + _SEARCH[1])
    if high <= low:
        return int(place)
    sums = np.concatenate([[0.0], np.cumsum(levels, dtype=np.float64)])
    at = np.arange(low, high)
    steps = sign * (sums[at + _EDGE] - 2 * sums[at] + sums[at - _EDGE]) / _EDGE
    best = int(np.argmax(steps))
    return int(at[best]) if steps[best] >= _STEP_DB else int(place)


def _breaths(frames: Frames, start: int, end: int, floor: float, loud: float) -> list[tuple[int, int]]:
    """Breaths among the frames of one stretch without speech, as frames from its start."""
    levels = frames.levels[start:end]
    if not len(levels):
        return []
    local = max(floor, float(np.quantile(levels, 0.1)))
    tilt = frames.bands[start:end, 0] - np.maximum(frames.bands[start:end, 1], frames.bands[start:end, 2])
    noise = (
        (levels >= local + _ABOVE_FLOOR_DB)
        & (levels <= loud - _BELOW_SPEECH_DB)
        & (frames.flatness[start:end] >= _FLAT)
        & (tilt <= _TILT_DB)
    )
    for first, last in runs(~noise):
        if first > 0 and last < len(noise) and last - first <= _BRIDGE:
            noise[first:last] = True
    return [
        (int(first), int(last)) for first, last in runs(noise) if _BREATH[0] <= (last - first) * SECONDS <= _BREATH[1]
    ]
