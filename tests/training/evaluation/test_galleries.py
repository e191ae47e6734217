"""Galleries left out in turn: the lines see nothing of them, the pairs are theirs alone, the features are the maps'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.pairs import KINDS, Mixture, PairBatches, Reconstructions
from training.data.sources import SourcePair
from training.evaluation.galleries import BLOCKS, drawn_pairs, gallery_rows, judged_features, left_out_lines, pooled
from training.models.efficientnet_lite import EfficientNetLite0
from training.models.output import normalised

POINTS = np.array([[90, 100], [160, 100], [125, 140], [100, 180], [150, 180]], np.float32)


def photos(fakes: dict[str, int], reals: int) -> PhotoCache:
    """Flat photos: reals have the grey level 40, the fakes of each source another one."""
    names = ["ffhq_a"] * reals + [name for name, count in fakes.items() for _ in range(count)]
    levels = {"ffhq_a": 40} | {name: 90 + 50 * place for place, name in enumerate(fakes)}
    count = len(names)
    return PhotoCache(
        pixels=np.stack([np.full((256, 256, 3), levels[name], np.uint8) for name in names]),
        shapes=np.full((count, 2), 256),
        landmarks=np.repeat(POINTS[None], count, axis=0),
        clusters=np.arange(count),
        rows=[Row(f"{i}.png", int(i >= reals), name, (), "x", "yes") for i, name in enumerate(names)],
    )


def batches_of(cache: PhotoCache, fakes: tuple[str, ...]) -> PairBatches:
    chosen = np.ones(len(cache), np.bool_)
    group = SourcePair("stylegan", fakes, ("ffhq_a",), 1.0)
    empty = Reconstructions(Path("nowhere"))
    return PairBatches(cache, chosen, empty, 32, 1.3, 1, 1, 0, Mixture(0, 0, 0, 0, 1.0), [group])


def test_pairs_of_one_gallery_hold_its_fakes_alone_and_nothing_that_was_made() -> None:
    cache = photos({"stylegan3": 6, "stylegan_misc": 6}, 12)
    batches = batches_of(cache, ("stylegan3", "stylegan_misc"))
    own = batches.only(np.arange(18, 24))
    rng = np.random.default_rng(0)
    for _ in range(20):
        genuine, forged, kind = own.pair(rng)
        assert KINDS[kind] == "labelled"
        assert abs(float(genuine.mean()) - 40) < 3
        assert abs(float(forged.mean()) - 140) < 3
    assert len(batches.groups[0][0]) == 2  # the pairs that it was made of are as before
    with pytest.raises(ValueError, match="no group"):
        batches.only(np.arange(3))
    _, sources = drawn_pairs(batches, {"stylegan3": np.arange(12, 18), "stylegan_misc": np.arange(18, 20)}, 1)
    count = {name: int((sources == name).sum()) for name in np.unique(sources)}
    assert count["stylegan3"] / count["stylegan_misc"] == pytest.approx(np.sqrt(6 / 2), rel=0.01)


def test_a_line_that_leaves_a_source_out_is_the_one_of_the_others_alone() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 12)).astype(np.float32)
    sources = np.repeat(["one", "two"], 100)
    features[200:300, 0] += 2  # fakes of one
    features[300:, 1] += 2  # fakes of two
    lines = left_out_lines(features, sources, 1e-3)
    assert set(lines) == {"", "one", "two"}
    assert abs(lines["one"][0]) < 0.1 < lines["one"][1]
    assert abs(lines["two"][1]) < 0.1 < lines["two"][0]
    kept = np.tile(sources == "two", 2)
    scaled = (features[kept] - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    labels = np.repeat([-0.5, 0.5], 100)
    wanted = np.linalg.solve(scaled.T @ scaled / 200 + 1e-3 * np.eye(12), scaled.T @ labels / 200)
    np.testing.assert_allclose(lines["one"], wanted / (features.std(axis=0) + 1e-6), rtol=1e-3, atol=1e-5)


def test_features_are_means_and_deviations_of_the_maps_that_the_network_makes() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = EfficientNetLite0().eval()
    crops = np.random.default_rng(2).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    told = pooled(model, crops, batch=2)
    with torch.inference_mode():
        maps = torch.relu(0 + model._bn0(model._conv_stem(normalised(torch.from_numpy(crops).permute(0, 3, 1, 2)))))
        maps = maps.clamp(max=6)
        for block in model._blocks[: BLOCKS[0] + 1]:
            maps = block(maps)
    width = maps.shape[1]
    np.testing.assert_allclose(told[:, :width], maps.mean(dim=(2, 3)).numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(told[:, width : 2 * width], maps.std(dim=(2, 3)).numpy(), rtol=1e-3, atol=1e-4)
    assert not any(block._forward_hooks for block in model._blocks)


def test_a_gallery_that_stands_above_the_reals_has_an_auc_of_one_and_below_them_of_zero() -> None:
    torch.manual_seed(0)
    cache = photos({"stylegan3": 6, "stylegan2ada": 6}, 60)
    model = EfficientNetLite0().eval()
    styles = np.ones((len(cache), 4), np.float16)
    rng = np.random.default_rng(3)
    cache.pixels[:] = np.clip(cache.pixels + rng.integers(-5, 6, cache.pixels.shape), 0, 255).astype(np.uint8)
    reals, fakes = (
        pooled(model, np.ascontiguousarray(cache.pixels[part, :160, :160])) for part in (slice(60), slice(60, 66))
    )
    line = (fakes.mean(axis=0) - reals.mean(axis=0)).astype(np.float64)
    rows = gallery_rows(cache, styles, {"": -line, "stylegan3": line}, judged_features(cache, model))
    assert [(row["gallery"], row["fakes"], row["watched"]) for row in rows] == [
        ("stylegan2ada", 6, True),
        ("stylegan3", 6, False),
    ]
    assert [row["auc"] for row in rows] == [0.0, 1.0]
    assert all(row["low"] == row["high"] == row["auc"] for row in rows)
