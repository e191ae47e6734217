"""Find the faces of many frames: the policy of a photo (``pipelines.image.faces``), with frames in shared calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cards.card import FaceDetection
from pipelines.image.faces import (
    Detect,
    Faces,
    bordered,
    detector_picture,
    faces_of,
    inside_faces,
    moved_faces,
    turned_back,
)

Pixels = NDArray[np.uint8]

LARGEST_SIDE = 800
"""Longer side of the detector's picture in pixels, at most: a face of 160 px in a 4K frame still spans 33 px of it."""


def find_faces_of_frames(frames: Sequence[Pixels], detect: Detect, policy: FaceDetection, most: int) -> list[Faces]:
    """Faces of frames that follow each other, the largest first in each.

    A closer look is taken at frames whose largest face is small, and a second one, with a border around the frame, at
    those that seem to hold none; a frame that fills the picture with one face needs it. Where no frame holds a face,
    the middle one is turned by quarters, because the turn of a video is not always recorded.

    (A photo is looked at closer for its smallest face. Here that rule would give other landmarks to 2 of the 5,634
    frames of ``train/videos``, and another score to one of its 322 clips: the folds were measured with this one.)

    Args:
        frames: UINT8 [h, w, 3], most often of one size.
        detect: runs the detector on a batch.
        policy: sizes and thresholds; most: faces to keep in each frame.
    """
    policy = policy.model_copy(update={"max_side": min(policy.max_side, LARGEST_SIDE)})
    found = _look(frames, detect, policy, 1.0)
    sizes = [max(frame.shape[:2]) for frame in frames]
    small = [
        place
        for place, faces in enumerate(found)
        if len(faces) and faces.sizes.max() < policy.closer_below * sizes[place]
    ]
    for place, closer in zip(small, _look([frames[place] for place in small], detect, policy, policy.closer_zoom)):
        if len(closer) >= len(found[place]):
            found[place] = closer
    empty = [place for place, faces in enumerate(found) if not len(faces)]
    if empty:
        turn = 0
        rescued = _bordered([frames[place] for place in empty], [0] * len(empty), detect, policy)
        if len(empty) == len(frames) and not any(map(len, rescued)):
            middle = frames[len(frames) // 2]
            turned = _bordered([middle] * 3, [1, 2, 3], detect, policy)
            best = int(np.argmax([faces.scores.max(initial=0.0) for faces in turned]))
            if len(turned[best]):
                turn = best + 1
                rescued = _bordered(frames, [turn] * len(frames), detect, policy)
        for place, faces in zip(empty, rescued):
            found[place] = faces
    # One more than is kept, so that a cut is noticed.
    return [inside_faces(faces, frame)[: most + 1] for faces, frame in zip(found, frames)]


def _look(frames: Sequence[Pixels], detect: Detect, policy: FaceDetection, zoom: float) -> list[Faces]:
    """One upright look at each frame, in frame pixels."""
    pictures = [detector_picture(frame, policy, zoom) for frame in frames]
    found = _detected([picture for picture, _ in pictures], detect, policy, policy.threshold)
    return [
        moved_faces(faces, np.array([[1 / factor, 0, 0], [0, 1 / factor, 0]])) if len(faces) else faces
        for faces, (_, factor) in zip(found, pictures)
    ]


def _detected(pictures: Sequence[Pixels], detect: Detect, policy: FaceDetection, threshold: float) -> list[Faces]:
    """Faces of each picture; pictures of one shape go to the detector together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        groups.setdefault(picture.shape, []).append(place)
    found = [Faces.empty()] * len(pictures)
    for places in groups.values():
        outputs = detect(np.stack([pictures[place] for place in places]))
        for item, place in enumerate(places):
            found[place] = faces_of(outputs, item, threshold, policy)
    return found


def _bordered(frames: Sequence[Pixels], turns: Sequence[int], detect: Detect, policy: FaceDetection) -> list[Faces]:
    """A look at each frame in the middle of a square, turned counter-clockwise by quarters first."""
    pictures, maps = [], []
    for frame, turn in zip(frames, turns):
        turned = np.ascontiguousarray(np.rot90(frame, turn))
        picture, to_turned = bordered(turned, policy)
        pictures.append(picture)
        maps.append((to_turned, turned_back(turn, turned.shape[1], turned.shape[0])))
    found = _detected(pictures, detect, policy, policy.rescue_threshold)
    return [
        moved_faces(moved_faces(faces, first), second) if len(faces) else faces
        for faces, (first, second) in zip(found, maps)
    ]
