"""Damage and pseudo-fakes: repeatable, alike for both of a pair, and changed only where they should be."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage import data as pictures

from pipelines.image.align import align_faces, template
from training.augment import Damage, apply_damage, draw_damage, recode
from training.pseudofakes import (
    cross_blended,
    face_mask,
    mask_in_photo,
    part_replaced,
    self_blended,
)

PHOTO = np.asarray(cv2.resize(pictures.astronaut()[:300, 50:350], (256, 256), interpolation=cv2.INTER_AREA), np.uint8)  # type: ignore[no-untyped-call]
POINTS = np.array([[128, 90], [176, 88], [160, 120], [136, 150], [175, 149]], dtype=np.float32)


def test_no_damage_is_serving_s_own_crop() -> None:
    """Training and serving share one alignment: without damage the crops are the same bytes."""
    np.testing.assert_array_equal(
        apply_damage(PHOTO, POINTS, Damage(), 160, 1.3), align_faces(PHOTO, POINTS[None], 160, 1.3)[0]
    )


def test_the_same_damage_does_the_same_to_both_of_a_pair() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        damage = draw_damage(rng)
        first = apply_damage(PHOTO, POINTS, damage, 96, 1.3, 60.0)
        np.testing.assert_array_equal(first, apply_damage(PHOTO.copy(), POINTS, damage, 96, 1.3, 60.0))
        assert first.shape == (96, 96, 3)
        assert first.dtype == np.uint8


def test_a_clean_draw_only_moves_and_mirrors() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        damage = draw_damage(rng, clean=1.0)
        assert replace(damage, flip=False, turn=0.0, scale=1.0, shift=(0.0, 0.0)) == Damage()


def test_a_fine_face_is_brought_to_the_resolution_of_its_partner() -> None:
    """A face of twice the size loses its detail, so that resolution is no cue."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    fine = apply_damage(noise, POINTS, Damage(), 128, 1.3)
    matched = apply_damage(noise, POINTS, Damage(), 128, 1.3, 50.0)
    assert matched.std() < 0.7 * fine.std()


def test_each_part_of_a_damage_does_something() -> None:
    plain = apply_damage(PHOTO, POINTS, Damage(), 96, 1.3).astype(int)
    changes = [
        {"flip": True},
        {"turn": 20.0},
        {"scale": 1.2},
        {"shift": (0.1, 0.0)},
        {"resolution": 0.5},
        {"gains": (1.2, 1.0, 0.8)},
        {"gamma": 1.5},
        {"grey": True},
        {"blur": 1.2},
        {"noise": 8.0, "noise_seed": 4},
        {"codecs": ((".jpg", 30),)},
        {"codecs": ((".webp", 40),)},
        {"box": (0.2, 0.2, 0.6, 0.6), "box_grey": 5},
    ]
    for change in changes:
        damaged = apply_damage(PHOTO, POINTS, Damage(**change), 96, 1.3).astype(int)  # type: ignore[arg-type]
        assert np.abs(damaged - plain).mean() > 0.5, change
    flipped = apply_damage(PHOTO, POINTS, Damage(flip=True), 96, 1.3)
    np.testing.assert_array_equal(flipped[:, ::-1], plain)


def test_shift_and_turn_move_the_crop_as_said() -> None:
    points = (template(64, 1.3) + 30).astype(np.float32)
    photo = np.zeros((140, 140, 3), np.uint8)
    photo[60:64, 60:64] = 255  # the centre of the crop
    crop = apply_damage(photo, points, Damage(shift=(0.25, 0.0)), 64, 1.3)
    row, column = np.argwhere(crop[..., 0] > 200).mean(axis=0)
    assert (row, column) == pytest.approx((31.5, 47.5), abs=0.6)


@pytest.mark.parametrize("kind", [".jpg", ".webp"])
def test_recoding_loses_more_at_lower_quality(kind: str) -> None:
    losses = [np.abs(recode(PHOTO, kind, q).astype(int) - PHOTO).mean() for q in (95, 60, 20)]
    assert losses == sorted(losses)
    assert losses[0] > 0


def test_masks_are_soft_inside_the_square_and_follow_the_face() -> None:
    rng = np.random.default_rng(2)
    for _ in range(30):
        mask = face_mask(rng)
        assert mask.shape == (128, 128)
        assert 0.3 < mask.max() <= 1.0 + 1e-6
        assert mask.min() >= 0.0
        assert mask[[0, -1], :].max() < 0.2
        placed = mask_in_photo(mask, POINTS, 256, 256)[..., 0]
        weights = placed / placed.sum()
        centre = (np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=2) * weights[..., None]).sum(axis=(0, 1))
        assert np.linalg.norm(centre - POINTS.mean(axis=0)) < 60


def test_a_self_blended_photo_is_changed_at_the_face_or_around_it_but_not_both() -> None:
    """One side of the blending is the photo itself, or nearly: the two halves of the picture differ in one of them."""
    rng = np.random.default_rng(3)
    changed = 0
    for _ in range(20):
        fake = self_blended(PHOTO, POINTS, rng)
        assert fake.shape == PHOTO.shape
        assert fake.dtype == np.uint8
        changed += int(np.abs(fake.astype(int) - PHOTO).mean() > 0.2)
        assert np.abs(fake.astype(int) - PHOTO).mean() < 40
    assert changed >= 18


def test_a_replaced_part_leaves_the_corners_alone() -> None:
    rng = np.random.default_rng(4)
    for _ in range(10):
        fake = part_replaced(PHOTO, np.zeros_like(PHOTO), POINTS, rng)
        np.testing.assert_array_equal(fake[:8, :8], PHOTO[:8, :8])
        assert (fake != PHOTO).any()


def test_a_cross_blended_face_takes_the_colour_of_the_photo() -> None:
    rng = np.random.default_rng(5)
    green = np.zeros_like(PHOTO)
    green[..., 1] = np.random.default_rng(6).integers(100, 255, PHOTO.shape[:2])
    fakes = [cross_blended(PHOTO, POINTS, green, POINTS + 3, rng) for _ in range(8)]
    face = np.s_[90:150, 130:175]
    for fake in fakes:
        np.testing.assert_array_equal(fake[:8, :8], PHOTO[:8, :8])
        # The donor has no red and no blue at all: what is there now was matched to the photo.
        assert fake[face].mean(axis=(0, 1)).min() > 60
    assert any(np.abs(fake.astype(int) - PHOTO).mean() > 1 for fake in fakes)
