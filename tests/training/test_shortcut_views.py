"""The views of the shortcut tests: in the pairs only what was faked differs."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.image.align import template
from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.shortcut_views import pair_table
from training.data.shortcuts import score

POINTS = (template(96, 1.0) + 16).astype(np.float32)


def photos(count: int = 60) -> PhotoCache:
    rng = np.random.default_rng(3)
    pixels = np.zeros((count, 256, 256, 3), np.uint8)
    for item in range(count):
        coarse = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
        pixels[item] = cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)
    rows = [Row(f"{k}.jpg", 0, "s", (), "", "no") for k in range(count)]
    shapes, points = np.full((count, 2), 128, np.int32), np.broadcast_to(POINTS, (count, 5, 2))
    return PhotoCache(pixels, shapes, np.array(points, np.float32), np.arange(count, dtype=np.int32), rows)


def test_pairs_are_scored_after_one_damage_for_both_so_that_only_the_fake_differs() -> None:
    cache = photos()

    def same(item: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        return np.ascontiguousarray(cache.photo(item))

    def darker(item: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        return np.asarray(cache.photo(item) // 3, np.uint8)

    nothing = pair_table(cache, range(60), same)
    np.testing.assert_array_equal(nothing.features[0::2], nothing.features[1::2])
    np.testing.assert_array_equal(nothing.groups[0::2], nothing.groups[1::2])
    assert score(pair_table(cache, range(60), darker), "pairs", "x").auc > 0.9
