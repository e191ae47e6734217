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

from deepscan_client.errors import CancelledError, InputError
from pipelines.analyzers.biometrics import Measured, biometrics, watched
from pipelines.analyzers.landmarks import MARGIN, SIDE
from pipelines.image.align import face_sizes
from pipelines.infer import Infer
from pipelines.video.evidence import TrackEvidence, VideoEvidence
from pipelines.video.sampling import Held, open_source

NAME = "biometrics"
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


def with_biometrics(
    evidence: VideoEvidence, path: Path, infer: Infer, stopped: Callable[[], bool] | None = None
) -> VideoEvidence:
    """Evidence with the biometrics of the main face, and the milliseconds that they took.

    Args:
        evidence: of the whole video; path: the file that it is of.
        infer: runs ``face_mesh`` and ``eye_iris``.
        stopped: asked before each frame.

    Raises:
        CancelledError: ``stopped`` returned True.
        deepscan_client.errors.DeepScanError: a network did not answer.
    """
    start = time.monotonic_ns()
    track = main_track(evidence.tracks)
    measured = Measured() if track is None else _measured(evidence, track, path, infer, stopped or (lambda: False))
    return replace(
        evidence,
        weights={**evidence.weights, **measured.weights},
        ms={**evidence.ms, NAME: (time.monotonic_ns() - start) / 1e6},
        more={**evidence.more, NAME: measured.evidence},
    )


def _measured(
    evidence: VideoEvidence, track: TrackEvidence, path: Path, infer: Infer, stopped: Callable[[], bool]
) -> Measured:
    window = watched(track.times)
    if window is None:
        return Measured()
    width, height = evidence.facts.width, evidence.facts.height
    face = MARGIN * float(np.median(face_sizes(track.landmarks)))
    factor = SIDE / max(face, 1.0)
    side = max(1, round(max(width, height) * (factor if factor <= 1 / _LARGE else 1.0)))
    factor = side / max(width, height)
    landmarks = ((track.landmarks + 0.5) * factor - 0.5).astype(np.float32)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))

    def frames() -> Iterator[_Picture]:
        for held in open_source(path, _DECODER_THREADS).held(window=(window[0], window[1] + 1e-6)):
            if stopped():
                raise CancelledError("the caller cancelled the request")
            yield _Picture(held, side)

    try:
        return biometrics(frames(), track.times, landmarks, size, infer, track.embeddings)
    except InputError:
        return Measured()  # frames that were not sampled may be damaged: the others were judged already
