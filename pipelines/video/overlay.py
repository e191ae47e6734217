"""A video with what was found in it: box, score and heat map of each face, and the timeline along its lower edge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from deepscan_client.verdict import HeatMap, Track, Verdict
from pipelines.chart import BLUE, COLOURS, PAPER, RED, Pixels
from pipelines.image.overlay import lay_heat
from pipelines.video.frame import Frame
from pipelines.video.picture import track_label, track_words

MOST_FRAMES = 3_000
"""Of the annotated video; a longer one gets fewer frames a second, over its whole time."""
MAX_SIDE = 1280
"""Pixels of its longer side."""
_TIME_BASE = Fraction(1, 12_800)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BAR = 6
_HELD = 2.5
"""A face is shown between two looks at it, and not longer than so many times their usual distance."""

Box = tuple[float, float, float, float]


def frames_a_second(seconds: float, fps: float) -> float | None:
    """At how many frames a second a video is drawn; None for all that are there."""
    return None if seconds * fps <= MOST_FRAMES else MOST_FRAMES / seconds


def box_at(track: Track, moment: float) -> Box | None:
    """Where a face is at a moment, between the two looks around it; None where it is not there."""
    around = _looks(np.array([each.time for each in track.boxes]), moment)
    if around is None:
        return None
    first, second = (np.array(track.boxes[place].box) for place in around[:2])
    x0, y0, x1, y1 = (first + around[2] * (second - first)).tolist()
    return x0, y0, x1, y1


def heat_at(track: Track, moment: float, factor: float = 1.0) -> HeatMap | None:
    """The heat map that a face carries at a moment: that of the latest look, moved along with the face.

    Args:
        track: of the face; moment: seconds.
        factor: from pixels of the upright frame to those that it is drawn in.

    Returns:
        None where there is no face, or no map of it.
    """
    around = _looks(np.array([each.time for each in track.heatmaps]), moment)
    if around is None:
        return None
    before, after, share = around
    first, second = (np.array(track.heatmaps[place].to_frame) for place in (before, after))
    matrix = (first + share * (second - first)) * factor
    matrix[:, 2] += 0.5 * factor - 0.5  # pixel centres lie at whole numbers
    a, b = matrix.tolist()
    latest = track.heatmaps[after if share > 0.999 else before].unpacked()
    return HeatMap(latest.values, (tuple(a), tuple(b)))


def _looks(times: NDArray[np.float64], moment: float) -> tuple[int, int, float] | None:
    """The looks before and after a moment, and how far it is from the one to the other, 0 to 1; None where the face is
    not there."""
    if not len(times):
        return None
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.2
    after = int(np.searchsorted(times, moment))
    before = max(0, after - 1)
    after = min(after, len(times) - 1)
    gap = times[after] - times[before]
    if gap > _HELD * usual or min(abs(times[after] - moment), abs(times[before] - moment)) > usual:
        return None
    return before, after, 0.0 if gap <= 0 else float(np.clip((moment - times[before]) / gap, 0.0, 1.0))


def draw_faces(frame: Frame, verdict: Verdict) -> Pixels:
    """One frame with its faces: maps, boxes and words, UINT8 [height, width, 3] RGB with even sides of at least 2."""
    height, width = (max(2, side - side % 2) for side in frame.pixels.shape[:2])
    drawn = np.resize(frame.pixels, (height, width, 3)) if min(frame.pixels.shape[:2]) < 2 else frame.pixels
    drawn = np.ascontiguousarray(drawn[:height, :width]).copy()
    factor = frame.pixels.shape[1] / (verdict.input.width or frame.pixels.shape[1])
    for track in verdict.tracks:
        heatmap = heat_at(track, frame.time, factor)
        if heatmap is not None:
            lay_heat(drawn, heatmap)
    for track in reversed(verdict.tracks):  # the one that decides comes last, on top
        box = box_at(track, frame.time)
        if box is not None:
            _face(drawn, [round(value * factor) for value in box], track, verdict)
    return drawn


def draw_frame(frame: Frame, verdict: Verdict) -> Pixels:
    """One frame with its faces and the place in the timeline, UINT8 [height, width, 3] RGB with even sides."""
    drawn = draw_faces(frame, verdict)
    _timeline(drawn, frame.time, verdict)
    return drawn


def annotated(frames: Iterable[Frame], verdict: Verdict) -> Iterator[tuple[float, Pixels]]:
    """Seconds and pixels of each frame of the annotated video."""
    for frame in frames:
        yield frame.time, draw_frame(frame, verdict)


def write_annotated(frames: Iterable[Frame], verdict: Verdict, target: Path) -> None:
    """Write an MP4 (H.264, without sound), frame by frame.

    Args:
        frames: of the video, upright, in the order of time, all of one size.
        verdict: of that video, with the boxes of its tracks.
        target: the file to write.

    Raises:
        OSError: it cannot be written.
    """
    last = -1
    with av.open(str(target), "w", format="mp4") as container:
        stream: Any = None
        for moment, pixels in annotated(frames, verdict):
            if stream is None:
                stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "23"})
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.time_base = stream.codec_context.time_base = _TIME_BASE
                stream.codec_context.thread_count = 1
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            last = max(last + 1, round(moment / _TIME_BASE))
            picture.pts, picture.time_base = last, _TIME_BASE
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode(None))


def _face(pixels: Pixels, box: list[int], track: Track, verdict: Verdict) -> None:
    height, width = pixels.shape[:2]
    line = max(1, round(min(height, width) / 240))
    colour = COLOURS[track_label(track, verdict)]
    x0, y0, x1, y1 = box
    cv2.rectangle(pixels, (x0, y0), (x1, y1), colour, line)
    words, size = track_words(track), max(0.35, min(height, width) / 900)
    (long, tall), below = cv2.getTextSize(words, _FONT, size, line)
    left = int(np.clip(x0, 0, max(0, width - long)))
    base = y0 - below if y0 - tall - below >= 0 else min(height - below, y1 + tall + below)
    cv2.rectangle(pixels, (left, base - tall), (left + long, base + below), colour, cv2.FILLED)
    cv2.putText(pixels, words, (left, base), _FONT, size, PAPER, line, cv2.LINE_AA)


def _timeline(pixels: Pixels, moment: float, verdict: Verdict) -> None:
    height, width = pixels.shape[:2]
    seconds = max(verdict.input.duration_s or 0.0, 1e-3)
    for start, end, probability in verdict.timeline:
        left, right = (
            round(start / seconds * width),
            max(round(start / seconds * width) + 1, round(end / seconds * width)),
        )
        colour = RED if probability >= verdict.operating_point.threshold else BLUE
        cv2.rectangle(pixels, (left, height - _BAR), (right - 1, height - 1), colour, cv2.FILLED)
    x = min(width - 1, round(moment / seconds * width))
    cv2.line(pixels, (x, height - 2 * _BAR), (x, height - 1), PAPER, 2)
