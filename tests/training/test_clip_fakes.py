"""Pseudo-fakes of clips: what changes, what stays, and that they repeat."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data as pictures

from pipelines.image.align import template
from training.data.clip_fakes import KINDS, blending_jitter, clip_fake, identity_flicker, mouth_mask, mouth_out_of_step
from training.data.manifest import Row
from training.data.tracks import TrackCache

Array = NDArray[Any]
SIDE, FRAMES = 160, 16
_WHOLE = np.asarray(pictures.astronaut(), np.uint8)  # type: ignore[no-untyped-call]
FACE = np.asarray(cv2.resize(_WHOLE[20:220, 125:325], (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
POINTS = np.broadcast_to(template(SIDE, 1.3), (FRAMES, 5, 2)).astype(np.float32)
MASK = np.r_[np.ones(14, np.uint8), np.zeros(2, np.uint8)]


def speaking() -> Array:
    """A face whose mouth region gets a new grey in every frame; the rest does not change."""
    crops = np.repeat(FACE[None], FRAMES, axis=0)
    for place in range(FRAMES):
        x, y = POINTS[place][3:].mean(axis=0)
        cv2.circle(crops[place], (round(x), round(y)), 9, (10 * place + 20,) * 3, -1)
    crops[14:] = 0
    return crops


@pytest.fixture
def cache() -> TrackCache:
    crops = np.stack([speaking(), speaking()[:, :, ::-1], 255 - speaking(), speaking()])
    crops[:, 14:] = 0
    rows = [Row(f"{k}.mp4", int(k == 3), "s", (), "", "no", "video") for k in range(4)]
    return TrackCache(
        crops, np.stack([MASK] * 4), np.stack([POINTS] * 4), np.ones(4, np.float32), np.array([0, 0, 2, 3]), rows
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_fake_repeats_keeps_empty_frames_and_the_surroundings(cache: TrackCache, kind: str) -> None:
    reals = np.array([0, 1, 2])
    fake, made = clip_fake(cache, 0, reals, np.random.default_rng(5), kind)
    again, _ = clip_fake(cache, 0, reals, np.random.default_rng(5), kind)
    another, _ = clip_fake(cache, 0, reals, np.random.default_rng(6), kind)
    assert made == kind
    assert (fake == again).all()
    assert (fake != another).any()
    assert not fake[14:].any()
    changed = np.abs(fake[:14].astype(int) - cache.crops[0][:14]).max(axis=-1)
    assert (changed.max(axis=(1, 2)) > 8).mean() > 0.5
    assert changed[:, :8].max() <= 2  # above the hair
    assert (cache.crops[0] == speaking()).all()  # the real one is not touched


def test_jitter_trembles_between_frames_where_the_real_one_rests(cache: TrackCache) -> None:
    still = np.repeat(FACE[None], FRAMES, axis=0)
    trembling = []
    for seed in range(6):
        fake = blending_jitter(still, POINTS, np.ones(FRAMES, np.uint8), np.random.default_rng(seed))
        trembling.append(np.abs(np.diff(fake.astype(float), axis=0))[:, 50:120, 50:110].mean())
    assert min(trembling) > 0.3


def test_flicker_takes_another_cluster_and_its_strength_comes_and_goes(cache: TrackCache) -> None:
    still = np.repeat(FACE[None], FRAMES, axis=0)
    full = np.ones(FRAMES, np.uint8)
    dark = np.zeros_like(still)
    spreads = []
    for seed in range(6):
        fake = identity_flicker(still, POINTS, full, dark, POINTS, full, np.random.default_rng(seed))
        share = np.abs(fake.astype(float) - FACE).mean(axis=(1, 2, 3))
        spreads.append(share.std() / (share.mean() + 1e-9))
    assert np.median(spreads) > 0.15
    kinds = {clip_fake(cache, 0, np.array([0, 1]), np.random.default_rng(1), "identity_flicker")[1]}
    assert kinds == {"blending_jitter"}  # nobody else is there: 1 shares the cluster of 0
    nobody = identity_flicker(still, POINTS, full, dark, POINTS, 0 * full, np.random.default_rng(0))
    assert (nobody == still).all()


def test_the_mouth_comes_from_another_moment_and_the_rest_stays() -> None:
    crops = speaking()
    fake = mouth_out_of_step(crops, POINTS, MASK, np.random.default_rng(3))
    x, y = np.round(POINTS[0][3:].mean(axis=0)).astype(int)
    assert (np.abs(fake[:14, y, x, 0].astype(int) - crops[:14, y, x, 0]) >= 5).all()
    outside = mouth_mask(POINTS[0], SIDE, 0.05)[..., 0] < 1e-3
    assert outside[: round(float(POINTS[0][:2, 1].max()))].all()  # the eyes
    assert (fake[:14][:, outside] == crops[:14][:, outside]).all()


def test_fakes_of_fakes_and_unknown_kinds_are_refused(cache: TrackCache) -> None:
    with pytest.raises(ValueError, match="reals"):
        clip_fake(cache, 3, np.array([0]), np.random.default_rng(0))
    with pytest.raises(ValueError, match="none of"):
        clip_fake(cache, 0, np.array([0]), np.random.default_rng(0), "blur")
