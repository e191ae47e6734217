"""Gather what is seen of each face of a video, frame by frame, until its tracks are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.image.faces import Faces
from pipelines.video.evidence import TrackEvidence
from pipelines.video.sequences import USUAL
from pipelines.video.tracker import Tracker, describe_faces, is_new_shot, shades_of

Pixels = NDArray[np.uint8]
_SMALL = 32
"""Side in pixels of the grey crops that motion is measured on."""


@dataclass
class _Column:
    """One track as it grows."""

    times: list[float] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    landmarks: list[NDArray[np.float32]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    logits: dict[str, list[float]] = field(default_factory=dict)
    embeddings: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    novelty: list[float] = field(default_factory=list)
    maps: list[NDArray[np.uint8]] = field(default_factory=list)
    to_frame: list[NDArray[np.float64]] = field(default_factory=list)
    small: NDArray[np.float32] | None = None
    moved: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    """A face that waits for the networks: which track, when, where."""

    number: int
    time: float
    faces: Faces
    """Of length 1, in pixels of the upright frame."""


@dataclass(frozen=True)
class Heat:
    """Heat maps of n faces, as columns of :class:`~pipelines.video.evidence.TrackEvidence`."""

    maps: NDArray[np.uint8]
    to_frame: NDArray[np.float64]


class Follower:
    """Numbers faces and keeps their columns."""

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._columns: dict[int, _Column] = {}
        self._before: NDArray[np.float64] | None = None

    def number(self, time: float, small: Pixels, faces: Faces, factor: float) -> list[Seen]:
        """The faces of the next frame that belong to tracks.

        Args:
            time: seconds; small: the frame as the detector saw it, UINT8 [h, w, 3].
            faces: in pixels of ``small``; factor: from those to pixels of the upright frame.
        """
        shades = shades_of(small)
        cut = self._before is not None and is_new_shot(self._before, shades)
        self._before = shades
        whole = Faces(faces.boxes * np.float32(factor), faces.scores, faces.landmarks * np.float32(factor))
        numbers = self._tracker.update(time, whole, describe_faces(small, faces), cut)
        return [Seen(number, time, whole[[item]]) for item, number in enumerate(numbers) if number >= 0]

    def add(
        self,
        seen: Sequence[Seen],
        crops: Pixels,
        logits: Mapping[str, NDArray[np.float32]],
        embeddings: Mapping[str, NDArray[np.float32]],
        novelty: NDArray[np.float64] | None,
        heat: Heat | None = None,
    ) -> None:
        """Keep what the networks said of faces, [n] each; ``crops`` are UINT8 [n, s, s, 3], aligned."""
        for item, face in enumerate(seen):
            column = self._columns.setdefault(face.number, _Column())
            grey = cv2.cvtColor(crops[item], cv2.COLOR_RGB2GRAY)
            column.times.append(face.time)
            column.boxes.append(face.faces.boxes[0])
            column.landmarks.append(face.faces.landmarks[0])
            column.scores.append(float(face.faces.scores[0]))
            column.sharpness.append(float(cv2.Laplacian(grey, cv2.CV_32F).var()))
            for name, values in logits.items():
                column.logits.setdefault(name, []).append(float(values[item]))
            for name, rows in embeddings.items():
                column.embeddings.setdefault(name, []).append(rows[item])
            if novelty is not None:
                column.novelty.append(float(novelty[item]))
            if heat is not None:
                column.maps.append(heat.maps[item])
                column.to_frame.append(heat.to_frame[item])
            small = cv2.resize(grey, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA).astype(np.float32)
            if column.small is not None:
                column.moved.append(float(np.abs(small - column.small).mean()))
            column.small = small

    def embeddings(self) -> dict[int, dict[str, NDArray[np.float32]]]:
        """Embeddings [k, d] of each track so far, by its number and the network that they are of."""
        return {
            number: {name: np.stack(rows) for name, rows in column.embeddings.items()}
            for number, column in sorted(self._columns.items())
        }

    def tracks(self, clips: Mapping[int, Mapping[str, NDArray[np.float64]]] | None = None) -> tuple[TrackEvidence, ...]:
        """The tracks so far, in the order of appearance; ``clips`` by number."""
        return tuple(
            TrackEvidence(
                number=number,
                times=np.array(column.times),
                boxes=np.stack(column.boxes),
                landmarks=np.stack(column.landmarks),
                scores=np.array(column.scores),
                sharpness=np.array(column.sharpness),
                motion=float(np.median(column.moved)) if column.moved else 0.0,
                logits={name: np.array(values) for name, values in column.logits.items()},
                clips=dict((clips or {}).get(number, {})),
                embeddings=_of_faces(column.embeddings),
                novelty=np.array(column.novelty) if column.novelty else None,
                maps=np.stack(column.maps) if column.maps else None,
                to_frame=np.stack(column.to_frame) if column.to_frame else None,
            )
            for number, column in sorted(self._columns.items())
        )


def _of_faces(embeddings: Mapping[str, list[NDArray[np.float32]]]) -> NDArray[np.float32] | None:
    """Those of the usual network, for who asks about the face itself."""
    return np.stack(embeddings[USUAL]) if USUAL in embeddings else None
