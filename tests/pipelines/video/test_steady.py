"""Landmarks between and beyond the moments of a sparse, trembling look at a moving head."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.image.align import template
from pipelines.video.sound import on_picture_clock
from pipelines.video.steady import landmarks_at

FACE = template(120, 1.0)


def head(time: float) -> np.ndarray:
    """Landmarks of a head that nods and sways, [5, 2]."""
    angle, centre = 0.15 * np.sin(2 * time), np.array([160 + 40 * np.sin(time), 120 + 10 * np.cos(time)])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (FACE - 60) @ turn.T + centre


@pytest.mark.parametrize(("rate", "most"), [(5, 4.0), (12.5, 2.0), (25, 1.5)])
def test_a_sparse_look_follows_the_head_at_every_frame(rate: float, most: float) -> None:
    looks, moments = np.arange(0, 3, 1 / rate), np.arange(0, 2.8, 0.04)
    rng = np.random.default_rng(0)
    landmarks = np.stack([head(float(t)) for t in looks]) + rng.normal(0, 0.5, (len(looks), 5, 2))
    found, seen = landmarks_at(looks, landmarks, moments)
    assert found.shape == (70, 5, 2)
    assert seen.all()
    truth = np.stack([head(float(t)) for t in moments])
    assert np.linalg.norm(found - truth, axis=2).max() < most


def test_a_cut_and_a_gap_are_no_movement() -> None:
    looks = np.arange(0, 2, 0.2)
    landmarks = np.stack([head(float(t)) for t in looks])
    landmarks[5:] += 150.0
    found, seen = landmarks_at(looks, landmarks, np.array([0.8, 1.0]))
    assert seen.all()
    assert np.linalg.norm(found[1] - found[0], axis=1).min() > 120  # each side of the cut keeps its own place
    gap = np.delete(looks, [4, 5, 6])
    _, seen = landmarks_at(gap, np.delete(landmarks, [4, 5, 6], axis=0), np.array([0.4, 1.0, 1.6, 2.5]))
    assert seen.tolist() == [True, False, True, False]


def test_one_look_and_coinciding_points_stay_finite() -> None:
    found, seen = landmarks_at(np.array([0.5]), head(0.0)[None], np.array([0.0, 0.5, 9.0]))
    np.testing.assert_allclose(found, np.stack([head(0.0)] * 3))
    assert seen.tolist() == [False, True, False]
    found, _ = landmarks_at(np.array([0.0, 0.2]), np.zeros((2, 5, 2)), np.array([0.1]))
    assert np.isfinite(found).all()


def test_sound_is_put_on_the_clock_of_the_picture() -> None:
    samples = np.arange(1, 16_001, dtype=np.float32)
    assert on_picture_clock(samples, 0.5)[:8000].tolist() == [0.0] * 8000
    assert on_picture_clock(samples, 0.5)[8000] == 1.0
    assert on_picture_clock(samples, -0.25)[0] == 4001.0
    assert len(on_picture_clock(samples, 1e9)) == 16_000 + 60 * 16_000
