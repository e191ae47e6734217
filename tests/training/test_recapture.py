"""Video frames and screenshots: worse at worse quality, in place, and the same for both of a pair."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data as pictures

from training.augment import Damage, apply_damage, draw_damage
from training.data.recapture import VIDEO_CODECS, Screenshot, draw_screenshot, draw_video, screenshot, video_frame

Array = NDArray[Any]
PHOTO = np.asarray(cv2.resize(pictures.astronaut()[:300, 50:350], (256, 256), interpolation=cv2.INTER_AREA), np.uint8)  # type: ignore[no-untyped-call]
POINTS = np.array([[128, 90], [176, 88], [160, 120], [136, 150], [175, 149]], dtype=np.float32)


@pytest.mark.parametrize("codec", VIDEO_CODECS)
@pytest.mark.parametrize("shape", [(256, 256), (101, 77)])
def test_a_video_frame_keeps_its_size_and_loses_more_at_worse_quality(codec: str, shape: tuple[int, int]) -> None:
    photo = PHOTO[: shape[0], : shape[1]]
    best, worst = VIDEO_CODECS[codec].qualities
    frames = [video_frame(photo, codec, quality) for quality in (best, (best + worst) // 2, worst)]
    assert all(frame.shape == photo.shape and frame.dtype == np.uint8 for frame in frames)
    losses = [np.abs(frame.astype(int) - photo).mean() for frame in frames]
    assert losses == sorted(losses)
    assert losses[0] > 0.2
    assert losses[2] < 12
    np.testing.assert_array_equal(frames[0], video_frame(photo, codec, best))


def test_every_codec_and_a_range_of_qualities_are_drawn() -> None:
    drawn = [draw_video(np.random.default_rng(seed)) for seed in range(200)]
    assert {name for name, _ in drawn} == set(VIDEO_CODECS)
    for name, codec in VIDEO_CODECS.items():
        qualities = [quality for drawn_name, quality in drawn if drawn_name == name]
        assert codec.qualities[0] <= min(qualities) < max(qualities) <= codec.qualities[1]


def test_a_plain_screenshot_is_the_photo() -> None:
    seen, points = screenshot(PHOTO, POINTS, Screenshot())
    np.testing.assert_array_equal(seen, PHOTO)
    np.testing.assert_allclose(points, POINTS)


@pytest.mark.parametrize("zoom", [0.6, 1.37, 1.8])
def test_landmarks_go_with_the_pixels_to_the_other_grid(zoom: float) -> None:
    photo = np.zeros((120, 140, 3), np.uint8)
    photo[58:63, 68:73] = 255
    points = np.array([[70, 60], [100, 60], [85, 75], [72, 95], [98, 95]], np.float32)
    seen, moved = screenshot(photo, points, Screenshot(zoom=zoom, offset=(0.4, 0.7)))
    assert seen.shape[:2] == (round(120 * zoom), round(140 * zoom))
    weights = seen[..., 0].astype(float)
    found = weights.sum(axis=0) @ np.arange(seen.shape[1]), weights.sum(axis=1) @ np.arange(seen.shape[0])
    assert np.array(found) / weights.sum() == pytest.approx(moved[0], abs=0.35)


def test_each_part_of_a_screenshot_does_something() -> None:
    plain = PHOTO.astype(int)
    for shot in (
        Screenshot(offset=(0.5, 0.5)),
        Screenshot(gains=(1.05, 1.0, 0.95)),
        Screenshot(gamma=1.1),
        Screenshot(quality=60),
        Screenshot(cursor=(0.9, 0.2)),
        *(Screenshot(edge=(float(side), 0.6), edge_grey=7) for side in range(4)),
    ):
        assert (screenshot(PHOTO, POINTS, shot)[0] != plain).any(), shot
    seen, _ = screenshot(PHOTO, POINTS, Screenshot(edge=(2.0, 0.5), edge_grey=7))
    assert (seen[:, -5:] == 7).all()
    np.testing.assert_array_equal(seen[:, :150], PHOTO[:, :150])
    untouched, _ = screenshot(PHOTO, POINTS, Screenshot(edge=(0.0, 5.0)))  # a border far outside the photo
    np.testing.assert_array_equal(untouched, PHOTO)


def test_screenshots_vary_and_repeat() -> None:
    shots = [draw_screenshot(np.random.default_rng(seed)) for seed in range(100)]
    assert shots[3] == draw_screenshot(np.random.default_rng(3))
    assert 5 < sum(bool(shot.cursor) for shot in shots) < 30
    assert 5 < sum(bool(shot.edge) for shot in shots) < 40
    assert 30 < sum(shot.quality > 0 for shot in shots) < 70
    assert min(shot.zoom for shot in shots) < 0.8
    assert max(shot.zoom for shot in shots) > 1.5


def test_both_are_damage_and_do_the_same_to_both_of_a_pair() -> None:
    plain = apply_damage(PHOTO, POINTS, Damage(), 96, 1.3).astype(int)
    for damage in (Damage(video=("h264", 36)), Damage(screenshot=Screenshot(zoom=0.7, quality=60, cursor=(0.5, 0.5)))):
        crop = apply_damage(PHOTO, POINTS, damage, 96, 1.3)
        np.testing.assert_array_equal(crop, apply_damage(PHOTO.copy(), POINTS, damage, 96, 1.3))
        assert np.abs(crop - plain).mean() > 0.5
        assert np.abs(crop - plain).mean() < 12  # still the same crop of the same place


def test_shares_of_zero_draw_nothing_and_others_are_met() -> None:
    for seed in range(30):
        old, new = np.random.default_rng(seed), np.random.default_rng(seed)
        assert draw_damage(old, 0.2) == draw_damage(new, 0.2, 0.0, 0.0)
        assert old.integers(2**31) == new.integers(2**31)
    rng = np.random.default_rng(0)
    drawn = [draw_damage(rng, 0.0, 0.3, 0.2) for _ in range(300)]
    assert 60 < sum(damage.video is not None for damage in drawn) < 120
    assert 35 < sum(damage.screenshot is not None for damage in drawn) < 90
    clean = [draw_damage(rng, 1.0, 1.0, 1.0) for _ in range(20)]
    assert all(damage.video is None and damage.screenshot is None for damage in clean)


def test_a_small_face_is_not_shrunk_below_what_is_judged() -> None:
    small = (POINTS - 128) * 0.4 + 128
    wide = apply_damage(PHOTO, small, Damage(screenshot=Screenshot(zoom=0.3)), 96, 1.3)
    kept = apply_damage(PHOTO, small, Damage(screenshot=Screenshot(zoom=1.0)), 96, 1.3)
    assert np.abs(wide.astype(int) - kept).mean() < 6
