"""Lips from mesh points: the head's turns are no movement of the mouth, and the rate is always 25."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.video.lips import (
    ANCHORS,
    HEIGHTS,
    INNER_CORNERS,
    MEASURES,
    MOST,
    OUTER_CORNERS,
    POINTS,
    UNIT,
    Lips,
    lips_of,
    read_lips,
)


def face(opened: float) -> np.ndarray:
    """Mesh points of a face, [len(POINTS), 3]: all at the base of the nose but for those that matter here."""
    points = np.zeros((len(POINTS), 3))

    def put(number: int, x: float, y: float, z: float = 0.0) -> None:
        points[POINTS.index(number)] = (x, y, z)

    for number, place in zip(ANCHORS, ((-50, -60, 10), (50, -60, 10), (0, -50, 0), (0, 0, -5)), strict=True):
        put(number, *place)
    for group in HEIGHTS:
        for low, high in group:
            put(low, 0, 30 + 50 * opened)
            put(high, 0, 30)
    for left, right in (INNER_CORNERS, OUTER_CORNERS):
        put(left, -25, 30)
        put(right, 25, 30)
    return points


def turned(points: np.ndarray, yaw: float, roll: float, shift: float) -> np.ndarray:
    """The face turned in space and moved."""
    c, s = np.cos(yaw), np.sin(yaw)
    around = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    c, s = np.cos(roll), np.sin(roll)
    lean = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return points @ (lean @ around).T * 1.3 + shift


def talk(rate: float, seconds: float = 4.0, moving: bool = False) -> tuple[Lips, np.ndarray]:
    times = np.arange(0, seconds, 1 / rate)
    opened = 0.1 + 0.05 * np.sin(2 * np.pi * 2 * times)
    points = np.stack([face(float(o)) for o in opened])
    if moving:
        points = np.stack(
            [turned(p, 0.4 * np.sin(t), 0.2 * np.cos(t), 20 * t) for p, t in zip(points, times, strict=True)]
        )
    return lips_of(times, points, np.ones(len(times), bool)), opened


@pytest.mark.parametrize("rate", [22.1, 25, 30, 60])
def test_the_opening_is_measured_at_25_a_second(rate: float) -> None:
    found, _ = talk(rate)
    assert len(found) == pytest.approx(100, abs=3)
    assert found.measures.shape[1] == MEASURES
    wanted = 50 / 100 * 0.05 / UNIT * np.sin(2 * np.pi * 2 * np.arange(len(found)) / 25)
    assert np.abs(found.measures[2:-2, 0] - wanted[2:-2]).max() < 0.15
    assert np.abs(found.measures[:, 5]).max() < 0.05  # the width does not change


def test_a_turning_head_does_not_move_the_lips() -> None:
    still, moving = talk(25)[0], talk(25, moving=True)[0]
    assert np.abs(still.measures - moving.measures)[5:-5].max() < 0.25


def test_wild_points_and_lost_faces_stay_finite() -> None:
    times = np.arange(0, 2, 0.04)
    points = np.stack([face(0.1)] * len(times))
    points[20] *= 1e6
    seen = np.ones(len(times), bool)
    seen[30:35] = False
    found = lips_of(times, points, seen)
    assert np.isfinite(found.measures).all()
    assert np.abs(found.measures).max() <= MOST
    assert not found.seen[30:35].any()
    assert np.isfinite(lips_of(times[:2], np.zeros((2, len(POINTS), 3)), seen[:2]).measures).all()


def test_no_face_and_no_frames_give_nothing() -> None:
    class Never:
        def run(self, calls: object) -> list[dict[str, np.ndarray]]:
            raise AssertionError("nothing is to be asked")

    assert len(read_lips([], np.array([0.0]), np.zeros((1, 5, 2)), Never())) == 0
    assert len(read_lips([], np.zeros(0), np.zeros((0, 5, 2)), Never())) == 0
