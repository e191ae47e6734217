"""Which items train and which validate: what the data says, else a share of whole clusters of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.manifest import Row

Ints = npt.NDArray[np.int64]


class TooLittleDataError(ValueError):
    """A class is missing, or has too few items to train and to validate."""


def partition(
    rows: Sequence[Row], clusters: npt.NDArray[np.integer[Any]], share: float, seed: int, least: int = 2
) -> tuple[Ints, Ints]:
    """Positions of the training and of the validation items.

    Where the data has items of both classes in ``val``, these validate and all others train. Elsewhere ``share`` of
    each class is drawn by whole clusters: near-duplicates and pictures of one clip or person stay on one side.

    Args:
        clusters: [n], one number for items that belong together.
        share: 0 to 1, at least one item of each class.
        least: items of each class that both sides need.

    Raises:
        TooLittleDataError: a side lacks a class.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of validation items must lie between 0 and 1, got {share}")
    labels = np.array([row.label for row in rows], dtype=np.int64)
    given = np.array([row.split == "val" for row in rows], dtype=bool)
    if len({int(label) for label in labels[given]}) == 2:
        held = given
    else:
        held = _drawn(labels, np.asarray(clusters, dtype=np.int64), share, seed)
    train, val = np.flatnonzero(~held), np.flatnonzero(held)
    for side, places in (("training", train), ("validation", val)):
        counts = [int((labels[places] == label).sum()) for label in (0, 1)]
        if min(counts) < (least if side == "training" else 1):
            raise TooLittleDataError(
                f"{counts[0]} real and {counts[1]} fake items are left for {side}: give more, of different sources"
            )
    return train, val


def _drawn(labels: Ints, clusters: npt.NDArray[np.integer[Any]], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Clusters in random order go to validation while they bring a class nearer to its share."""
    wanted = [max(1, round(share * int((labels == label).sum()))) for label in (0, 1)]
    held = np.zeros(len(labels), dtype=bool)
    for number in np.random.default_rng(seed).permutation(np.unique(clusters)):
        members = clusters == number
        brings = [int((members & (labels == label)).sum()) for label in (0, 1)]
        have = [int((held & (labels == label)).sum()) for label in (0, 1)]
        if all(have[label] + brings[label] <= wanted[label] for label in (0, 1)):
            held |= members
    return held
