"""What pictures of recordings and videos share: a headline, a scale of time, and a bar for each stretch of the time.

A chart is UINT8 [height, LEFT + WIDTH + RIGHT, 3] RGB and white; a moment has the same column in all its parts.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan_client.codes import Label
from deepscan_client.verdict import Verdict

Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

WIDTH = 1_200
"""Columns of the whole time."""
LEFT, RIGHT, TOP, CURVE, BOTTOM = 64, 16, 44, 96, 26
"""Pixels beside, above and below the parts, and the height of the timeline."""
INK, PAPER, FAINT = (40, 40, 40), (255, 255, 255), (190, 190, 190)
BLUE, RED = (56, 112, 200), (218, 54, 51)
COLOURS: dict[Label, Colour] = {Label.REAL: (46, 160, 67), Label.FAKE: RED, Label.INCONCLUSIVE: (110, 110, 110)}
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_STEPS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200)


def blank(height: int) -> Pixels:
    """White, with room for the headline above, and for the moments below, ``height`` rows."""
    return np.full((TOP + height + BOTTOM, LEFT + WIDTH + RIGHT, 3), 255, np.uint8)


def headline(picture: Pixels, verdict: Verdict) -> None:
    """Label, probability and reasons."""
    words = str(verdict.label).upper()
    if verdict.fake_probability is not None:
        words += f"  {verdict.fake_probability:.2f}"
    cv2.putText(picture, words, (LEFT, 30), _FONT, 0.8, COLOURS[verdict.label], 2, cv2.LINE_AA)
    write(picture, ", ".join(map(str, verdict.reasons))[:110], (LEFT + 300, 28), 0.5)


def bars(
    picture: Pixels, top: int, stretches: Iterable[tuple[float, float, float]], threshold: float, seconds: float
) -> None:
    """The probability of each stretch as a bar: red from the threshold on, blue below."""
    bottom = top + CURVE
    for start, end, probability in stretches:
        left, right = column(start, seconds), max(column(start, seconds) + 1, column(end, seconds))
        y = bottom - max(1, round(CURVE * probability))
        colour = RED if probability >= threshold else BLUE
        cv2.rectangle(picture, (left, y), (right - 1, bottom), colour, cv2.FILLED)
    y = bottom - round(CURVE * threshold)
    for x in range(LEFT, LEFT + WIDTH, 12):
        cv2.line(picture, (x, y), (x + 5, y), INK, 1)
    cv2.rectangle(picture, (LEFT, top), (LEFT + WIDTH - 1, bottom), FAINT, 1)
    write(picture, "fake", (14, top + 10), 0.4)
    write(picture, f"{threshold:.2f}", (14, min(bottom - 12, max(top + 24, y + 4))), 0.4)
    write(picture, "real", (14, bottom), 0.4)


def moments(picture: Pixels, y: int, seconds: float) -> None:
    """The scale of time below the row ``y``."""
    step = next((step for step in _STEPS if seconds / step <= 12), _STEPS[-1])
    for index in range(int(seconds / step) + 1):
        moment = index * step
        x = min(column(moment, seconds), LEFT + WIDTH - 1)
        cv2.line(picture, (x, y), (x, y + 4), INK, 1)
        words = f"{int(moment) // 60}:{int(moment) % 60:02d}" if seconds >= 120 else f"{moment:g} s"
        write(picture, words, (x - 10, y + 18), 0.4)


def column(moment: float, seconds: float) -> int:
    """The column of a moment in a file of so many seconds."""
    return LEFT + round(min(moment / seconds, 1.0) * WIDTH)


def write(picture: Pixels, words: str, place: tuple[int, int], size: float, colour: Colour = INK) -> None:
    """Small words; ``place`` is where their base line begins."""
    cv2.putText(picture, words, place, _FONT, size, colour, 1, cv2.LINE_AA)
