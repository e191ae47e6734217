"""A video for people: some of its frames, when each face is there, and below it what was said of each stretch."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from deepscan_client.codes import Label
from deepscan_client.verdict import Track, Verdict
from pipelines.chart import (
    COLOURS,
    CURVE,
    LEFT,
    PAPER,
    TOP,
    WIDTH,
    Pixels,
    bars,
    blank,
    column,
    headline,
    moments,
    write,
)
from pipelines.video.frame import Frame

THUMBNAILS = 10
"""Frames in a row, each over its part of the time."""
_LANE = 18
_LANES = 6
_GAP = 10
_THINNEST, _TALLEST = 40, 220


def track_label(track: Track, verdict: Verdict) -> Label:
    """The face's own side of the pictures' threshold, also where the sound decides; inconclusive where it does not
    count."""
    if track.reasons or track.fake_probability is None:
        return Label.INCONCLUSIVE
    point = verdict.part_points.get("pictures", verdict.operating_point)
    return Label.FAKE if track.fake_probability >= point.threshold else Label.REAL


def track_words(track: Track) -> str:
    """What stands beside a face: its number and its probability, or why it does not count."""
    if track.reasons:
        return f"face {track.id}: {track.reasons[0]}"
    return f"face {track.id}" + ("" if track.fake_probability is None else f": {track.fake_probability:.2f}")


def draw_video(frames: Iterable[Frame], verdict: Verdict) -> Pixels:
    """Frames, faces, timeline and label of a video.

    Red is what reaches the threshold of its part, blue and green what does not, grey what does not count. The timeline
    is that of the part that decides.

    Args:
        frames: some of them, upright, for example ``THUMBNAILS`` in the middles of equal parts of the time.
        verdict: of that video.

    Returns:
        UINT8 [height, width, 3] RGB.
    """
    seconds = max(verdict.input.duration_s or 0.0, 1e-3)
    side = WIDTH // THUMBNAILS
    row = int(np.clip(side * (verdict.input.height or 9) / (verdict.input.width or 16), _THINNEST, _TALLEST))
    tracks = verdict.tracks[:_LANES]
    lanes = _LANE * len(tracks)
    picture = blank(row + _GAP + lanes + CURVE)
    headline(picture, verdict)
    for frame in frames:
        left = LEFT + side * min(THUMBNAILS - 1, int(frame.time / seconds * THUMBNAILS))
        small = cv2.resize(frame.pixels, (side - 2, row), interpolation=cv2.INTER_AREA)
        picture[TOP : TOP + row, left : left + side - 2] = small
    for place, track in enumerate(tracks):
        _lane(picture, TOP + row + _GAP + place * _LANE, track, verdict, seconds)
    top = TOP + row + _GAP + lanes
    bars(picture, top, verdict.timeline, verdict.operating_point.threshold, seconds)
    moments(picture, top + CURVE, seconds)
    return picture


def _lane(picture: Pixels, top: int, track: Track, verdict: Verdict, seconds: float) -> None:
    left, right = column(track.start_s, seconds), column(track.end_s, seconds)
    right = max(right, left + 2)
    colour = COLOURS[track_label(track, verdict)]
    cv2.rectangle(picture, (left, top), (right - 1, top + _LANE - 6), colour, cv2.FILLED)
    words = track_words(track)
    inside = right - left > 9 * len(words)
    write(
        picture,
        words,
        (left + 6 if inside else min(right + 6, LEFT + WIDTH - 8 * len(words)), top + 10),
        0.4,
        PAPER if inside else colour,
    )
