"""Outlines and blends over them: they follow the landmarks, stay at the face, and carry the other face with them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data as pictures

from pipelines.image.align import TEMPLATE, template
from training.data.face_blends import (
    face_swapped,
    landmark_blended,
    poisson_blended,
    source_transforms,
    warped_face,
)
from training.data.face_outline import HULLS, OUTLINE, PARTS, WHOLE, hull_mask, outline_in_square, plain_hull
from training.pseudofakes import MASK_MARGIN, MASK_SIDE, mask_in_photo

Array = NDArray[Any]
PHOTO = np.asarray(cv2.resize(pictures.astronaut()[:300, 50:350], (256, 256), interpolation=cv2.INTER_AREA), np.uint8)  # type: ignore[no-untyped-call]
POINTS = np.array([[128, 90], [176, 88], [160, 120], [136, 150], [175, 149]], dtype=np.float32)
#: A face like the template's, 100 px wide, in the middle of 256 x 256.
FRONTAL = (TEMPLATE * 100 + 78).astype(np.float32)


def inside(points: Array, corners: Array) -> bool:
    hull = cv2.convexHull(corners.astype(np.float32))
    return all(cv2.pointPolygonTest(hull, (float(x), float(y)), False) >= 0 for x, y in points)


def test_the_outline_is_a_face_around_the_template() -> None:
    part = {name: OUTLINE[places] for name, places in PARTS.items()}
    assert sum(len(points) for points in part.values()) == len(OUTLINE)
    assert inside(TEMPLATE[:1], part["left_eye"])
    assert inside(TEMPLATE[1:2], part["right_eye"])
    assert inside(TEMPLATE[2:3], part["nose"])
    np.testing.assert_allclose(part["mouth"][0], TEMPLATE[3], atol=0.02)
    for name in ("left_eye", "right_eye", "nose", "mouth", "left_brow", "right_brow"):
        assert inside(part[name], np.concatenate([part["jaw"], part["forehead"]])), name
    assert part["left_brow"][:, 1].max() < part["left_eye"][:, 1].min()
    assert part["forehead"][:, 1].max() < part["left_brow"][:, 1].max()


def test_the_outline_follows_what_a_similarity_leaves() -> None:
    """A template face has the mean outline; a nose that is moved aside takes its points with it, hardly the jaw's."""
    placed = (0.5 + (OUTLINE - 0.5) / MASK_MARGIN) * MASK_SIDE - 0.5
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    np.testing.assert_allclose(outline_in_square((FRONTAL @ turn.T * 1.7).astype(np.float32)), placed, atol=1e-2)
    aside = FRONTAL.copy()
    aside[2, 0] += 12
    moved = (outline_in_square(aside) - placed)[:, 0]
    nose, jaw = moved[PARTS["nose"]].max(), np.abs(moved[PARTS["jaw"]]).max()
    assert nose > 4
    assert jaw < nose / 2


@pytest.mark.parametrize("name", HULLS)
def test_masks_of_every_hull_are_soft_varied_and_where_their_parts_are(name: str) -> None:
    rng = np.random.default_rng(1)
    plain = plain_hull(POINTS, name) > 0.5
    wide = cv2.dilate(plain.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    masks = [hull_mask(POINTS, rng, (name,)) for _ in range(12)]
    for mask in masks:
        assert mask.shape == (MASK_SIDE, MASK_SIDE)
        assert mask.dtype == np.float32
        assert mask.min() >= 0
        assert mask.max() <= 1 + 1e-6
        assert mask[wide].sum() > 0.97 * mask.sum() > 0
        assert ((mask > 0.05) & (mask < 0.95 * mask.max())).any()  # a soft border
    assert {round(float(mask.max()), 2) for mask in masks} <= {0.25, 0.5, 0.75, 1.0}
    shapes = [mask > mask.max() / 2 for mask in masks]
    assert len({int(shape.sum()) for shape in shapes}) > 6  # deformed, not one shape
    assert np.mean([(shape & plain).sum() / plain.sum() for shape in shapes]) > 0.5


def test_every_hull_is_drawn() -> None:
    assert sum(share for _, share in HULLS.values()) == pytest.approx(1)
    rng = np.random.default_rng(0)
    areas = [(mask > mask.max() / 2).sum() for mask in (hull_mask(POINTS, rng) for _ in range(60))]
    assert max(areas) > 12 * min(areas)


def test_transforms_change_colour_and_detail_but_not_the_picture() -> None:
    rng = np.random.default_rng(2)
    grey = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)
    sharper = 0
    for _ in range(20):
        changed = source_transforms(PHOTO, rng)
        assert changed.shape == PHOTO.shape
        assert changed.dtype == np.uint8
        assert 1 < np.abs(changed.astype(int) - PHOTO).mean() < 40
        assert np.corrcoef(cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY).ravel(), grey.ravel())[0, 1] > 0.95
        sharper += cv2.Laplacian(changed, cv2.CV_64F).var() > cv2.Laplacian(PHOTO, cv2.CV_64F).var()
    assert 4 <= sharper <= 16


