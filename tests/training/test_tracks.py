"""Tracks of clips: which face is taken, at which moments, and what the cache keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data as pictures

from pipelines.image.align import template
from pipelines.video.frame import Frame
from pipelines.video.source import VideoSource
from training.data.layout import DataError, read_data
from training.data.tracks import SIDE, build_tracks, find_tracks, load_tracks, main_track, sample_frames
from training.prepare import detector

Write = Callable[..., Path]
_WHOLE = np.asarray(pictures.astronaut(), np.uint8)  # type: ignore[no-untyped-call]
FACE = np.asarray(cv2.resize(_WHOLE[:300, 50:350], (256, 256), interpolation=cv2.INTER_AREA), np.uint8)


def nodding(
    count: int, fps: float = 25, still: bool = False, canvas: tuple[int, int] = (256, 256)
) -> list[NDArray[np.uint8]]:
    """A face that nods and turns; with ``still`` a larger still of it stands burnt in at the right."""
    frames = []
    for k in range(count):
        swing = np.sin(2 * np.pi * k / fps)
        matrix = cv2.getRotationMatrix2D((128, 128), 8 * swing, 0.9 + 0.05 * swing)
        matrix[:, 2] += (0, 6 * swing)
        moved = cv2.warpAffine(FACE, matrix, canvas, borderMode=cv2.BORDER_REPLICATE)
        light = np.clip(moved.astype(float) * (1 + 0.08 * swing), 0, 255).astype(np.uint8)
        if still:
            light = np.hstack([light, cv2.resize(FACE, (320, 320))[:256]])
        frames.append(light)
    return frames


@pytest.mark.parametrize(("seconds", "fps", "expected"), [(3.0, 25, 16), (3.0, 12, 16), (10.0, 30, 16), (1.5, 25, 8)])
def test_the_step_between_frames_says_nothing_about_length_or_rate(
    tmp_path: Path, write_video: Write, seconds: float, fps: float, expected: int
) -> None:
    count = round(seconds * fps)
    frames = [np.full((32, 32, 3), 90, np.uint8)] * count
    video = VideoSource(write_video(tmp_path / "a.mp4", frames, [k / fps for k in range(count)]))
    sampled = sample_frames(video)
    assert len(sampled) == expected
    times = np.array([frame.time for frame in sampled])
    assert np.abs(np.diff(times) - 3 / 16).max() <= 1 / fps + 1e-6
    assert np.abs(times.mean() - video.info.seconds / 2) < 1.5 / fps  # from the middle


def test_a_burnt_in_still_is_not_taken_though_it_is_larger() -> None:
    frames = [Frame(k * 0.1875, k, pixels) for k, pixels in enumerate(nodding(8, 5.33, still=True))]
    tracks = find_tracks(frames, detector())
    assert len(tracks) == 2
    taken = main_track(tracks)
    assert taken is not None
    other = next(track for track in tracks if track is not taken)
    assert taken.landmarks[:, 2, 0].max() < 256 < other.landmarks[:, 2, 0].min()
    assert other.size > taken.size
    assert other.motion < 0.2 * taken.motion


def test_a_still_alone_is_better_than_nothing_and_a_glimpse_is_nothing() -> None:
    still = [Frame(k * 0.2, k, FACE) for k in range(5)]
    assert main_track(find_tracks(still, detector())) is not None
    assert main_track(find_tracks(still[:3], detector())) is None


def test_the_cache_keeps_aligned_crops_with_a_mask(tmp_path: Path, write_video: Write) -> None:
    for word in ("real_videos", "fake_videos"):
        (tmp_path / word / "train").mkdir(parents=True)
    write_video(tmp_path / "real_videos/train/a.mp4", nodding(75))
    write_video(tmp_path / "fake_videos/train/short.mp4", nodding(30))
    write_video(tmp_path / "fake_videos/train/noface.mp4", [np.full((96, 96, 3), 90, np.uint8)] * 75)
    (tmp_path / "fake_videos/train/broken.mp4").write_bytes(b"no video")
    rows = read_data(tmp_path)
    build_tracks(tmp_path, rows, tmp_path / "cache", detector())
    cache = load_tracks(tmp_path / "cache")
    assert [(row.path, row.label, row.medium, row.split) for row in cache.rows] == [
        ("real_videos/train/a.mp4", 0, "video", "train"),
        ("fake_videos/train/short.mp4", 1, "video", "train"),
    ]
    assert cache.crops.shape == (2, 16, SIDE, SIDE, 3)
    assert cache.mask.sum(axis=1).tolist() == [16, 6]
    assert not cache.crops[1, 6:].any()
    assert cache.crops[0].std(axis=(1, 2, 3)).min() > 20
    np.testing.assert_allclose(cache.landmarks[0], np.broadcast_to(template(SIDE, 1.3), (16, 5, 2)), atol=12)
    assert cache.clusters[0] == cache.clusters[1]  # one face in one light
    with pytest.raises(DataError, match="shows a face"):
        build_tracks(tmp_path, [row for row in rows if "noface" in row.path], tmp_path / "none", detector())
