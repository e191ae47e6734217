"""A recording for people: its spectrogram, and below it what was said of each stretch."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan_client.verdict import Verdict
from pipelines.chart import CURVE, INK, LEFT, PAPER, RED, TOP, WIDTH, bars, blank, column, headline, moments, write

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

RATE = 16_000
_FFT = 512
_HEIGHT = _FFT // 2
_RANGE_DB = 80.0
"""From the loudest to what is drawn black."""
_GAP = 10


def spectrogram(blocks: Iterable[Floats], seconds: float, columns: int = WIDTH) -> Floats:
    """Power in decibels below the loudest, float32 [256, columns], the highest frequency (8 kHz) first.

    Memory does not grow with the recording: of a long one every column shows the loudest of some of its moments.

    Args:
        blocks: float32 [n] each, 16 kHz mono.
        seconds: length of all blocks together.
        columns: width.
    """
    power = np.zeros((columns, _HEIGHT), np.float32)
    samples = max(seconds * RATE, float(_FFT))
    hop = int(np.clip(samples / columns / 2, 32, 8192))
    window = np.hanning(_FFT).astype(np.float32)
    rest, done = np.zeros(0, np.float32), 0
    for block in _padded(blocks):
        rest = np.concatenate([rest, block])
        count = (len(rest) - _FFT) // hop + 1 if len(rest) >= _FFT else 0
        if count <= 0:
            continue
        views = np.lib.stride_tricks.sliding_window_view(rest, _FFT)[: (count - 1) * hop + 1 : hop]
        found = np.abs(np.fft.rfft(views * window, axis=1)[:, 1:]).astype(np.float32) ** 2
        places = ((done + np.arange(count) * hop + _FFT / 2) * (columns / (samples + _FFT))).astype(np.int64)
        np.maximum.at(power, np.minimum(places, columns - 1), found)
        rest, done = rest[count * hop :], done + count * hop
    filled = np.maximum.accumulate(np.where(power.any(axis=1), np.arange(columns), 0))
    decibels = 10.0 * np.log10(power[filled].T[::-1] + 1e-10)
    return np.asarray(np.maximum(decibels - decibels.max(), -_RANGE_DB), dtype=np.float32)


def _padded(blocks: Iterable[Floats]) -> Iterable[Floats]:
    """Half a window of silence on each side, so that the first and last moments have columns too."""
    yield np.zeros(_FFT // 2, np.float32)
    yield from blocks
    yield np.zeros(_FFT // 2, np.float32)


def draw_recording(blocks: Iterable[Floats], verdict: Verdict) -> Pixels:
    """Spectrogram, timeline and label of a recording.

    Red is what reaches the threshold of the verdict, blue what does not; a red bar above the timeline marks the
    suspicious seconds. A stretch without a bar has no speech.

    Args:
        blocks: float32 [n] each, 16 kHz mono, the whole recording.
        verdict: of that recording.

    Returns:
        UINT8 [height, width, 3] RGB.
    """
    seconds = max(verdict.input.duration_s or 0.0, 1e-3)
    picture = blank(_HEIGHT + _GAP + CURVE)
    levels = np.rint((spectrogram(blocks, seconds) / _RANGE_DB + 1.0) * 255).astype(np.uint8)
    picture[TOP : TOP + _HEIGHT, LEFT : LEFT + WIDTH] = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, :, ::-1]
    headline(picture, verdict)
    _frequencies(picture)
    top = TOP + _HEIGHT + _GAP
    bars(picture, top, verdict.timeline, verdict.operating_point.threshold, seconds)
    _spans(picture, top, verdict, seconds)
    moments(picture, top + CURVE, seconds)
    return picture


def _frequencies(picture: Pixels) -> None:
    for kilohertz in (0, 2, 4, 6, 8):
        y = TOP + round(_HEIGHT * (1 - kilohertz / 8))
        cv2.line(picture, (LEFT - 5, y), (LEFT - 1, y), INK, 1)
        write(picture, f"{kilohertz} kHz", (6, y + 4), 0.4)


def _spans(picture: Pixels, top: int, verdict: Verdict, seconds: float) -> None:
    """A red bar above the timeline for each suspicious span, and its edges in the spectrogram."""
    for start, end in verdict.suspicious:
        left, right = column(start, seconds), max(column(start, seconds) + 2, column(end, seconds))
        cv2.rectangle(picture, (left, top - _GAP + 2), (right, top - 3), RED, cv2.FILLED)
        for x in (left, right):
            cv2.line(picture, (x, TOP), (x, top - _GAP), PAPER, 1)
