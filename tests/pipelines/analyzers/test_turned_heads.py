"""Head pose of turned heads as the shipped face mesh sees them: the right axis, the right sign, within five degrees.

The heads are rendered (``heads.py``) from a shape and by rotations that are written out there, and nothing of them
comes from the mean head that poses are fitted to. So an axis that is mixed up or a sign that is wrong shows here as an
error of twice the angle. What is measured is how far a head has turned since it looked into the camera: the mean head
is not hers, which is some degrees for all pictures alike (Yang and others compare such directions, too).
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cards.repository import ModelRepository
from pipelines.analyzers.face_reader import FaceReader
from pipelines.analyzers.pose import HeadPoses, head_poses
from pipelines.onnx_infer import OnnxInfer
from tests.pipelines.analyzers.heads import SIZE, photograph, seen, turned

Turn = tuple[float, float, float]
PITCHES, YAWS, ROLLS = (-20.0, -10.0, 10.0, 20.0), (-30.0, -20.0, -10.0, 10.0, 20.0, 30.0), (-20.0, 20.0)
TOGETHER: tuple[Turn, ...] = ((-10, -15, 5), (-8, 12, -10), (6, -10, 12))
TURNS: tuple[Turn, ...] = (
    (0, 0, 0),
    *((pitch, 0.0, 0.0) for pitch in PITCHES),
    *((0.0, yaw, 0.0) for yaw in YAWS),
    *((0.0, 0.0, roll) for roll in ROLLS),
    *TOGETHER,
)


def poses_of(pictures: list[tuple[NDArray[np.uint8], NDArray[np.float64]]]) -> HeadPoses:
    """Poses of pictures of one head with their landmarks."""
    with FaceReader(OnnxInfer(ModelRepository())) as reader:
        for place, (pixels, landmarks) in enumerate(pictures):
            reader.add(place / 5, pixels, landmarks)
        series = reader.finish()
    assert series.seen == 1.0
    return head_poses(series.points, SIZE)


@pytest.fixture(scope="module")
def poses() -> HeadPoses:
    return poses_of([photograph(*turn) for turn in TURNS])


def since_frontal(poses: HeadPoses, turn: Turn) -> NDArray[np.float64]:
    """Pitch, yaw and roll since the head looked into the camera."""
    angles = poses.angles
    return np.asarray(angles[TURNS.index(turn)] - angles[0])


def test_turns_mean_what_they_say() -> None:
    """Of the renderer alone: where the tip of the nose and the crown go."""
    nose, crown = np.array([[0.0, 0.0, -1.0]]), np.array([[0.0, -1.0, 0.0]])
    middle = np.array(SIZE) / 2 - 0.5
    x, y = (seen(50 * turned(nose, 0, 20, 0)) - middle)[0]
    assert x > 10 > abs(y)
    x, y = (seen(50 * turned(nose, 20, 0, 0)) - middle)[0]
    assert y < -10 < 10 > abs(x)  # up in the picture
    x, y = (seen(50 * turned(crown, 0, 0, 20)) - middle)[0]
    assert x > 10
    assert y < 0


def test_the_frontal_portrait_looks_into_the_camera(poses: HeadPoses) -> None:
    assert np.abs(poses.angles[0]).max() < 10
    assert poses.gaps[0] < 5


@pytest.mark.parametrize("pitch", PITCHES)
def test_a_nod_is_found_within_five_degrees(poses: HeadPoses, pitch: float) -> None:
    np.testing.assert_allclose(since_frontal(poses, (pitch, 0, 0)), [pitch, 0, 0], atol=5)


@pytest.mark.parametrize("yaw", [yaw for yaw in YAWS if abs(yaw) <= 20])
def test_a_shake_is_found_within_five_degrees(poses: HeadPoses, yaw: float) -> None:
    np.testing.assert_allclose(since_frontal(poses, (0, yaw, 0)), [0, yaw, 0], atol=5)


def test_further_turns_are_read_in_order(poses: HeadPoses) -> None:
    """At thirty degrees the round head hides its far eye, and some degrees are lost: it still turns further."""
    found = [since_frontal(poses, (0, yaw, 0))[1] for yaw in YAWS]
    assert found == sorted(found)
    np.testing.assert_allclose([found[0], found[-1]], [-30, 30], atol=10)


@pytest.mark.parametrize("roll", ROLLS)
def test_a_tilt_is_found_within_five_degrees(poses: HeadPoses, roll: float) -> None:
    np.testing.assert_allclose(since_frontal(poses, (0, 0, roll)), [0, 0, roll], atol=5)


@pytest.mark.parametrize("part", ["whole", "inner"])
@pytest.mark.parametrize("turn", [*TOGETHER, (0, 20, 0), (0, -20, 0), (20, 0, 0), (-20, 0, 0)])
def test_the_whole_rotation_is_found_within_five_degrees(poses: HeadPoses, part: str, turn: Turn) -> None:
    found = poses.whole if part == "whole" else poses.inner
    truth = turned(np.eye(3), *turn).T
    away = Rotation.from_matrix(truth).inv() * Rotation.from_matrix(found[TURNS.index(turn)] @ found[0].T)
    assert np.degrees(away.magnitude()) < 5
    back = Rotation.from_matrix(truth) * Rotation.from_matrix(found[TURNS.index(turn)] @ found[0].T)
    assert np.degrees(back.magnitude()) > 15  # what a wrong sign would look like


def test_a_mirrored_picture_turns_the_other_way() -> None:
    picture, landmarks = photograph(5, 15, 10)
    swapped = landmarks[[1, 0, 2, 4, 3]].copy()
    swapped[:, 0] = SIZE[0] - 1 - swapped[:, 0]
    poses = poses_of([(picture, landmarks), (np.ascontiguousarray(picture[:, ::-1]), swapped)])
    pitch, yaw, roll = poses.angles[0]
    np.testing.assert_allclose(poses.angles[1], [pitch, -yaw, -roll], atol=4)
    assert min(yaw, roll) > 5
