"""Known rotations of a projected head are found within five degrees, whatever the camera's lens."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pipelines.analyzers.head_shape import HEAD
from pipelines.analyzers.landmarks import FACE_OVAL, INNER_FACE
from pipelines.analyzers.pose import POSE_POINTS, euler_angles, head_poses

SIZE = (1280, 720)
SHAPE = np.array([HEAD[point] for point in POSE_POINTS])
TURNS = [(0, 0, 0), (15, 0, 0), (-15, 10, 0), (0, 25, 0), (0, -40, 0), (10, 20, 15), (-20, -30, -20), (5, 5, 30)]


def projected(turns: Rotation, focal: float, noise: float = 1.0, seed: int = 0) -> NDArray[np.float64]:
    """Points [n, k, 2] of a head 150 px wide between its eyes; ``focal`` in widths of the frame; noise in pixels."""
    heads = np.einsum("nij,kj->nki", turns.as_matrix(), SHAPE) + np.array([0.8, -0.5, focal * SIZE[0] / 150])
    points = heads[..., :2] / heads[..., 2:] * focal * SIZE[0] + [SIZE[0] / 2, SIZE[1] / 2]
    return np.asarray(points + np.random.default_rng(seed).normal(0, noise, points.shape))


@pytest.mark.parametrize("focal", [0.8, 1.0, 1.5, 2.5])
def test_a_known_rotation_is_found_within_five_degrees(focal: float) -> None:
    truth = Rotation.from_euler("ZXY", [(roll, pitch, yaw) for pitch, yaw, roll in TURNS], degrees=True)
    found = head_poses(projected(truth, focal), SIZE)
    for part in (found.whole, found.inner):
        away = np.degrees((Rotation.from_matrix(part).inv() * truth).magnitude())
        assert away.max() < 5
    assert found.gaps.max() < 2


def test_angles_are_named_as_seen() -> None:
    nod, shake, tilt = (
        euler_angles(Rotation.from_euler(axis, [20.0], degrees=True).as_matrix().reshape(1, 3, 3))[0] for axis in "xyz"
    )
    np.testing.assert_allclose(np.abs(nod), [20, 0, 0], atol=1e-6)
    np.testing.assert_allclose(np.abs(shake), [0, 20, 0], atol=1e-6)
    np.testing.assert_allclose(tilt, [0, 0, 20], atol=1e-6)
    # The tip of the nose goes where the face looks.
    turned = Rotation.from_euler("y", [-20.0], degrees=True)
    nose = (turned.as_matrix().reshape(3, 3) @ SHAPE[POSE_POINTS.index(1)])[0]
    assert nose > 0
    assert euler_angles(turned.as_matrix().reshape(1, 3, 3))[0, 1] > 0


def test_a_swapped_inner_face_looks_elsewhere() -> None:
    still = Rotation.from_euler("ZXY", np.zeros((20, 3)), degrees=True)
    turned = Rotation.from_euler("ZXY", np.tile([0, 0, 15], (20, 1)), degrees=True)
    points, swapped = projected(still, 1.0), projected(turned, 1.0, seed=1)
    inner = [POSE_POINTS.index(point) for point in INNER_FACE]
    mixed = points.copy()
    mixed[:, inner] = swapped[:, inner]
    assert np.median(head_poses(points, SIZE).gaps) < 2
    assert np.median(head_poses(mixed, SIZE).gaps) > 5


def test_what_was_not_seen_is_not_a_number() -> None:
    points = projected(Rotation.from_euler("ZXY", np.zeros((2, 3)), degrees=True), 1.0)
    points[1, 3] = np.nan
    found = head_poses(points, SIZE)
    assert np.isfinite(found.whole[0]).all()
    assert np.isnan(found.whole[1]).all()
    assert np.isnan(found.gaps[1])
    assert head_poses(points[:0], SIZE).gaps.shape == (0,)


def test_the_head_is_symmetric_and_has_both_parts() -> None:
    assert set(POSE_POINTS) == {*INNER_FACE, *FACE_OVAL}
    np.testing.assert_allclose(np.array(HEAD[33]) * [-1, 1, 1], HEAD[263])
    assert HEAD[1][2] < HEAD[33][2] < HEAD[234][2]  # nose before eyes before ears
    assert HEAD[10][1] < 0 < HEAD[152][1]
