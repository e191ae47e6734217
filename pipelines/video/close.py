"""A closer look at the main face of a video whose frames were sampled too thinly to follow it.

Blinks, pulse and lips are read at the native rate between detections that lie close together
(:mod:`pipelines.video.steady`). In a video of more than two minutes, or where few frames were asked for, they do not.
So faces are looked for once more, five times a second, in the one stretch of at most twenty seconds that is then read:
a hundred frames at most, however long the file is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipelines.analyzers.biometrics import MOST_S
from pipelines.analyzers.series import longest_stretch
from pipelines.video.evidence import Floats, TrackEvidence
from pipelines.video.sampling import DEFAULT_FPS

THIN_S = 2.0 / DEFAULT_FPS
"""Seconds between sampled frames above which a face is not followed from one to the next: half a second without it is a
gap, and times are rounded to frames."""
FEW_ASKED = (
    "the frames that were asked for lie too far apart to follow a face: leave num_frames and fps out, or ask for "
    "analyzers"
)
TOO_SHORT = "the main face is not seen for a second without a gap"
"""Why nothing was measured of the main face."""
_SAME_S = 0.2
"""Two detections of one face lie at most so far apart in time,"""
_SAME_PLACE = 0.5
"""and so many sides of its box in the picture."""


def stretch_of(track: TrackEvidence, step_s: float, seconds: float) -> tuple[float, float]:
    """Seconds from and to of a closer look: from the start of the longest time in which each sampled frame holds the
    face, or around it where it is shorter than the look.

    Args:
        step_s: between two sampled frames; seconds: length of the video.
    """
    part = longest_stretch(track.times, 1.5 * step_s)
    begin, end = float(track.times[part.start]), float(track.times[part.stop - 1])
    begin = max(0.0, begin - max(0.0, MOST_S - (end - begin)) / 2)
    return begin, min(begin + MOST_S, seconds)


def same_face(found: tuple[TrackEvidence, ...], known: TrackEvidence) -> TrackEvidence | None:
    """The face of a thinly sampled track among those of a closer look: the one that lies where it was known to be, most
    often. None where nobody does."""

    def times_met(track: TrackEvidence) -> int:
        near = np.abs(track.times[:, None] - known.times).argmin(axis=0)
        apart = np.linalg.norm(_centres(track)[near] - _centres(known), axis=1)
        together = np.abs(track.times[near] - known.times) <= _SAME_S
        return int((together & (apart <= _SAME_PLACE * known.face_px)).sum())

    best = max(found, key=lambda track: (times_met(track), len(track) * track.face_px), default=None)
    return None if best is None or not times_met(best) else replace(best, number=known.number)


def _centres(track: TrackEvidence) -> Floats:
    return np.asarray((track.boxes[:, :2] + track.boxes[:, 2:]) / 2, dtype=np.float64)
