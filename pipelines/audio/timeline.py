"""Where in a recording: local scores of overlapping windows on one grid, stretches for people, suspicious seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.audio.windows import CELL, CELLS, RATE, Floats, Windows

STEP = 4
"""Cells of a local value: 128 ms."""
STEP_S = STEP * CELL / RATE
SHORTEST_S = 0.5
"""Shortest stretch of a timeline."""
MOST_STRETCHES = 1_200
"""Of a timeline: longer recordings have longer stretches."""
BRIDGE_S = 0.4
"""Suspicious stretches that are no further apart are one."""
PAUSE_S = 2.0
"""The same where nobody speaks between them."""
LEAST_S = 0.4
"""Shorter suspicious stretches are left out."""


class LocalScores:
    """Local log-odds of each network along the recording, averaged where windows overlap.

    Attributes:
        step_s: seconds from one value to the next.
    """

    def __init__(self) -> None:
        self.step_s = STEP_S
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._counts: dict[str, NDArray[np.float64]] = {}

    def add(self, network: str, windows: Windows, frames: Floats) -> None:
        """Lay the frames of some windows on the grid.

        Args:
            network: whose they are.
            windows: in order of time.
            frames: float32 [n, t], evenly spaced over each window, t as the network likes.
        """
        steps = -(-(int(windows.start[-1]) + CELLS) // STEP)
        sums = _longer(self._sums.get(network, np.zeros(0)), steps)
        counts = _longer(self._counts.get(network, np.zeros(0)), steps)
        places = (np.arange(frames.shape[1]) + 0.5) * (CELLS / frames.shape[1])
        for start, speech, local in zip(windows.start.tolist(), windows.speech, frames):
            spoken = np.unique((np.flatnonzero(speech) + start) // STEP)
            centres = (spoken + 0.5) * STEP - start
            sums[spoken] += np.interp(centres, places, local)
            counts[spoken] += 1
        self._sums[network], self._counts[network] = sums, counts

    def values(self) -> dict[str, tuple[float | None, ...]]:
        """Network: its value of each step, None where nobody speaks."""
        return {
            name: tuple(
                round(total / count, 3) if count else None
                for total, count in zip(sums.tolist(), self._counts[name].tolist())
            )
            for name, sums in self._sums.items()
        }


def _longer(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    return np.concatenate([values, np.zeros(max(0, length - len(values)))])


def stretches(log_odds: NDArray[np.float64], step_s: float, end_s: float) -> list[tuple[float, float, float]]:
    """A timeline: start, end (seconds) and mean log-odds of stretches of equal length.

    Args:
        log_odds: [n], NaN where nobody speaks; such stretches are left out.
        step_s: seconds from one to the next.
        end_s: length of the recording.
    """
    together = max(round(SHORTEST_S / step_s), -(-len(log_odds) // MOST_STRETCHES))
    found = []
    for first in range(0, len(log_odds), together):
        part = log_odds[first : first + together]
        part = part[~np.isnan(part)]
        if len(part):
            start, end = first * step_s, min(end_s, (first + together) * step_s)
            found.append((start, end, float(part.mean())))
    return found


def suspicious(
    log_odds: NDArray[np.float64], step_s: float, end_s: float, limit: float
) -> tuple[tuple[float, float], ...]:
    """Start and end (seconds) of the stretches whose local log-odds reach a limit.

    Steps without speech belong to a stretch where they lie inside it.

    Args:
        log_odds: [n], NaN where nobody speaks.
        limit: log-odds.
    """
    with np.errstate(invalid="ignore"):
        above = np.flatnonzero(log_odds >= limit)
    if not len(above):
        return ()
    breaks = []
    for place, (left, right) in enumerate(zip(above[:-1].tolist(), above[1:].tolist())):
        silent = bool(np.isnan(log_odds[left + 1 : right]).all())
        if (right - left - 1) * step_s > (PAUSE_S if silent else BRIDGE_S):
            breaks.append(place + 1)
    parts = np.split(above, breaks)
    found = [(int(part[0]) * step_s, min(end_s, (int(part[-1]) + 1) * step_s)) for part in parts]
    return tuple((start, end) for start, end in found if end - start >= LEAST_S)


def as_array(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Values of :meth:`LocalScores.values` with NaN for None."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
