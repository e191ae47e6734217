"""Alignment: landmarks land on the template, crops neither alias nor drift, transforms invert."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.image.align import (
    TEMPLATE,
    align_each,
    align_faces,
    face_sizes,
    inverse_transforms,
    similarities,
    template,
    warp_crop,
)

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def moved_template(scale: float, degrees: float, shift: tuple[float, float], size: int = 160) -> NDArray[np.float32]:
    """Landmarks of a face whose crop of margin 1.3 is known: the template scaled, turned and moved."""
    points = template(size, 1.3)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(points @ turn.T * scale + np.array(shift), dtype=np.float32)


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 0.0), (0.3, 20.0), (2.5, -75.0), (1.0, 180.0)])
def test_transforms_bring_the_landmarks_onto_the_template(scale: float, degrees: float) -> None:
    landmarks = moved_template(scale, degrees, (40.0, -7.0))[None]
    matrix = similarities(landmarks, 160, 1.3)[0]
    moved = landmarks[0] @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(moved, template(160, 1.3), atol=1e-3)


def test_the_fit_is_the_least_squares_similarity() -> None:
    landmarks = moved_template(0.7, 10.0, (3.0, 5.0)) + RNG.normal(0, 2, (5, 2)).astype(np.float32)
    assert landmarks.shape == (5, 2)
    matrix = similarities(landmarks[None], 160, 1.3)[0]
    goal = template(160, 1.3)

    def error(candidate: Array) -> float:
        return float(((landmarks @ candidate[:, :2].T + candidate[:, 2] - goal) ** 2).sum())

    best = error(matrix)
    for real, imaginary, x, y in np.vstack([np.eye(4), -np.eye(4)]) * 1e-3:
        change = np.array([[real, -imaginary, x], [imaginary, real, y]])
        assert error(matrix + change) > best


def test_many_faces_give_what_each_gives_alone() -> None:
    faces = np.stack([moved_template(0.2 + 0.1 * i, 7.0 * i, (10.0 * i, 5.0)) for i in range(6)])
    photo = RNG.integers(0, 256, (200, 220, 3), dtype=np.uint8)
    together = align_faces(photo, faces, 64, 1.3)
    alone = np.concatenate([align_faces(photo, face[None], 64, 1.3) for face in faces])
    np.testing.assert_array_equal(together, alone)
    assert align_faces(photo, faces[:0], 64, 1.3).shape == (0, 64, 64, 3)


def test_inverse_transforms_lead_back() -> None:
    matrices = similarities(moved_template(0.4, 33.0, (9.0, 2.0))[None], 96, 1.7)
    back = inverse_transforms(matrices)[0]
    points = RNG.uniform(0, 96, (10, 2))
    there = points @ back[:, :2].T + back[:, 2]
    np.testing.assert_allclose(there @ matrices[0, :, :2].T + matrices[0, :, 2], points, atol=1e-6)


def test_face_size_is_the_side_of_the_photo_square_of_a_tight_crop() -> None:
    assert face_sizes((template(112, 1.0) * 2)[None])[0] == pytest.approx(224)
    assert face_sizes(moved_template(1.0, 45.0, (0.0, 0.0))[None])[0] == pytest.approx(160 / 1.3)


def test_an_unmoved_crop_is_the_photo_itself() -> None:
    photo = RNG.integers(0, 256, (160, 160, 3), dtype=np.uint8)
    landmarks = template(160, 1.3)[None]
    np.testing.assert_array_equal(align_faces(photo, landmarks, 160, 1.3)[0], photo)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_a_shrinking_crop_does_not_alias(factor: int) -> None:
    """Stripes finer than the crop's pixels must average to grey, in the place where they were."""
    side = 160 * factor
    stripes = np.zeros((side, side, 3), np.uint8)
    stripes[:, ::2] = 255
    landmarks = ((template(160, 1.3) + 0.5) * factor - 0.5)[None]
    crop = align_faces(stripes, landmarks, 160, 1.3)[0].astype(float)
    assert np.abs(crop[8:-8, 8:-8] - 127.5).max() <= 44  # a plain bilinear warp gives 0 and 255
    assert crop[8:-8, 8:-8].mean() == pytest.approx(127.5, abs=2)


def test_a_shrinking_crop_keeps_its_place() -> None:
    """A bright square of the photo stays where the transform says, to a tenth of a pixel."""
    photo = np.zeros((700, 700, 3), np.uint8)
    photo[300:400, 200:300] = 255
    matrix = np.array([[0.137, 0.0, 4.3], [0.0, 0.137, -2.1]])
    crop = warp_crop(photo, matrix, 96).astype(float)[..., 0]
    moments = cv2.moments(crop)
    centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    np.testing.assert_allclose(centre, matrix[:, :2] @ [249.5, 349.5] + matrix[:, 2], atol=0.1)


def test_the_border_is_replicated() -> None:
    photo = np.full((60, 60, 3), 90, np.uint8)
    crop = align_faces(photo, (template(64, 1.3) + 40)[None], 64, 1.3)[0]
    assert (crop == 90).all()


def test_landmarks_that_coincide_give_a_finite_crop() -> None:
    photo = RNG.integers(0, 256, (50, 50, 3), dtype=np.uint8)
    crop = align_faces(photo, np.full((1, 5, 2), 20.0, np.float32), 32, 1.3)
    assert crop.shape == (1, 32, 32, 3)


@pytest.mark.parametrize(("size", "margin"), [(0, 1.3), (160, 0.0), (160, float("nan"))])
def test_impossible_crops_are_refused(size: int, margin: float) -> None:
    with pytest.raises(ValueError, match="crop needs"):
        template(size, margin)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[n, 5, 2\]"):
        similarities(np.zeros((5, 2)), 160, 1.3)


def test_crops_at_one_scale_are_the_middle_of_the_widest() -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    pixels = cv2.GaussianBlur(pixels, (0, 0), 2.0)
    points = (TEMPLATE[None] * 150 + [[120.0, 90.0]]).astype(np.float32)
    shapes = [(160, 1.3), (176, 176 * 1.9 / 192), (192, 1.9)]
    made = align_each(pixels, points, shapes)
    assert set(made) == set(shapes)
    np.testing.assert_array_equal(made[shapes[1]], made[shapes[2]][:, 8:-8, 8:-8])
    for size, margin in shapes:
        alone = align_faces(pixels, points, size, margin)
        apart = np.abs(made[size, margin].astype(int) - alone.astype(int))
        assert apart.mean() < 0.5, "within what the reduction of the photo rounds"
        assert made[size, margin].flags.c_contiguous
    other = align_each(pixels, points, [(160, 1.3), (176, 1.9)])
    np.testing.assert_array_equal(other[160, 1.3], align_faces(pixels, points, 160, 1.3))
