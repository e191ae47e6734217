"""Stills of clips beside photos: clusters, held-out photos, and what a fold of clips bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipelines.video.source import VideoSource
from training.data.cache import PhotoCache, load_cache
from training.data.layout import write_manifest
from training.data.manifest import Row
from training.data.photo_split import held_out_photos
from training.data.photos import CLIPS, PREFIX, fold_barred, with_stills
from training.data.stills import EACH, build_stills
from training.prepare import detector

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def cache_of(rows: Sequence[Row], clusters: Sequence[int]) -> PhotoCache:
    count = len(rows)
    return PhotoCache(
        pixels=np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8),
        shapes=np.full((count, 2), 8, np.int32),
        landmarks=np.zeros((count, 5, 2), np.float32),
        clusters=np.array(clusters, np.int32),
        rows=rows,
    )


def photo(name: str, *identities: str, source: str = "ffhq_a", label: int = 0) -> Row:
    return Row(name, label, source, identities, "", "no")


def test_a_still_joins_the_photos_of_its_person_and_moves_no_photo() -> None:
    photos = cache_of([photo("a", "ffpp:001"), photo("b"), photo("c", "ffpp:002")], [0, 1, 2])
    stills = cache_of(
        [photo("x#0", "ffpp:001"), photo("x#1", "ffpp:001"), photo("y#0", "ffpp:001", "ffpp:002"), photo("z#0")],
        [7, 7, 3, 5],
    )
    both, taken = with_stills(photos, stills)
    assert taken.tolist() == [0, 1, 3], "a still that ties two photos that stand apart is left out"
    assert both.clusters.tolist() == [0, 1, 2, 0, 0, 3]
    assert [row.path for row in both.rows] == ["a", "b", "c", "x#0", "x#1", "z#0"]
    assert both.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 3]


def test_held_out_photos_are_the_same_with_stills() -> None:
    photos = cache_of([photo(str(k)) for k in range(60)], range(60))
    stills = cache_of([photo(f"clip{k}#0") for k in range(40)], range(40))
    both, _ = with_stills(photos, stills)
    assert np.array_equal(held_out_photos(both)[:60], held_out_photos(photos))
    assert held_out_photos(photos).any()


def clip(name: str, source: str, label: int) -> Row:
    return Row(f"train/videos/{source}/{name}", label, source, (), "", "no", medium="video")


@pytest.fixture
def clips(tmp_path: Path) -> list[Row]:
    rows = [
        clip("deepfakes__033_097.mp4", "ffpp_c23_deepfakes", 1),
        clip("youtube__033.mp4", "ffpp_c23_youtube", 0),
        *(clip(f"{k}.mp4", f"fakes_{k}", 1) for k in range(8)),
        *(clip(f"{k}.mp4", f"reals_{k}", 0) for k in range(8)),
    ]
    (tmp_path / "stills").mkdir()
    write_manifest(rows, tmp_path / "stills" / CLIPS)
    return rows


def test_every_still_is_barred_in_the_fold_that_tests_its_clip_and_in_few_others(
    clips: list[Row], tmp_path: Path
) -> None:
    stills = [photo(f"{row.path}#0", source=PREFIX + row.source, label=row.label) for row in clips]
    masks = np.stack([fold_barred(stills, tmp_path, fold) for fold in range(6)])
    assert masks.any(axis=0).all()
    assert (masks.sum(axis=0) == 1).sum() >= 16


def test_the_fold_of_faceforensics_bars_its_photos_too(clips: list[Row], tmp_path: Path) -> None:
    rows = [
        photo("p0", "ffpp:097", source="ffpp_c23_youtube"),
        photo("p1", "ffpp:500", source="ffpp_tight_deepfakes", label=1),
        photo("p2"),
        photo(f"{clips[0].path}#0", source=PREFIX + clips[0].source, label=1),
    ]
    masks = np.stack([fold_barred(rows, tmp_path, fold) for fold in range(6)])
    testing = int(np.flatnonzero(masks[:, 3])[0])
    assert masks[testing].tolist() == [True, True, False, True]
    assert not masks[:, 2].any()


def test_stills_of_a_clip_keep_its_face_and_are_one_cluster(tmp_path: Path) -> None:
    film = next(SAMPLES.rglob("*.mp4"))
    assert VideoSource(film).info.seconds > 1
    row = Row(film.relative_to(SAMPLES).as_posix(), 0, "samples", (), "", "no", medium="video")
    broken = Row("missing.mp4", 1, "samples", (), "", "no", medium="video")
    build_stills(SAMPLES, [row, broken], tmp_path, detector())
    cache = load_cache(tmp_path)
    assert 4 <= len(cache) <= EACH
    assert set(cache.clusters.tolist()) == {0}
    assert all(each.path.startswith(f"{row.path}#") and each.source == "clip:samples" for each in cache.rows)
    inside = (cache.landmarks > 0) & (cache.landmarks < cache.shapes[:, None, ::-1])
    assert inside.all()
