"""A few close looks at the face of a video that decides, with its heat map, where the video is most suspicious."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan_client.verdict import Track, Verdict
from pipelines.chart import Pixels
from pipelines.video.overlay import MAX_SIDE, box_at, draw_faces
from pipelines.video.sampling import Source

MOST = 6
"""Looks at one video."""
SIDE = 320
"""Pixels of a look."""
_AROUND = 1.8
"""Side of what is shown, in sides of the face's box."""


@dataclass(frozen=True)
class Moment:
    """When to look, in seconds, and the probability of the stretch of the timeline around it, where there is one."""

    time: float
    probability: float | None


def telling_moments(verdict: Verdict, most: int = MOST) -> list[Moment]:
    """When the face that decides was judged and its map drawn: in the stretches of the highest probability, or spread
    evenly where there is no timeline; in the order of time, and none without heat maps."""
    track = _shown(verdict)
    if track is None:
        return []
    times = np.array([each.time for each in track.heatmaps])
    found: list[Moment] = []
    for start, end, probability in sorted(verdict.timeline, key=lambda stretch: -stretch[2]):
        inside = times[(times >= start) & (times < end)]
        if len(inside) and len(found) < most:
            found.append(Moment(float(inside[np.abs(inside - (start + end) / 2).argmin()]), probability))
    if not found:
        places = np.unique(np.linspace(0, len(times) - 1, min(most, len(times))).round().astype(int))
        found = [Moment(float(times[place]), None) for place in places]
    return sorted(found, key=lambda moment: moment.time)


def close_looks(source: Source, verdict: Verdict) -> Iterator[tuple[Moment, Pixels]]:
    """The telling moments as pictures, UINT8 [SIDE, SIDE, 3] RGB.

    Args:
        source: the frames of the video; verdict: of it, with heat maps.

    Raises:
        MediaError: a frame does not decode: the file is not the one that was judged.
    """
    track = _shown(verdict)
    for moment in telling_moments(verdict):
        for frame in source.frames(num_frames=1, window=(moment.time, moment.time), max_side=MAX_SIDE):
            box = None if track is None else box_at(track, frame.time)
            if box is not None:
                drawn = draw_faces(frame, verdict)
                yield moment, _cut(drawn, np.array(box) * frame.pixels.shape[1] / (verdict.input.width or 1))


def _shown(verdict: Verdict) -> Track | None:
    """The face that is shown: the first one with maps."""
    return next((track for track in verdict.tracks if track.heatmaps), None)


def _cut(pixels: Pixels, box: NDArray[np.float64]) -> Pixels:
    """The square around a box, black where it leaves the picture."""
    side = max(2.0, _AROUND * float((box[2:] - box[:2]).max()))
    scale = SIDE / side
    shift = (SIDE - 1) / 2 - scale * (box[:2] + box[2:]) / 2
    matrix = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(pixels, matrix, (SIDE, SIDE), flags=flags), dtype=np.uint8)
