"""Folds of clips: whole sources and all that belongs to them are left out in turn.

A clip is scored only by a model that saw neither its source nor any clip of its people or its originals. Sources are
dealt into folds so that each holds about as many reals and fakes; what a held-out clip belongs together with
(``training.data.relations``) is left out of training as well, even where it is tested in another fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.manifest import Row

COLLECTIONS = ("real_clips", "misc_talking_heads")
"""Folders of clips from many origins: a clip there is a source of its own."""
COUNT = 6
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """Positions of the clips that are tested, and of those that may be trained on."""

    test: Ints
    train: Ints


def source_of(row: Row) -> str:
    """Origin of a clip; FaceForensics++ is one, because its methods share their clips."""
    if row.source.startswith("ffpp"):
        return "ffpp"
    return row.path if row.source in COLLECTIONS else row.source


def clip_folds(rows: Sequence[Row], identities: Sequence[frozenset[str]], count: int = COUNT) -> list[Fold]:
    """Folds of the clips, each clip tested once.

    Args:
        rows: of the manifest; identities: of each, what it must stay together with.
        count: folds.
    """
    sources = np.array([source_of(row) for row in rows])
    labels = np.array([row.label for row in rows])
    names, sizes = np.unique(sources, return_counts=True)
    filled = np.zeros((count, 2))
    place_of: dict[str, int] = {}
    for name in names[np.argsort(-sizes, kind="stable")].tolist():
        mine = labels[sources == name]
        added = np.array([(mine == 0).sum(), (mine == 1).sum()])
        place = int(np.argmin(((filled + added) ** 2).sum(axis=1)))
        filled[place] += added
        place_of[name] = place
    folds = []
    for place in range(count):
        test = np.flatnonzero([place_of[name] == place for name in sources.tolist()])
        barred_sources = set(sources[test].tolist())
        barred = frozenset().union(*(identities[item] for item in test.tolist()))
        train = [
            item for item in range(len(rows)) if sources[item] not in barred_sources and not identities[item] & barred
        ]
        folds.append(Fold(test, np.array(train, dtype=np.int64)))
    return folds
