"""Which photos a run sees: clusters stay whole, and what belongs to a barred source is not seen either."""

from __future__ import annotations

import numpy as np

from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.photo_split import barred_photos, held_out_clusters, training_photos
from training.settings import Settings


def cache(clusters: list[int]) -> PhotoCache:
    """Four reals, then four fakes, without pixels."""
    rows = [Row(f"{k}.png", int(k > 3), "stylegan3" if k > 3 else "ffhq_a", (), "", "no") for k in range(8)]
    pixels, shapes = np.zeros((8, 1, 1, 3), np.uint8), np.ones((8, 2), np.int32)
    return PhotoCache(pixels, shapes, np.zeros((8, 5, 2), np.float32), np.array(clusters, np.int32), rows)


def test_the_held_out_share_is_one_of_whole_clusters() -> None:
    clusters = np.arange(2000, dtype=np.int32) // 4
    held = held_out_clusters(clusters, 0.1)
    assert 0.05 < held.mean() < 0.15
    assert all(len(set(held[clusters == c].tolist())) == 1 for c in range(500))


def test_a_source_is_barred_by_its_class_and_name() -> None:
    assert barred_photos(cache([0] * 8), ["fake/stylegan3"]).tolist() == [False] * 4 + [True] * 4


def test_what_shares_a_cluster_with_a_barred_photo_is_not_trained_on() -> None:
    settings = Settings(held_out=0.0, without=("real/ffhq_a",))
    assert training_photos(cache(list(range(8))), settings).tolist() == [False] * 4 + [True] * 4
    related = cache([0, 1, 2, 3, 4, 5, 6, 0])
    assert training_photos(related, settings).tolist() == [False] * 4 + [True] * 3 + [False]
    fold = np.array([False] * 5 + [True] + [False] * 2)
    assert training_photos(related, settings, fold).tolist() == [False] * 4 + [True, False, True, False]
