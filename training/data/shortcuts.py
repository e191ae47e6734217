"""Shortcut tests: ``python -m training.data.shortcuts`` asks what numbers that know nothing of faces say of the class.

Three views are scored in grouped cross-validation by logistic regression and by gradient boosting:

* ``files``: what the files are (bytes, sides, quantisation tables, EXIF), no pixel of them;
* ``crops``: twelve plain statistics of the aligned crop that serving sees;
* ``pairs``: the same statistics after what training does, one damage for a real photo and the fake beside it.

An upper confidence limit above 0.60 says that a network could learn the cue instead of faces. Galleries of fakes
without originals exceed it, whatever is done to compression: their style differs. The pairs are where training can
answer.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict

from pipelines.image.align import align_faces
from pipelines.metrics import auc, bootstrap_interval
from training.augment import apply_damage, draw_damage
from training.data.cache import PhotoCache, load_cache
from training.data.sources import PAIRS

LIMIT = 0.60
SIZE, MARGIN = 160, 1.3
ROUNDS = 300
MOST = 150
"""Photos of one source in the view ``crops``."""
Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
_LOG = logging.getLogger(__name__)


class Result(BaseModel):
    """One test. ``auc`` is the larger of the two classifiers', with its 95 % bootstrap interval over groups."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    view: str
    group: str
    real: int
    fake: int
    classifier: str
    auc: float
    low: float
    high: float

    @property
    def passes(self) -> bool:
        """Whether the upper limit keeps DESIGN's bound."""
        return self.high <= LIMIT


class Shortcuts(BaseModel):
    """``benchmarks/results/shortcuts.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: float = LIMIT
    results: tuple[Result, ...]


@dataclass(frozen=True)
class Table:
    """Features [n, f], labels [n] and groups [n] that cross-validation keeps whole."""

    features: Floats
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]


def file_features(path: Path) -> list[float]:
    """What a photo's file says without its pixels: 16 numbers."""
    size = path.stat().st_size
    with Image.open(path) as image:
        width, height = image.size
        tables = getattr(image, "quantization", None) or {}
        means = [float(np.mean(tables[number])) if number in tables else -1.0 for number in (0, 1)]
        firsts = [float(tables[number][0]) if number in tables else -1.0 for number in (0, 1)]
        layers = getattr(image, "layer", None) or [(0, 0, 0, 0)]
        return [
            np.log(size),
            width,
            height,
            np.log(width / height),
            size / (width * height),
            float(max(width, height) == 256),
            float(width == height),
            *means,
            *firsts,
            float(len(tables)),
            float(layers[0][1]),
            float("exif" in image.info),
            float("icc_profile" in image.info),
            float(len(getattr(image, "applist", []) or [])),
        ]


def plain_statistics(crop: Pixels) -> list[float]:
    """Twelve plain numbers of a crop: light, colours, sharpness, blocks. Nothing that knows what a face is."""
    values = crop.astype(np.float32)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    sharp = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    steps = np.abs(np.diff(grey, axis=1)).mean(axis=0)
    places = np.arange(len(steps)) % 8
    by_phase = np.array([steps[places == phase].mean() for phase in range(8)])
    return [
        *values.mean(axis=(0, 1)).tolist(),
        *values.std(axis=(0, 1)).tolist(),
        float(np.log(sharp + 1e-3)),
        float(np.log(steps.mean() + 1e-3)),
        float(by_phase.max() / (by_phase.mean() + 1e-6)),
        float((values.max(axis=2) - values.min(axis=2)).mean()),
        float((grey < 8).mean()),
        float((grey > 247).mean()),
    ]


def _classifiers() -> dict[str, Callable[[], Any]]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000)),
        "gradient boosting": lambda: HistGradientBoostingClassifier(
            max_iter=60, learning_rate=0.1, max_leaf_nodes=8, min_samples_leaf=15, random_state=0
        ),
    }


def score(table: Table, view: str, group: str, folds: int = 5) -> Result:
    """Out-of-fold AUC of the better classifier, with its interval.

    Raises:
        ValueError: fewer groups than folds, or one class alone.
    """
    from sklearn.model_selection import StratifiedGroupKFold
    from threadpoolctl import threadpool_limits

    if len(set(table.labels.tolist())) < 2 or len(set(table.groups.tolist())) < folds:
        raise ValueError(f"{view}, {group}: both classes and at least {folds} groups are needed")
    best: tuple[float, str, Floats] | None = None
    with threadpool_limits(1):
        for name, build in _classifiers().items():
            scores = np.zeros(len(table.labels))
            splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
            for train, test in splitter.split(table.features, table.labels, table.groups):
                model = build().fit(table.features[train], table.labels[train])
                # Ranks within a fold: the scales of five models differ.
                scores[test] = np.argsort(np.argsort(model.predict_proba(table.features[test])[:, 1])) / len(test)
            value = auc(scores, table.labels)
            if best is None or value > best[0]:
                best = (value, name, scores)
    assert best is not None
    value, name, scores = best
    low, high = bootstrap_interval(auc, scores, table.labels, rounds=ROUNDS, groups=table.groups)
    result = Result(
        view=view,
        group=group,
        real=int((table.labels == 0).sum()),
        fake=int((table.labels == 1).sum()),
        classifier=name,
        auc=round(value, 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
    )
    _LOG.info("%-6s %-24s AUC %.3f (%.3f to %.3f), %s", view, group, value, low, high, name)
    return result


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
    from training.data.pairs import Reconstructions
    from training.pseudofakes import cross_blended, part_replaced, self_blended

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
    from training.data.clip_fakes import KINDS, clip_fake
    from training.data.tracks import load_tracks

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


def main(arguments: list[str] | None = None) -> int:
    """Run all tests, write the JSON; 1 where a pair exceeds the limit."""
    from training.prepare import data_folder

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--pairs", type=int, default=600, help="real photos for each kind of pair")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/shortcuts.json"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    cache = load_cache(options.cache / "photos")

    def pairs() -> dict[str, Table]:
        tables = pair_tables(cache, options.cache, options.pairs)
        known = (options.cache / "tracks" / "index.csv").is_file()
        return tables | (clip_tables(options.cache / "tracks") if known else {})

    views: dict[str, Callable[[], dict[str, Table]]] = {
        "pairs": pairs,
        "files": lambda: file_tables(cache, options.data),
        "crops": lambda: crop_tables(cache),
    }
    results: list[Result] = []
    for view, build in views.items():
        results += [score(table, view, group) for group, table in build().items()]
    report = Shortcuts(results=tuple(results))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report.model_dump(), indent=1) + "\n", encoding="utf-8")
    above = [result.group for result in results if result.view == "pairs" and not result.passes]
    if above:
        _LOG.warning("pairs above %.2f: %s", LIMIT, ", ".join(above))
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
