"""The tracker: numbers stay with faces through crossings, gaps, cuts and weak detections."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data as pictures

from pipelines.image.align import TEMPLATE
from pipelines.image.faces import Faces
from pipelines.video.tracker import Tracker, describe_faces, is_cut

ASTRONAUT = np.asarray(pictures.astronaut(), np.uint8)[40:200, 150:310]  # type: ignore[no-untyped-call]


def faces(centres: list[tuple[float, float]], size: float = 40.0, scores: list[float] | None = None) -> Faces:
    middle = np.array(centres, np.float32).reshape(-1, 2)
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    points = middle[:, None] + (TEMPLATE[None] - 0.5) * size
    return Faces(
        boxes.astype(np.float32),
        np.array(scores if scores is not None else [0.9] * len(centres), np.float32),
        points.astype(np.float32),
    )


def looks(*angles: float) -> NDArray[np.float64]:
    """Descriptions whose distance is 1 - cos of the angle between them (degrees)."""
    return np.array([[np.cos(np.radians(a)), np.sin(np.radians(a))] for a in angles])


@pytest.mark.parametrize("seen", [False, True])
def test_numbers_survive_a_crossing(seen: bool) -> None:
    """Two faces walk through each other; the detector gives them in changing order, and one is hidden in the middle."""
    tracker, rng = Tracker(), np.random.default_rng(0)
    for step in range(31):
        left, right = (20 + 8 * step, 100.0), (260 - 8 * step, 108.0)
        people = [(0, left, 0.0), (1, right, 60.0)]
        if 14 <= step <= 16:
            people = people[:1]  # the other is behind
        if rng.random() < 0.5 and step:
            people.reverse()
        found = faces([person[1] for person in people])
        described = looks(*(person[2] for person in people)) if seen else None
        numbers = tracker.update(step / 12, found, described)
        assert numbers == [person[0] for person in people], f"step {step}"


def test_numbers_survive_a_cut_by_looks_and_a_stranger_gets_a_new_one() -> None:
    tracker = Tracker()
    for step in range(5):
        assert tracker.update(step * 0.2, faces([(50, 50), (200, 60)]), looks(0, 70)) == [0, 1]
    # another shot: places swapped, sizes doubled, one new person
    assert tracker.update(1.0, faces([(60, 50), (190, 60), (120, 90)], 90), looks(75, 5, 150), cut=True) == [1, 0, 2]
    assert tracker.update(1.2, faces([(60, 50), (190, 60), (120, 90)], 90), looks(75, 5, 150)) == [1, 0, 2]
    # and back
    assert tracker.update(1.4, faces([(50, 50), (200, 60)]), looks(0, 70), cut=True) == [0, 1]


def test_after_a_cut_place_alone_says_nothing() -> None:
    tracker = Tracker()
    tracker.update(0.0, faces([(50, 50)]), looks(0))
    assert tracker.update(0.04, faces([(50, 50)]), looks(90), cut=True) == [1]


def test_another_face_in_the_same_place_without_a_cut_is_another_track() -> None:
    tracker = Tracker()
    tracker.update(0.0, faces([(50, 50)]), looks(0))
    assert tracker.update(0.2, faces([(51, 50)]), looks(90)) == [1]


def test_a_weak_detection_continues_a_track_and_begins_none() -> None:
    tracker = Tracker()
    assert tracker.update(0.0, faces([(50, 50)], scores=[0.9])) == [0]
    assert tracker.update(0.2, faces([(52, 50), (150, 50)], scores=[0.3, 0.3])) == [0, -1]
    assert tracker.update(0.4, faces([(54, 50)], scores=[0.9])) == [0]


def test_a_fast_face_is_followed_by_its_velocity() -> None:
    tracker = Tracker()
    for step in range(12):  # 0.6 face sizes a frame at 25 frames a second, past a face that stands still
        numbers = tracker.update(step / 25, faces([(20 + 24.0 * step, 50), (160, 95)]))
        assert numbers == [0, 1], f"step {step}"


def test_gaps_and_empty_frames_are_survived() -> None:
    tracker = Tracker()
    assert tracker.update(0.0, Faces.empty()) == []
    assert tracker.update(0.2, faces([(50, 50)]), looks(0)) == [0]
    for step in range(3):
        assert tracker.update(0.4 + step * 0.2, Faces.empty(), np.zeros((0, 2))) == []
    assert tracker.update(1.0, faces([(58, 50)]), looks(4)) == [0]
    assert tracker.update(9.0, faces([(300, 50)]), looks(4)) == [0]  # long gone, known by its looks
    assert tracker.update(30.0, faces([(300, 50)]), looks(120)) == [1]


def test_looks_tell_two_faces_apart_and_know_one_again_in_other_light() -> None:
    picture = np.full((200, 420, 3), 120, np.uint8)
    picture[20:180, 20:180] = ASTRONAUT
    other = cv2.applyColorMap(ASTRONAUT[..., 0].T[::-1].copy(), cv2.COLORMAP_WINTER)
    picture[20:180, 240:400] = other
    found = faces([(100, 100), (320, 100)], 90)
    first = describe_faces(picture, found)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1)
    brighter = np.clip(picture.astype(float) * 1.15 + 8, 0, 255).astype(np.uint8)
    second = describe_faces(brighter, found)
    apart = 1 - first @ second.T
    assert apart[0, 0] < 0.3 > apart[1, 1]
    assert apart[0, 1] > 0.5 < apart[1, 0]
    assert describe_faces(picture, Faces.empty()).shape == (0, 160)


def test_cuts_are_seen_and_movement_is_none() -> None:
    scene = np.asarray(pictures.astronaut(), np.uint8)  # type: ignore[no-untyped-call]
    other = np.asarray(pictures.coffee(), np.uint8)  # type: ignore[no-untyped-call]
    assert is_cut(scene, other)
    assert not is_cut(scene, np.roll(scene, 12, axis=1))
    assert not is_cut(scene, np.clip(scene.astype(int) + 6, 0, 255).astype(np.uint8))
