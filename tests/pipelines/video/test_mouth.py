"""The mouth's crop stays on the mouth, whatever the head, the frame rate and the detector do."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipelines.image.align import template
from pipelines.video.mouth import RATE, SIDE, Mouths, cut_mouths, mouth_transforms
from pipelines.video.sound import on_picture_clock
from pipelines.video.source import Frame

FACE = template(120, 1.0)


def head(time: float, opened: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A frame with a moving head, and its landmarks: a dark bar is the mouth, of a height that opens."""
    angle, centre = 0.15 * np.sin(2 * time), np.array([160 + 40 * np.sin(time), 120 + 10 * np.cos(time)])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (FACE - 60) @ turn.T + centre
    pixels = np.full((240, 320, 3), 180, np.uint8)
    left, right = points[3], points[4]
    thick = max(1, round(3 + 12 * opened))
    cv2.line(pixels, tuple(int(v) for v in np.rint(left)), tuple(int(v) for v in np.rint(right)), (20, 20, 20), thick)
    return pixels, points.astype(np.float32)


def frames(moments: np.ndarray, opened: np.ndarray | None = None) -> list[Frame]:
    shares = np.zeros(len(moments)) if opened is None else opened
    return [Frame(float(t), i, head(float(t), float(o))[0]) for i, (t, o) in enumerate(zip(moments, shares))]


@pytest.mark.parametrize("rate", [5, 12.5, 25])
def test_the_mouth_stays_in_the_middle_while_the_head_moves(rate: float) -> None:
    moments = np.arange(0, 3, 0.04)
    looks = np.arange(0, 3, 1 / rate)
    rng = np.random.default_rng(0)
    landmarks = np.stack([head(float(t))[1] for t in looks]) + rng.normal(0, 0.5, (len(looks), 5, 2))
    found = cut_mouths(frames(moments), looks, landmarks)
    assert found.crops.shape == (75, SIDE, SIDE)
    assert found.seen[3:-6].all()
    dark = np.array([np.argwhere(crop < 100).mean(axis=0) for crop in found.crops])
    assert np.abs(dark - (SIDE - 1) / 2).max() < 5
    assert dark[5:-8].std(axis=0).max() < 1.3


@pytest.mark.parametrize("rate", [22.1, 24, 30, 60])
def test_any_frame_rate_gives_25_crops_a_second_in_time(rate: float) -> None:
    moments = np.arange(0, 4, 1 / rate)
    opened = 0.5 + 0.5 * np.sin(2 * np.pi * 2 * moments)
    landmarks = np.stack([head(float(t))[1] for t in moments])
    found = cut_mouths(frames(moments, opened), moments, landmarks)
    assert len(found) == pytest.approx(4 * RATE, abs=2)
    dark = (found.crops[:95] < 100).mean(axis=(1, 2))
    wanted = np.sin(2 * np.pi * 2 * np.arange(95) / RATE)
    lags = [float(np.corrcoef(np.roll(wanted, lag)[5:-5], dark[5:-5])[0, 1]) for lag in range(-3, 4)]
    assert int(np.argmax(lags)) == 3


def test_a_cut_and_a_gap_are_no_movement() -> None:
    looks = np.arange(0, 2, 0.2)
    landmarks = np.stack([head(float(t))[1] for t in looks])
    landmarks[5:] += 150.0
    _, seen = mouth_transforms(looks, landmarks, np.array([0.5, 0.8, 0.9, 1.5]))
    assert seen.tolist() == [True, True, True, True]
    matrices, _ = mouth_transforms(looks, landmarks, np.array([0.8, 1.0]))
    apart = np.linalg.norm(matrices[0][:, 2] - matrices[1][:, 2])
    assert apart > 50  # each side of the cut keeps its own place
    gap = np.delete(looks, [4, 5, 6])
    _, seen = mouth_transforms(gap, np.delete(landmarks, [4, 5, 6], axis=0), np.array([0.4, 1.0, 1.6]))
    assert seen.tolist() == [True, False, True]


def test_one_frame_one_landmark_and_none() -> None:
    pixels, points = head(0.0)
    one = cut_mouths([Frame(0.5, 0, pixels)], np.array([0.5]), points[None])
    assert len(one) == 1
    assert one.start == 0.5
    for nothing in (
        cut_mouths([], np.array([0.5]), points[None]),
        cut_mouths([Frame(0.0, 0, pixels)], np.zeros(0), np.zeros((0, 5, 2))),
    ):
        assert isinstance(nothing, Mouths)
        assert len(nothing) == 0


def test_smaller_frames_show_the_same_mouth() -> None:
    moments = np.arange(0, 1, 0.04)
    landmarks = np.stack([head(float(t))[1] for t in moments])
    whole = cut_mouths(frames(moments), moments, landmarks)
    half = [Frame(f.time, f.index, cv2.resize(f.pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)) for f in frames(moments)]  # fmt: skip # noqa: E501
    small = cut_mouths(half, moments, landmarks, scale=0.5)
    dark = [np.array([np.argwhere(c < 110).mean(axis=0) for c in found.crops]) for found in (whole, small)]
    assert np.abs(dark[0] - dark[1]).mean() < 0.7


def test_sound_is_put_on_the_clock_of_the_picture() -> None:
    samples = np.arange(1, 16_001, dtype=np.float32)
    assert on_picture_clock(samples, 0.5)[:8000].tolist() == [0.0] * 8000
    assert on_picture_clock(samples, 0.5)[8000] == 1.0
    assert on_picture_clock(samples, -0.25)[0] == 4001.0
    assert len(on_picture_clock(samples, 1e9)) == 16_000 + 60 * 16_000