def test_a_landmark_blended_photo_repeats_and_has_one_untouched_side() -> None:
    """Either the surroundings are the photo's (the face was transformed), or they are not and the face was left."""
    far = np.ones((256, 256), bool)
    far[30:210, 60:240] = False
    kept = 0
    for seed in range(20):
        fake = landmark_blended(PHOTO, POINTS, np.random.default_rng(seed))
        np.testing.assert_array_equal(fake, landmark_blended(PHOTO, POINTS, np.random.default_rng(seed)))
        assert fake.shape == PHOTO.shape
        assert (fake != PHOTO).any()
        kept += bool((fake[far] == PHOTO[far]).all())
    assert 4 <= kept <= 16


def test_a_warped_face_has_its_landmarks_where_the_other_s_are_and_is_no_similarity() -> None:
    """Dots at five landmarks land on the five others, also where no similarity takes all of them there."""
    other = np.full((256, 256, 3), 40, np.uint8)
    given = FRONTAL.copy()
    given[2] += (-9, -5)
    given[3:] += (7, 8)
    for x, y in given:
        cv2.circle(other, (round(float(x)), round(float(y))), 3, (250, 250, 250), -1)
    wanted = (FRONTAL - 128) * 0.8 + 120
    face, covered = warped_face(other, given, wanted, 256, 256)
    for x, y in wanted:
        area = face[round(float(y)) - 8 : round(float(y)) + 9, round(float(x)) - 8 : round(float(x)) + 9, 0].astype(
            float
        )
        weights = np.clip(area - 60, 0, None)
        row, column = (weights.sum(axis=axis) @ np.arange(17) / weights.sum() for axis in (1, 0))
        assert np.hypot(row - 8, column - 8) < 1.8
    assert covered[100:150, 100:140].all()
    assert not covered[:20].any()


def test_a_much_larger_face_is_averaged_before_it_is_warped() -> None:
    checks = np.indices((512, 512)).sum(axis=0) % 2 * 255
    other = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    face, covered = warped_face(other, FRONTAL * 2, (FRONTAL - 128) / 2 + 128, 256, 256)
    assert face[covered].std() < 40  # aliasing would leave 127


def test_poisson_blending_keeps_the_surroundings_and_takes_the_gradients() -> None:
    mask = mask_in_photo(plain_hull(FRONTAL, "face"), FRONTAL, 256, 256)
    under = np.full((256, 256, 3), (90, 120, 60), np.uint8)
    over = np.full((256, 256, 3), 200, np.uint8)
    cv2.circle(over, (128, 128), 8, (140, 140, 140), -1)
    joined = poisson_blended(over, under, mask)
    assert joined is not None
    outside = mask[..., 0] < 0.5
    np.testing.assert_array_equal(joined[outside], under[outside])
    assert np.abs(joined[115, 100].astype(int) - under[0, 0]).max() < 25  # not 200: its own level is gone
    assert joined[128, 128].astype(int).mean() < joined[115, 100].astype(int).mean() - 30  # the dot is there, in place


@pytest.mark.parametrize(("x", "y"), [(-60, -60), (120, 0), (0, 130), (-95, 40), (125, 125)])
def test_faces_that_the_border_cuts_are_swapped_all_the_same(x: int, y: int) -> None:
    """OpenCV refuses masks that touch the border; ours keep away from it, and too little of a face is alpha blended."""
    points = FRONTAL + np.array([x, y], np.float32)
    mask = mask_in_photo(plain_hull(points, "face"), points, 256, 256)
    joined = poisson_blended(PHOTO[::-1], PHOTO, mask)
    assert joined is None or joined.shape == PHOTO.shape
    for seed in range(6):
        assert face_swapped(PHOTO, points, PHOTO[:, ::-1], FRONTAL, np.random.default_rng(seed)).shape == PHOTO.shape
    assert poisson_blended(PHOTO, PHOTO, np.zeros((256, 256, 1), np.float32)) is None


def test_a_swapped_face_takes_the_colour_of_the_photo_and_leaves_the_corners() -> None:
    green = np.zeros_like(PHOTO)
    green[..., 1] = np.random.default_rng(6).integers(100, 255, PHOTO.shape[:2])
    fakes = [face_swapped(PHOTO, POINTS, green, POINTS + 3, np.random.default_rng(seed)) for seed in range(10)]
    for fake in fakes:
        np.testing.assert_array_equal(fake[:8, :8], PHOTO[:8, :8])
        assert fake[95:145, 135:170].mean(axis=(0, 1)).min() > 40
        assert np.abs(fake.astype(int) - PHOTO).mean() > 0.3
    np.testing.assert_array_equal(fakes[3], face_swapped(PHOTO, POINTS, green, POINTS + 3, np.random.default_rng(3)))
    assert set(WHOLE) <= set(HULLS)


def test_both_manners_of_blending_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.data import face_blends

    asked = []
    monkeypatch.setattr(face_blends, "poisson_blended", lambda *_: asked.append(1))
    for seed in range(40):
        face_swapped(PHOTO, POINTS, PHOTO, POINTS, np.random.default_rng(seed))
    assert 10 <= len(asked) <= 30


def test_the_template_s_square_shows_the_whole_outline() -> None:
    placed = outline_in_square(template(160, 1.3).astype(np.float32))
    assert placed.min() > 8
    assert placed.max() < MASK_SIDE - 8
