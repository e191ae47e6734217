"""From a recording to the windows that every voice network takes; the one preprocessing of training and serving.

A recording is cut where speech is: a window begins at speech (with a lead of 0.1 s), the next one follows by the hop
while speech goes on, and a pause of more than two seconds begins a new region. The last window of a region ends with
its speech, so that it looks back instead of being padded. Each window is then made comparable:

- DC and rumble are taken away by subtracting a triangular moving average of 33 ms: a linear-phase high-pass of about
  35 Hz with a finite response, so that a window cut from a stream equals one cut from the whole;
- the level is set by its speech: the root mean square of its speech cells becomes ``LEVEL``;
- a fixed, quiet noise (``DITHER``) covers exact zeros and the steps of 16-bit samples, which tell how a file was
  written and not who spoke.

Units: samples of 16 kHz mono, cells of 512 samples (32 ms).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
SAMPLES = 64_600
"""Samples of a window: 4.04 s, the field's convention."""
CELL = 512
CELLS = -(-SAMPLES // CELL)
HOP = 94
"""Cells from a window to the next one: 3.0 s."""
LEAD = 3
"""Cells that are kept before and after speech."""
GAP = 62
"""Pause in cells after which windows begin anew."""
LEAST_SPEECH = 8
"""Speech cells below which a window is not worth scoring (0.26 s)."""
SPEECH = 0.5
"""Probability of speech from which a cell counts as speech."""
LEVEL = 0.06
"""Root mean square of the speech of a window; peaks may pass 1."""
LARGEST_GAIN = 1000.0
DITHER = 1e-5
BOX = 267
"""Samples of each of the two moving averages of the high-pass."""
REACH = BOX - 1
"""Samples that the high-pass needs on each side."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Windows in order of time.

    Attributes:
        audio: float32 [n, SAMPLES], zero where the mask is 0.
        mask: float32 [n, CELLS], 1 for a cell that holds recording.
        start: int64 [n], first cell of each, counted from the beginning of the recording.
        speech: float32 [n, CELLS], 1 for a cell that holds speech.
    """

    audio: Floats
    mask: Floats
    start: NDArray[np.int64]
    speech: Floats

    def __len__(self) -> int:
        return len(self.audio)

    @staticmethod
    def join(parts: list[Windows]) -> Windows:
        """All windows of the parts; none where there is no part."""
        return Windows(
            np.concatenate([np.zeros((0, SAMPLES), np.float32), *(part.audio for part in parts)]),
            np.concatenate([np.zeros((0, CELLS), np.float32), *(part.mask for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.start for part in parts)]),
            np.concatenate([np.zeros((0, CELLS), np.float32), *(part.speech for part in parts)]),
        )

    @property
    def weight(self) -> Floats:
        """Seconds of speech of each window, [n]: how much it counts in a mean over windows."""
        return np.asarray(self.speech.sum(axis=1) * (CELL / RATE), dtype=np.float32)


class Windower:
    """Cuts windows from a stream; what it keeps does not grow with the recording.

    ``feed`` any blocks with the speech probability of the cells that they complete, then ``finish``. The windows are
    the same whatever the blocks.
    """

    def __init__(self) -> None:
        self._raw = np.zeros(0, np.float32)
        self._raw_at = 0  # sample of the recording that _raw begins with
        self._speech = np.zeros(0, np.bool_)
        self._speech_at = 0  # cell that _speech begins with
        self._covered = 0  # cells before this one are in a window, or hold nothing
        self._region: int | None = None  # first cell of the region that goes on at _covered
        self._previous = 0  # first cell of the last window, before it was moved back
        self._end_of_last = 0

    def feed(self, block: Floats, speech: Floats) -> Windows:
        """Windows that are complete after this block.

        Args:
            block: float32 [n], finite.
            speech: float32 [cells], probability for the next cells; it may run behind the samples.
        """
        self._raw = np.concatenate([self._raw, np.asarray(block, np.float32)])
        self._speech = np.concatenate([self._speech, np.asarray(speech) >= SPEECH])
        return self._take(finished=False)

    def finish(self, speech: Floats | None = None) -> Windows:
        """The last windows. Cells of which nobody said whether they hold speech count as none."""
        if speech is not None:
            self._speech = np.concatenate([self._speech, np.asarray(speech) >= SPEECH])
        return self._take(finished=True)

    def _take(self, finished: bool) -> Windows:
        parts = []
        whole = (self._raw_at + len(self._raw)) // CELL
        known = min(whole, self._speech_at + len(self._speech))
        # The high-pass looks REACH samples ahead, so that a window waits for one more cell.
        ready = known if finished else known - 1 - (SAMPLES % CELL > 0)
        while True:
            ahead = np.flatnonzero(self._speech[self._covered - self._speech_at : known - self._speech_at])
            if not len(ahead):
                self._covered = max(self._covered, known - LEAD)
                break
            first = self._covered + int(ahead[0])
            start = self._previous + HOP
            if self._region is None or first - self._end_of_last > GAP or first - start >= HOP:
                start = max(self._covered, first - LEAD)
                self._region = None
            if not finished and ready < start + CELLS:
                break
            parts.extend(self._window(start, min(start + CELLS, known)))
        self._forget()
        return Windows.join(parts)

    def _window(self, start: int, end: int) -> list[Windows]:
        """The window of the cells [start, end), cut after its speech, and moved back where that leaves room."""
        spoken = self._speech[start - self._speech_at : end - self._speech_at]
        last = start + int(np.flatnonzero(spoken)[-1])
        stop = min(end, last + 1 + LEAD)
        fresh = int(self._speech[self._covered - self._speech_at : stop - self._speech_at].sum())
        self._covered, self._end_of_last = stop, stop
        region = self._region
        if fresh < LEAST_SPEECH:
            return []
        self._previous = start
        if region is None:
            self._region = region = start
        start = max(region, min(start, stop - CELLS))
        return [self._cut(start, stop)]

    def _cut(self, start: int, stop: int) -> Windows:
        from_sample = start * CELL
        to_sample = min(stop * CELL, from_sample + SAMPLES)
        spoken = self._speech[start - self._speech_at : stop - self._speech_at]
        before, after = max(0, from_sample - REACH), to_sample + REACH
        raw = self._raw[before - self._raw_at : after - self._raw_at]
        audio = prepare(raw, from_sample - before, to_sample - from_sample, spoken)
        mask, speech = np.zeros((1, CELLS), np.float32), np.zeros((1, CELLS), np.float32)
        mask[0, : stop - start] = 1
        speech[0, : stop - start] = spoken
        return Windows(audio[None], mask, np.array([start], np.int64), speech)

    def _forget(self) -> None:
        """Drop what no window can reach any more."""
        keep = max(self._speech_at, self._covered - 2 * CELLS)
        self._speech = self._speech[keep - self._speech_at :]
        self._speech_at = keep
        sample = max(self._raw_at, keep * CELL - REACH)
        self._raw = self._raw[sample - self._raw_at :]
        self._raw_at = sample


def windows_of(samples: Floats, speech: Floats) -> Windows:
    """All windows of a whole recording; the same as through a stream.

    Args:
        samples: float32 [n], 16 kHz; speech: float32 [cells], probability of speech.
    """
    windower = Windower()
    return Windows.join([windower.feed(samples, speech), windower.finish()])


def prepare(raw: Floats, offset: int, length: int, speech: NDArray[np.bool_]) -> Floats:
    """One window from raw samples: high-pass, level, dither, padding.

    Args:
        raw: float32, the samples with up to ``REACH`` more on each side, where the recording has them.
        offset: place of the first sample of the window; length: its samples, at most ``SAMPLES``.
        speech: bool [cells], which cells of the window hold speech; all count where none does.

    Returns:
        float32 [SAMPLES].
    """
    passed = high_pass(raw, offset, length)
    power = np.add.reduceat(passed * passed, np.arange(0, length, CELL))
    sizes = np.diff(np.append(np.arange(0, length, CELL), length))
    spoken = speech[: len(power)]
    chosen = spoken if spoken.any() else np.ones(len(power), np.bool_)
    level = float(np.sqrt(power[: len(chosen)][chosen].sum() / max(1, sizes[: len(chosen)][chosen].sum())))
    gain = min(LEVEL / max(level, 1e-12), LARGEST_GAIN)
    result = np.zeros(SAMPLES, np.float32)
    result[:length] = passed * gain + DITHER * _noise()[:length]
    return result


def high_pass(raw: Floats, offset: int, length: int) -> NDArray[np.float64]:
    """``length`` samples from ``offset`` on, less a triangular moving average of 2 * BOX - 1 samples.

    Beyond the ends of ``raw`` its first and last sample go on, so that a constant vanishes at the edges too.
    """
    left = max(0, REACH - offset)
    right = max(0, offset + length + REACH - len(raw))
    wide = np.pad(raw.astype(np.float64), (left, right), mode="edge")[offset + left - REACH :][: length + 2 * REACH]
    once = _moving_mean(wide)
    return np.asarray(wide[REACH : REACH + length] - _moving_mean(once))


def _moving_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray((total[BOX:] - total[:-BOX]) / BOX)


def _noise() -> Floats:
    """The same standard normal noise for every window; made once."""
    global _NOISE
    if _NOISE is None:
        _NOISE = np.random.Generator(np.random.PCG64(20_260_101)).standard_normal(SAMPLES, np.float32)
    return _NOISE


_NOISE: Floats | None = None
