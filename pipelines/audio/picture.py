"""A recording for people: its spectrogram, and below it what was said of each stretch."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan_client.codes import Label
from deepscan_client.verdict import Verdict

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

RATE = 16_000
WIDTH = 1_200
"""Columns of the spectrogram."""
_FFT = 512
_HEIGHT = _FFT // 2
_RANGE_DB = 80.0
"""From the loudest to what is drawn black."""
_LEFT, _RIGHT, _TOP, _GAP, _CURVE, _BOTTOM = 64, 16, 44, 10, 96, 26
_INK, _PAPER, _FAINT = (40, 40, 40), (255, 255, 255), (190, 190, 190)
_COLOURS = {Label.REAL: (46, 160, 67), Label.FAKE: (218, 54, 51), Label.INCONCLUSIVE: (110, 110, 110)}
_BLUE, _RED = (56, 112, 200), (218, 54, 51)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


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
    picture = np.full((_TOP + _HEIGHT + _GAP + _CURVE + _BOTTOM, _LEFT + WIDTH + _RIGHT, 3), 255, np.uint8)
    levels = np.rint((spectrogram(blocks, seconds) / _RANGE_DB + 1.0) * 255).astype(np.uint8)
    picture[_TOP : _TOP + _HEIGHT, _LEFT : _LEFT + WIDTH] = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, :, ::-1]
    _headline(picture, verdict)
    _frequencies(picture)
    _timeline(picture, verdict, seconds)
    _moments(picture, seconds)
    return picture


def _headline(picture: Pixels, verdict: Verdict) -> None:
    words = str(verdict.label).upper()
    if verdict.fake_probability is not None:
        words += f"  {verdict.fake_probability:.2f}"
    cv2.putText(picture, words, (_LEFT, 30), _FONT, 0.8, _COLOURS[verdict.label], 2, cv2.LINE_AA)
    why = ", ".join(map(str, verdict.reasons))
    _text(picture, why[:110], (_LEFT + 300, 28), 0.5)


def _frequencies(picture: Pixels) -> None:
    for kilohertz in (0, 2, 4, 6, 8):
        y = _TOP + round(_HEIGHT * (1 - kilohertz / 8))
        cv2.line(picture, (_LEFT - 5, y), (_LEFT - 1, y), _INK, 1)
        _text(picture, f"{kilohertz} kHz", (6, y + 4), 0.4)


def _timeline(picture: Pixels, verdict: Verdict, seconds: float) -> None:
    top, bottom = _TOP + _HEIGHT + _GAP, _TOP + _HEIGHT + _GAP + _CURVE
    threshold = verdict.operating_point.threshold
    for start, end, probability in verdict.timeline:
        left, right = _column(start, seconds), max(_column(start, seconds) + 1, _column(end, seconds))
        y = bottom - max(1, round(_CURVE * probability))
        colour = _RED if probability >= threshold else _BLUE
        cv2.rectangle(picture, (left, y), (right - 1, bottom), colour, cv2.FILLED)
    for start, end in verdict.suspicious:
        left, right = _column(start, seconds), max(_column(start, seconds) + 2, _column(end, seconds))
        cv2.rectangle(picture, (left, top - _GAP + 2), (right, top - 3), _RED, cv2.FILLED)
        for x in (left, right):
            cv2.line(picture, (x, _TOP), (x, top - _GAP), _PAPER, 1)
    y = bottom - round(_CURVE * threshold)
    for x in range(_LEFT, _LEFT + WIDTH, 12):
        cv2.line(picture, (x, y), (x + 5, y), _INK, 1)
    cv2.rectangle(picture, (_LEFT, top), (_LEFT + WIDTH - 1, bottom), _FAINT, 1)
    _text(picture, "fake", (14, top + 10), 0.4)
    _text(picture, f"{threshold:.2f}", (14, min(bottom - 12, max(top + 24, y + 4))), 0.4)
    _text(picture, "real", (14, bottom), 0.4)


def _moments(picture: Pixels, seconds: float) -> None:
    steps = (0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200)
    step = next((step for step in steps if seconds / step <= 12), 1200)
    y = _TOP + _HEIGHT + _GAP + _CURVE
    for index in range(int(seconds / step) + 1):
        moment = index * step
        x = min(_column(moment, seconds), _LEFT + WIDTH - 1)
        cv2.line(picture, (x, y), (x, y + 4), _INK, 1)
        words = f"{int(moment) // 60}:{int(moment) % 60:02d}" if seconds >= 120 else f"{moment:g} s"
        _text(picture, words, (x - 10, y + 18), 0.4)


def _column(moment: float, seconds: float) -> int:
    return _LEFT + round(min(moment / seconds, 1.0) * WIDTH)


def _text(picture: Pixels, words: str, place: tuple[int, int], size: float) -> None:
    cv2.putText(picture, words, place, _FONT, size, _INK, 1, cv2.LINE_AA)
