"""Find the faces of many frames: the policy of a photo (``pipelines.image.faces``), with frames in shared calls."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cards.card import FaceDetection
from pipelines.image.faces import Detect, Faces, detector_picture, faces_of, moved_faces, shrunk

Pixels = NDArray[np.uint8]

LARGEST_SIDE = 800
"""Longer side of the detector's picture in pixels, at most: a face of 160 px in a 4K frame still spans 33 px of it."""


def find_faces_of_frames(frames: Sequence[Pixels], detect: Detect, policy: FaceDetection, most: int) -> list[Faces]:
    """Faces of frames that follow each other, the largest first in each.

    A closer look is taken at frames whose largest face is small, and a second one, with a border around the frame, at
    those that seem to hold none; a frame that fills the picture with one face needs it. Where no frame holds a face,
    the middle one is turned by quarters, because the turn of a video is not always recorded.

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
    return [_inside(faces, frame, most) for faces, frame in zip(found, frames)]


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
    side = policy.rescue_side
    pictures, maps = [], []
    for frame, turn in zip(frames, turns):
        turned = np.rot90(frame, turn)
        height, width = turned.shape[:2]
        factor = side * policy.rescue_fill / max(height, width)
        little = shrunk(np.ascontiguousarray(turned), (max(1, round(width * factor)), max(1, round(height * factor))))
        top, left = (side - little.shape[0]) // 2, (side - little.shape[1]) // 2
        below, right = side - little.shape[0] - top, side - little.shape[1] - left
        pictures.append(
            np.asarray(cv2.copyMakeBorder(little, top, below, left, right, cv2.BORDER_CONSTANT), dtype=np.uint8)
        )
        to_turned = np.array([[1 / factor, 0, -left / factor], [0, 1 / factor, -top / factor]])
        # From the turned frame (width x height) back to the upright one.
        back = {
            0: [[1, 0, 0], [0, 1, 0]],
            1: [[0, -1, height], [1, 0, 0]],
            2: [[-1, 0, width], [0, -1, height]],
            3: [[0, 1, 0], [-1, 0, width]],
        }[turn]
        maps.append((to_turned, np.array(back, dtype=np.float64)))
    found = _detected(pictures, detect, policy, policy.rescue_threshold)
    return [
        moved_faces(moved_faces(faces, first), second) if len(faces) else faces
        for faces, (first, second) in zip(found, maps)
    ]


def _inside(faces: Faces, frame: Pixels, most: int) -> Faces:
    """Boxes cut at the frame's border, the largest faces first, one more than ``most`` so that a cut is noticed."""
    if not len(faces):
        return faces
    height, width = frame.shape[:2]
    boxes = np.clip(faces.boxes, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)
    faces = Faces(boxes, faces.scores, faces.landmarks)
    faces = faces[np.all(faces.boxes[:, 2:] - faces.boxes[:, :2] >= 1.0, axis=1)]
    return faces[np.argsort(-faces.sizes, kind="stable")[: most + 1]]
