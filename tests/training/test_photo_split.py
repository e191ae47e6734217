"""Which photos a run sees: clusters stay whole, and what belongs to a barred source is not seen either."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.photo_split import barred_photos, held_out_photos, listed_photos, training_photos
from training.data.photos import PREFIX
from training.settings import Settings


def cache(clusters: list[int]) -> PhotoCache:
    """Four reals, then four fakes, without pixels."""
    rows = [Row(f"{k}.png", int(k > 3), "stylegan3" if k > 3 else "ffhq_a", (), "", "no") for k in range(8)]
    pixels, shapes = np.zeros((8, 1, 1, 3), np.uint8), np.ones((8, 2), np.int32)
    return PhotoCache(pixels, shapes, np.zeros((8, 5, 2), np.float32), np.array(clusters, np.int32), rows)


def named(rows: list[tuple[str, str]], clusters: list[int]) -> PhotoCache:
    """Reals with these paths and sources, without pixels."""
    count = len(rows)
    told = [Row(path, 0, source, (), "", "no") for path, source in rows]
    pixels, shapes = np.zeros((count, 1, 1, 3), np.uint8), np.ones((count, 2), np.int32)
    return PhotoCache(pixels, shapes, np.zeros((count, 5, 2), np.float32), np.array(clusters, np.int32), told)


def test_the_held_out_share_is_one_of_whole_clusters() -> None:
    photos = named([(f"{k}.png", "ffhq_a") for k in range(2000)], [k // 4 for k in range(2000)])
    held = held_out_photos(photos)
    assert 0.05 < held.mean() < 0.15
    assert all(len(set(held[photos.clusters == c].tolist())) == 1 for c in range(500))


def test_the_split_does_not_move_with_the_numbers_of_clusters() -> None:
    rows = [(f"{k}.png", "ffhq_a") for k in range(400)]
    first = held_out_photos(named(rows, list(range(400))))
    other = held_out_photos(named(rows[::-1], [7 * k + 3 for k in range(400)]))
    assert first.any()
    assert np.array_equal(first, other[::-1])


def test_photos_of_the_list_are_held_out_and_the_others_of_its_folders_are_not() -> None:
    listed = sorted(listed_photos())
    assert len(listed) == 890
    others = [f"{path}.other" for path in listed]
    held = held_out_photos(named([(path, "web_photos") for path in listed + others], list(range(2 * len(listed)))))
    assert held.tolist() == [True] * len(listed) + [False] * len(listed)


def test_a_still_goes_with_the_photos_of_its_cluster() -> None:
    listed = sorted(listed_photos())[0]
    rows = [(listed, "web_photos"), ("train/images/real/web_photos/kept.jpg", "web_photos")]
    rows += [("a.mp4#0", f"{PREFIX}ffpp"), ("b.mp4#0", f"{PREFIX}ffpp")]
    rows += [(f"{k}.mp4#0", f"{PREFIX}faces") for k in range(200)]
    held = held_out_photos(named(rows, [0, 1, 0, 1, *range(2, 202)]))
    assert held[:4].tolist() == [True, False, True, False]
    assert 0.03 < held[4:].mean() < 0.2


def test_a_source_is_barred_by_its_class_and_name() -> None:
    assert barred_photos(cache([0] * 8), ["fake/stylegan3"]).tolist() == [False] * 4 + [True] * 4


def test_what_shares_a_cluster_with_a_barred_photo_is_not_trained_on() -> None:
    settings = Settings(held_out=0.0, without=("real/ffhq_a",))
    assert training_photos(cache(list(range(8))), settings).tolist() == [False] * 4 + [True] * 4
    related = cache([0, 1, 2, 3, 4, 5, 6, 0])
    assert training_photos(related, settings).tolist() == [False] * 4 + [True] * 3 + [False]
    fold = np.array([False] * 5 + [True] + [False] * 2)
    assert training_photos(related, settings, fold).tolist() == [False] * 4 + [True, False, True, False]


def test_permissive_licences_leave_out_what_does_not_allow_commercial_use() -> None:
    photos = cache(list(range(8)))
    photos.rows[1] = replace(photos.rows[1], commercial="yes")
    photos.rows[5] = replace(photos.rows[5], commercial="yes")
    seen = training_photos(photos, Settings(held_out=0.0, licences="permissive"))
    assert np.flatnonzero(seen).tolist() == [1, 5]
