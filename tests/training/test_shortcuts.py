"""Shortcut tests see planted shortcuts, say nothing where there are none, and the committed pairs keep the limit."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.image.align import template
from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.shortcuts import Result, Shortcuts, Table, file_features, pair_table, plain_statistics, score

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "shortcuts.json"
POINTS = (template(96, 1.0) + 16).astype(np.float32)


def table(shift: float, count: int = 120) -> Table:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    return Table(rng.normal(0, 1, (count, 4)) + shift * labels[:, None], labels, np.arange(count) // 2)


def test_a_planted_shortcut_is_seen_and_noise_is_not() -> None:
    seen, unseen = score(table(2.0), "files", "x"), score(table(0.0, 400), "files", "x")
    assert seen.auc > 0.95
    assert seen.low > 0.9
    assert not seen.passes
    assert unseen.low < 0.55
    assert (unseen.real, unseen.fake) == (200, 200)


def test_a_group_never_stands_on_both_sides_of_the_cross_validation() -> None:
    """Features that name the group, with one label for each group: only a leak could use them."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 6)
    features = rng.normal(0, 1, (40, 5))[groups]
    labels = (np.arange(40) % 2)[groups]
    assert score(Table(features, labels, groups), "files", "x").auc < 0.75
    assert score(Table(features, labels, np.arange(240)), "files", "x").auc > 0.95


def test_too_little_to_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="both classes"):
        score(Table(np.zeros((10, 2)), np.zeros(10, np.int64), np.arange(10)), "files", "x")


def test_file_features_tell_quality_sides_and_exif_apart(tmp_path: Path) -> None:
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))
    names = {"low.jpg": {"quality": 40}, "high.jpg": {"quality": 95}, "exif.jpg": {"quality": 95}, "plain.png": {}}
    for name, options in names.items():
        exif = Image.Exif()
        exif[0x0110] = "camera"
        pixels.save(tmp_path / name, **options, **({"exif": exif} if name == "exif.jpg" else {}))
    low, high, exif, plain = (np.array(file_features(tmp_path / name)) for name in names)
    assert low.shape == high.shape == plain.shape
    assert low[7] > high[7] > 0 > plain[7]
    assert exif[13] == 1 > high[13]
    assert plain[11] == 0 < low[11]


def test_plain_statistics_move_with_light_sharpness_and_blocks() -> None:
    rng = np.random.default_rng(0)
    crop = np.asarray(cv2.GaussianBlur(rng.integers(40, 200, (160, 160, 3), dtype=np.uint8), (0, 0), 2), np.uint8)
    base = np.array(plain_statistics(crop))
    bright = np.array(plain_statistics(np.clip(crop.astype(int) + 30, 0, 255).astype(np.uint8)))
    np.testing.assert_allclose(bright[:3] - base[:3], 30, atol=0.5)
    blurred = np.array(plain_statistics(np.asarray(cv2.GaussianBlur(crop, (0, 0), 2), np.uint8)))
    assert blurred[6] < base[6] - 0.4
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "JPEG", quality=8)
    blocks = np.array(plain_statistics(np.array(Image.open(buffer))))
    assert blocks[8] > base[8] + 0.2


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


@pytest.mark.skipif(not RESULTS.is_file(), reason="python -m training.data.shortcuts has not been run")
def test_the_committed_pairs_keep_the_limit() -> None:
    """Of the committed measurement; galleries may exceed the limit, and the file says where."""
    report = Shortcuts.model_validate(json.loads(RESULTS.read_text(encoding="utf-8")))
    pairs = [result for result in report.results if result.view == "pairs"]
    assert {result.group for result in pairs} >= {"self-blended", "cross-blended"}
    assert {result.view for result in report.results} == {"pairs", "files", "crops"}
    above = [f"{result.group} {result.high}" for result in pairs if not result.passes]
    assert not above


def test_passing_is_decided_by_the_upper_limit() -> None:
    told = {"view": "pairs", "group": "x", "real": 9, "fake": 9, "classifier": "c", "auc": 0.55, "low": 0.5}
    assert Result(**told, high=0.6).passes
    assert not Result(**told, high=0.601).passes
