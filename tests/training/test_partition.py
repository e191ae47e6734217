"""The split of a user's data: nothing that belongs together stands on both sides."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cards import ModelRepository
from pipelines.image.align import align_faces
from training.data.manifest import Row
from training.faces import around_face, collect_faces
from training.partition import TooLittleDataError, partition
from training.prepare import detector

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def row(label: int, split: str = "") -> Row:
    return Row("x.jpg", label, "s", (), "unknown", "no", "image", split)


def test_whole_clusters_are_held_out_near_the_share() -> None:
    rows = [row(number % 2) for number in range(200)]
    clusters = np.arange(200) // 6
    train, val = partition(rows, clusters, 0.2, 1)
    assert not set(clusters[train]) & set(clusters[val])
    assert sorted([*train, *val]) == list(range(200))
    for label in (0, 1):
        assert 14 <= sum(rows[place].label == label for place in val) <= 20


def test_the_seed_decides_and_nothing_else() -> None:
    rows = [row(number % 2) for number in range(60)]
    first, again, other = (partition(rows, np.arange(60), 0.2, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_val_folder_is_used_as_it_is() -> None:
    rows = [row(0, "train"), row(1, "train"), row(0, "val"), row(0), row(1), row(1, "val")]
    train, val = partition(rows, np.arange(6), 0.2, 1)
    assert (train.tolist(), val.tolist()) == ([0, 1, 3, 4], [2, 5])


def test_a_class_that_is_missing_is_named() -> None:
    with pytest.raises(TooLittleDataError, match="0 fake items are left for training"):
        partition([row(0)] * 9, np.arange(9), 0.2, 1)
    with pytest.raises(TooLittleDataError):  # one cluster cannot stand on both sides
        partition([row(number % 2) for number in range(20)], np.zeros(20, int), 0.2, 1)


def test_the_kept_part_gives_the_crop_of_the_whole_photo() -> None:
    rng = np.random.default_rng(0)
    photo = cv2.GaussianBlur(rng.integers(0, 256, (700, 900, 3), dtype=np.uint8), (0, 0), 3)
    points = np.array([[400, 300], [460, 302], [430, 340], [405, 370], [455, 371]], np.float32)
    part, moved = around_face(np.asarray(photo, np.uint8), points)
    assert max(part.shape) <= 384
    whole = align_faces(np.asarray(photo, np.uint8), points[None], 160, 1.3)[0].astype(int)
    assert np.abs(whole - align_faces(part, moved[None], 160, 1.3)[0]).max() <= 2


def test_photos_without_a_face_are_left_out_and_the_cache_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    cv2.imwrite(str(tmp_path / "empty.jpg"), np.full((200, 200, 3), 90, np.uint8))
    (tmp_path / "face.jpg").write_bytes((SAMPLES / "astronaut.jpg").read_bytes())
    rows = [Row(name, 0, "s", (), "x", "yes") for name in ("broken.jpg", "empty.jpg", "face.jpg")]
    seen: list[int] = []
    first = collect_faces(
        tmp_path, rows, tmp_path / "cache", detector(ModelRepository()), lambda done, _: seen.append(done)
    )
    assert [kept.path for kept in first.rows] == ["face.jpg"]
    assert seen == [0, 1, 2, 3]

    def unused(_: object) -> dict[str, object]:
        raise AssertionError("the cache must be used")

    again = collect_faces(tmp_path, rows, tmp_path / "cache", unused)  # type: ignore[arg-type]
    assert np.array_equal(again.photo(0), first.photo(0))
    assert again.rows == first.rows
    (tmp_path / "face.jpg").touch()
    with pytest.raises(AssertionError):
        collect_faces(tmp_path, rows[2:], tmp_path / "cache", unused)  # type: ignore[arg-type]
