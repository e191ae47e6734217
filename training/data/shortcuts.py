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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from pipelines.metrics import auc, bootstrap_interval
from training.data.cache import load_cache

LIMIT = 0.60
ROUNDS = 300
Floats = npt.NDArray[np.float64]
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


def main(arguments: list[str] | None = None) -> int:
    """Run all tests, write the JSON; 1 where a pair exceeds the limit."""
    # The views make pseudo-fakes; who scores tables alone (training.audio.shortcuts) need not load that.
    from training.data.shortcut_views import clip_tables, crop_tables, file_tables, pair_tables
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
