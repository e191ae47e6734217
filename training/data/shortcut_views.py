"""The views of the shortcut tests (``training.data.shortcuts``): files, crops, and pairs of a real and its pseudo-fake.

Each gives tables by the name of a set: features, labels, and the groups that cross-validation keeps whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.image.align import align_faces
from training.augment import apply_damage, draw_damage
from training.data.cache import PhotoCache
from training.data.clip_fakes import KINDS, clip_fake
from training.data.pairs import Reconstructions
from training.data.plain_features import file_features, plain_statistics
from training.data.shortcuts import Table
from training.data.sources import PAIRS
from training.data.tracks import load_tracks
from training.pseudofakes import cross_blended, part_replaced, self_blended

SIZE, MARGIN = 160, 1.3
MOST = 150
"""Photos of one source in the view ``crops``."""
Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


def _gallery_tables(cache: PhotoCache, items: npt.NDArray[np.int64], features: Floats) -> dict[str, Table]:
    """All of ``items``, and each set of fakes with the reals that it is drawn beside."""
    labels = np.array([cache.rows[item].label for item in items], dtype=np.int64)
    sources = np.array([cache.rows[item].source for item in items])
    clusters = cache.clusters[items].astype(np.int64)
    tables = {"all": Table(features, labels, clusters)}
    for pair in PAIRS:
        chosen = ((labels == 1) & np.isin(sources, pair.fakes)) | ((labels == 0) & np.isin(sources, pair.reals))
        if len(set(labels[chosen].tolist())) == 2:
            tables[pair.name] = Table(features[chosen], labels[chosen], clusters[chosen])
    return tables


def file_tables(cache: PhotoCache, data: Path) -> dict[str, Table]:
    """The view ``files``."""
    items = np.arange(len(cache), dtype=np.int64)
    return _gallery_tables(cache, items, np.array([file_features(data / row.path) for row in cache.rows]))


def crop_tables(cache: PhotoCache) -> dict[str, Table]:
    """The view ``crops``: as serving cuts them, without damage; at most ``MOST`` of a source."""
    rng = np.random.default_rng(0)
    keys = np.array([f"{row.label}/{row.source}" for row in cache.rows])
    items = np.concatenate([rng.permutation(np.flatnonzero(keys == key))[:MOST] for key in sorted(set(keys))])
    rows = []
    for item in items:
        photo = np.ascontiguousarray(cache.photo(item))
        rows.append(plain_statistics(align_faces(photo, cache.landmarks[item][None], SIZE, MARGIN)[0]))
    return _gallery_tables(cache, items, np.array(rows))


Make = Callable[[int, np.random.Generator], Pixels]
"""Makes the fake of a real photo (its position in the cache), in photo pixels."""


def pair_table(cache: PhotoCache, items: Sequence[int], make: Make, seed: int = 0) -> Table:
    """The view ``pairs`` for one kind of pseudo-fake: each real once, its fake beside it, one damage for both."""
    features: list[list[float]] = []
    groups: list[int] = []
    for number, item in enumerate(items):
        rng = np.random.default_rng([seed, number])
        damage = draw_damage(rng)
        points = cache.landmarks[item]
        for photo in (np.ascontiguousarray(cache.photo(item)), make(item, rng)):
            features.append(plain_statistics(apply_damage(photo, points, damage, SIZE, MARGIN)))
            groups.append(int(cache.clusters[item]))
    labels = np.arange(len(features), dtype=np.int64) % 2
    return Table(np.array(features), labels, np.array(groups, dtype=np.int64))


def pair_tables(cache: PhotoCache, folder: Path, count: int) -> dict[str, Table]:
    """The view ``pairs``: every kind of pseudo-fake of photos, on ``count`` reals drawn evenly over the sources.

    Args:
        folder: the cache folder with ``recon``; kinds that need reconstructions are left out without it.
    """
    rng = np.random.default_rng(0)
    rebuilt = Reconstructions(folder / "recon")
    reals = np.array([place for place, row in enumerate(cache.rows) if row.label == 0], dtype=np.int64)

    def chosen(among: npt.NDArray[np.int64]) -> list[int]:
        sources = np.array([cache.rows[item].source for item in among])
        weights = np.array([1 / np.sqrt((sources == source).sum()) for source in sources])
        return list(rng.choice(among, min(count, len(among)), replace=False, p=weights / weights.sum()))

    def blended(item: int, draw: np.random.Generator) -> Pixels:
        return self_blended(np.ascontiguousarray(cache.photo(item)), cache.landmarks[item], draw)

    def crossed(item: int, draw: np.random.Generator) -> Pixels:
        other = int(draw.choice(reals))
        photo = np.ascontiguousarray(cache.photo(item))
        return cross_blended(photo, cache.landmarks[item], cache.photo(other), cache.landmarks[other], draw)

    def reconstructed(item: int, draw: np.random.Generator) -> Pixels:
        return np.ascontiguousarray(rebuilt.photo(item, cache.photo(item).shape))

    def partly(item: int, draw: np.random.Generator) -> Pixels:
        photo = np.ascontiguousarray(cache.photo(item))
        return part_replaced(photo, reconstructed(item, draw), cache.landmarks[item], draw)

    tables = {
        "self-blended": pair_table(cache, chosen(reals), blended),
        "cross-blended": pair_table(cache, chosen(reals), crossed),
    }
    known = np.array([item for item in reals if int(item) in rebuilt.positions], dtype=np.int64)
    if len(known):
        tables["reconstructed"] = pair_table(cache, chosen(known), reconstructed)
        tables["part-reconstructed"] = pair_table(cache, chosen(known), partly)
    return tables


def clip_tables(folder: Path, times: int = 1) -> dict[str, Table]:
    """The view ``pairs`` for clips: means over four frames of real tracks and of each kind of pseudo-fake of theirs."""
    cache = load_tracks(folder)
    reals = np.array([place for place, row in enumerate(cache.rows) if row.label == 0], dtype=np.int64)

    def means(crops: Pixels, mask: npt.NDArray[np.uint8]) -> list[float]:
        return list(np.mean([plain_statistics(crops[place]) for place in np.flatnonzero(mask)[1::4]], axis=0))

    own = {int(item): means(np.asarray(cache.crops[item]), cache.mask[item]) for item in reals}
    tables = {}
    for kind in KINDS:
        features, groups = [], []
        for number in range(times):
            for item in reals:
                fake, _ = clip_fake(cache, int(item), reals, np.random.default_rng([number, int(item)]), kind)
                features += [own[int(item)], means(fake, cache.mask[item])]
                groups += [int(cache.clusters[item])] * 2
        labels = np.arange(len(features), dtype=np.int64) % 2
        tables[f"clips: {kind}"] = Table(np.array(features), labels, np.array(groups, dtype=np.int64))
    return tables
