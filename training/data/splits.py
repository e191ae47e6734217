"""Splits that nothing crosses: by source, by identity where it is known, by near-duplicate cluster where it is not.

A fold names the sources that it leaves out. What is left is not yet safe to train on: a clip of the left-out set may
stand in another source at another compression. ``fold_masks`` takes such items out of both sides, and ``find_leaks``
says whether any split, from wherever it comes, is crossed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.manifest import Row

Mask = npt.NDArray[np.bool_]
Clusters = npt.NDArray[np.integer[Any]]
FOLDS = Path(__file__).parents[1] / "folds.json"


class LeakError(ValueError):
    """Items that belong together stand on both sides of a split."""


@dataclass(frozen=True)
class Fold:
    """Sources, as ``fake/<source>`` or ``real/<source>``, that one fold leaves out."""

    name: str
    sources: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class Split:
    """Two sides of a fold, as masks over the rows; what belongs to both kinds stands on neither.

    Attributes:
        train: what a model of this fold may see.
        held: what it is scored on.
    """

    name: str
    train: Mask
    held: Mask

    @property
    def dropped(self) -> Mask:
        """Items outside the left-out sources that share a clip, a person or a look with them."""
        return ~(self.train | self.held)


@dataclass(frozen=True)
class Leak:
    """One thing on both sides: its kind (``identity``, ``cluster``, ``source``), its name, and an item of each."""

    kind: str
    name: str
    train_path: str
    held_path: str


def read_folds(path: Path = FOLDS) -> list[Fold]:
    """The committed folds.

    Raises:
        ValueError: a source stands in two folds.
    """
    told = json.loads(path.read_text(encoding="utf-8"))
    folds = [Fold(each["name"], tuple(each["sources"]), each.get("reason", "")) for each in told]
    names = [source for fold in folds for source in fold.sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path.name}: {', '.join(twice)} stands in more than one fold")
    return folds


def source_key(row: Row) -> str:
    """``fake/<source>`` or ``real/<source>``: one name may stand for a set of fakes and for its reals."""
    return f"{'fake' if row.label else 'real'}/{row.source}"


def _ties(row: Row, cluster: int) -> Iterable[tuple[str, str]]:
    """What ties an item to others."""
    yield "cluster", str(cluster)
    for name in row.identities:
        yield "identity", name


def fold_masks(rows: Sequence[Row], clusters: Clusters, folds: Sequence[Fold]) -> list[Split]:
    """Masks of each fold.

    Args:
        rows, clusters: of one cache, [n] each.

    Returns:
        One split a fold; ``held`` are the items of the left-out sources, ``train`` all others that share neither an
        identity nor a cluster with them.
    """
    keys = np.array([source_key(row) for row in rows])
    splits = []
    for fold in folds:
        held = np.isin(keys, list(fold.sources))
        taken = {tie for place in np.flatnonzero(held) for tie in _ties(rows[place], int(clusters[place]))}
        free = [taken.isdisjoint(_ties(row, int(cluster))) for row, cluster in zip(rows, clusters, strict=True)]
        splits.append(Split(fold.name, ~held & np.array(free, dtype=np.bool_), held))
    return splits


def find_leaks(rows: Sequence[Row], clusters: Clusters, train: Mask, held: Mask, by_source: bool = False) -> list[Leak]:
    """Everything that stands on both sides, each named once; ``by_source`` counts a shared source too."""
    first: dict[tuple[str, str], str] = {}
    leaks: dict[tuple[str, str], Leak] = {}
    for side in (train, held):
        for place in np.flatnonzero(side):
            row = rows[place]
            ties = [*_ties(row, int(clusters[place])), ("path", row.path)]
            if by_source:
                ties.append(("source", source_key(row)))
            for tie in ties:
                if side is train:
                    first.setdefault(tie, row.path)
                elif tie in first:
                    leaks.setdefault(tie, Leak(*tie, first[tie], row.path))
    return list(leaks.values())


def check_split(rows: Sequence[Row], clusters: Clusters, train: Mask, held: Mask, by_source: bool = False) -> None:
    """Refuse a split that something crosses.

    Raises:
        LeakError: names the first three leaks.
    """
    leaks = find_leaks(rows, clusters, train, held, by_source)
    if leaks:
        told = "; ".join(f"{k.kind} {k.name}: {k.train_path} and {k.held_path}" for k in leaks[:3])
        raise LeakError(f"{len(leaks)} things stand on both sides of the split: {told}")


def source_folds(rows: Sequence[Row], clusters: Clusters, count: int = 6) -> list[Fold]:
    """Folds over whole sources, where no committed ones exist (clips): sources that share clips or people go together.

    Largest groups first, each into the fold that has least of its classes; the same rows give the same folds.
    """
    keys = [source_key(row) for row in rows]
    parents = {key: key for key in keys}

    def root(key: str) -> str:
        while parents[key] != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    first: dict[tuple[str, str], str] = {}
    for row, cluster, key in zip(rows, clusters, keys, strict=True):
        for tie in _ties(row, int(cluster)):
            parents[root(key)] = root(first.setdefault(tie, key))
    groups: dict[str, list[str]] = defaultdict(list)
    for key in sorted(parents):
        groups[root(key)].append(key)
    sizes = {name: np.array([keys.count(k) for k in members]) for name, members in groups.items()}
    totals = np.zeros((count, 2))
    chosen: list[list[str]] = [[] for _ in range(count)]
    everything = np.array([max(1, sum(row.label == label for row in rows)) for label in (0, 1)])
    for name in sorted(groups, key=lambda name: (-int(sizes[name].sum()), name)):
        brings = np.zeros(2)
        for key, size in zip(groups[name], sizes[name], strict=True):
            brings[int(key.startswith("fake/"))] += size
        load = ((totals + brings) / everything).max(axis=1) + 1e-3 * (totals / everything).sum(axis=1)
        place = int(np.argmin(load))
        totals[place] += brings
        chosen[place] += groups[name]
    return [Fold(f"sources_{place + 1}", tuple(sorted(names))) for place, names in enumerate(chosen) if names]
