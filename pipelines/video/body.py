"""The biometrics of a video's main face: a second look at its file, at the native rate, for the option ``analyzers``.

Blinks, pulse and lips need more than five frames a second, so the main face alone is followed through every frame of at
most twenty seconds. Where the face is much larger than its crop, the pictures are shrunk while they become RGB.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepscan_client.errors import InputError
from pipelines.analyzers.biometrics import Measured, measured_of, read_face, watched
from pipelines.analyzers.face_series import KeptPoints
from pipelines.analyzers.landmarks import MARGIN, SIDE
from pipelines.image.align import face_sizes
from pipelines.infer import Infer
from pipelines.video.evidence import TrackEvidence, VideoEvidence
from pipelines.video.leaving import checker
from pipelines.video.sampling import Held, open_source

NAME = "biometrics"
UNREAD = "the seconds of the main face do not decode frame by frame, or are too few"
_LARGE = 2.0
"""Faces of so many times the width of their crop are worth shrinking the picture: to shrink it less does not pay."""
_DECODER_THREADS = 2


@dataclass(frozen=True)
class _Picture:
    """A frame that is turned into RGB when it is looked at."""

    held: Held
    side: int

    @property
    def time(self) -> float:
        return self.held.time

    @property
    def pixels(self) -> NDArray[np.uint8]:
        return self.held.pixels(self.side)


def main_track(tracks: tuple[TrackEvidence, ...]) -> TrackEvidence | None:
    """The face that is longest and largest in the picture; None where there is none."""
    return max(tracks, key=lambda track: len(track) * track.face_px, default=None)


def followed_track(evidence: VideoEvidence) -> TrackEvidence | None:
    """The main face as it is followed at the native rate: in the closer look, where one was taken."""
    return main_track(evidence.tracks) if evidence.close is None else evidence.close


def with_biometrics(
    evidence: VideoEvidence, path: Path, infer: Infer, stopped: Callable[[], bool] | None = None
) -> VideoEvidence:
    """Evidence with the biometrics of the main face, and the milliseconds that they took.

    Args:
        evidence: of the whole video; path: the file that it is of.
        infer: runs ``face_mesh`` and ``eye_iris``.
        stopped: asked before each frame.

    Raises:
        deepscan_client.errors.CancelledError: ``stopped`` returned True.
        deepscan_client.errors.DeepScanError: a network did not answer.
    """
    start = time.monotonic_ns()
    track = followed_track(evidence)
    body = None if track is None else read_body(evidence, track, path, infer, stopped)
    if track is not None and body is None:
        evidence = evidence.noted(f"biometrics left out: {UNREAD}")
    return told(evidence, Measured() if body is None else body.measured, start)


def told(evidence: VideoEvidence, measured: Measured, started_ns: int) -> VideoEvidence:
    """Evidence with what was measured since ``started_ns``."""
    return replace(
        evidence,
        weights={**evidence.weights, **measured.weights},
        ms={**evidence.ms, NAME: (time.monotonic_ns() - started_ns) / 1e6},
        more={**evidence.more, NAME: measured.evidence},
    )


@dataclass(frozen=True)
class Body:
    """What was measured of the main face, and the points of its mesh that were wanted at every frame."""

    measured: Measured
    kept: KeptPoints | None


def read_body(
    evidence: VideoEvidence,
    track: TrackEvidence,
    path: Path,
    infer: Infer,
    stopped: Callable[[], bool] | None = None,
    keep: tuple[int, ...] = (),
) -> Body | None:
    """One look at every frame of a face; None where it is not long enough in the picture, or frames are damaged (those
    that were sampled have been judged already).

    Args:
        evidence, path, infer, stopped: as of :func:`with_biometrics`, and so are the errors; track: of the face.
        keep: numbers of the points of the mesh that are wanted at every frame.
    """
    window = watched(track.times)
    if window is None:
        return None
    width, height = evidence.facts.width, evidence.facts.height
    face = MARGIN * float(np.median(face_sizes(track.landmarks)))
    factor = SIDE / max(face, 1.0)
    side = max(1, round(max(width, height) * (factor if factor <= 1 / _LARGE else 1.0)))
    factor = side / max(width, height)
    landmarks = ((track.landmarks + 0.5) * factor - 0.5).astype(np.float32)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))

    def frames() -> Iterator[_Picture]:
        check = checker(stopped, evidence.facts.options.request_id)
        for held in open_source(path, _DECODER_THREADS, check).held(window=(window[0], window[1] + 1e-6)):
            check()
            yield _Picture(held, side)

    try:
        series = read_face(frames(), track.times, landmarks, infer, keep)
    except InputError:
        return None
    return Body(measured_of(series, size, track.times, track.embeddings), series.kept)
