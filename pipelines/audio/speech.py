"""Where somebody speaks: the network ``voice_activity`` over a recording, block by block, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.audio.source import RATE, Samples
from pipelines.infer import Call, Infer, digest_hex

MODEL = "voice_activity"
CELL = 512
"""Samples of one value, 32 ms: the cells of the masks of the voice detectors are the same."""
CELL_SECONDS = CELL / RATE
CONTEXT = 64
"""Samples before a cell that the network sees with it."""
MOST_CELLS = 1024
"""Cells of one call, 33 s; the card's engine shapes allow no more."""
ON, OFF = 0.5, 0.35
"""Speech begins where the probability reaches ``ON`` and lasts until it stays under ``OFF``, as the package does."""
_STATE = (1, 2, 128)


class SpeechMeter:
    """Speech probability of a recording that comes in blocks of any length.

    Args:
        infer: runs the network.

    Attributes:
        record: sha256 of the weights that ran, empty before the first call.
    """

    def __init__(self, infer: Infer) -> None:
        self._infer = infer
        self._state: npt.NDArray[np.float32] = np.zeros(_STATE, dtype=np.float32)
        self._waiting: Samples = np.zeros(CONTEXT, dtype=np.float32)
        """The context, and behind it what does not fill a cell yet."""
        self.record = ""

    def feed(self, block: Samples) -> npt.NDArray[np.float32]:
        """Take the next samples, float32 [n]; the probabilities of the cells that are full now, float32 [cells]."""
        self._waiting = np.concatenate([self._waiting, np.asarray(block, dtype=np.float32)])
        return self._run((len(self._waiting) - CONTEXT) // CELL)

    def finish(self) -> npt.NDArray[np.float32]:
        """The last cell, filled up with zeros, float32 [1]; float32 [0] where the recording ended with a cell."""
        missing = -(len(self._waiting) - CONTEXT) % CELL
        if not missing:
            return np.zeros(0, dtype=np.float32)
        return self.feed(np.zeros(missing, dtype=np.float32))

    def _run(self, cells: int) -> npt.NDArray[np.float32]:
        found = [np.zeros(0, dtype=np.float32)]
        while cells:
            count = min(cells, MOST_CELLS)
            audio = self._waiting[None, : CONTEXT + count * CELL]
            inputs = {"AUDIO": np.ascontiguousarray(audio), "STATE": self._state}
            (answer,) = self._infer.run([Call(MODEL, inputs, ("SPEECH", "STATE_AFTER", "RECORD"))])
            found.append(np.asarray(answer["SPEECH"][0], dtype=np.float32))
            self._state = np.asarray(answer["STATE_AFTER"], dtype=np.float32)
            self.record = digest_hex(answer["RECORD"][0])
            self._waiting = self._waiting[count * CELL :]
            cells -= count
        self._waiting = self._waiting.copy()  # so that the block can be freed
        return np.concatenate(found)


def speech_of(samples: Samples, infer: Infer) -> npt.NDArray[np.float32]:
    """Speech probability of every cell of a whole clip; the last cell may be a part of one."""
    meter = SpeechMeter(infer)
    return np.concatenate([meter.feed(samples), meter.finish()])


def spans(
    speech: npt.NDArray[np.float32], on: float = ON, off: float = OFF, shortest: float = 0.1, gap: float = 0.1
) -> list[tuple[float, float]]:
    """Seconds from and to of each stretch of speech, in order.

    Args:
        speech: probability of each cell, [cells].
        on: begins a stretch.
        off: a stretch ends where the probability falls below this.
        shortest: seconds; shorter stretches are left out.
        gap: seconds; shorter pauses are closed.
    """
    found: list[list[int]] = []
    start = -1
    for place, value in enumerate(speech):
        if start < 0 and value >= on:
            start = place
        elif start >= 0 and value < off:
            found.append([start, place])
            start = -1
    if start >= 0:
        found.append([start, len(speech)])
    joined: list[list[int]] = []
    for span in found:
        if joined and (span[0] - joined[-1][1]) * CELL_SECONDS < gap:
            joined[-1][1] = span[1]
        else:
            joined.append(span)
    return [(a * CELL_SECONDS, b * CELL_SECONDS) for a, b in joined if (b - a) * CELL_SECONDS >= shortest]


def spoken_seconds(found: Sequence[tuple[float, float]]) -> float:
    """Seconds of all stretches together."""
    return sum(end - start for start, end in found)
