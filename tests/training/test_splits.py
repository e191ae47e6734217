"""No identity, cluster or source crosses a split, and a planted leak is found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from training.data.layout import read_data
from training.data.manifest import Row
from training.data.near_duplicates import cluster
from training.data.splits import (
    Fold,
    LeakError,
    check_split,
    find_leaks,
    fold_masks,
    read_folds,
    source_folds,
    source_key,
)
from training.prepare import data_folder

HERE = data_folder().is_dir()


def row(source: str, name: str, label: int = 0, *identities: str) -> Row:
    return Row(f"{source}/{name}", label, source, identities, "x", "no")


ROWS = [
    row("c23", "a", 1, "ffpp:033", "ffpp:097"),
    row("c23", "b", 1, "ffpp:044"),
    row("c40", "a", 1, "ffpp:097"),  # the same clip at another compression
    row("c40", "b", 1, "ffpp:500"),
    row("web", "a"),
    row("web", "copy of c23/b"),
    row("photos", "a"),
]
CLUSTERS = np.array([0, 1, 2, 3, 4, 1, 6])


def test_what_shares_a_clip_or_a_look_with_the_left_out_sources_is_on_neither_side() -> None:
    (split,) = fold_masks(ROWS, CLUSTERS, [Fold("light", ("fake/c23",))])
    assert split.held.tolist() == [True, True, False, False, False, False, False]
    assert split.train.tolist() == [False, False, False, True, True, False, True]
    assert split.dropped.tolist() == [False, False, True, False, False, True, False]
    check_split(ROWS, CLUSTERS, split.train, split.held, by_source=True)


def test_planted_leaks_are_found_and_named() -> None:
    held = np.array([True] + [False] * 6)
    leaks = find_leaks(ROWS, CLUSTERS, ~held, held)
    assert [(leak.kind, leak.name, leak.train_path) for leak in leaks] == [("identity", "ffpp:097", "c40/a")]
    with pytest.raises(LeakError, match="ffpp:097"):
        check_split(ROWS, CLUSTERS, ~held, held)
    held = np.array([False] * 5 + [True, False])
    assert [(leak.kind, leak.train_path) for leak in find_leaks(ROWS, CLUSTERS, ~held, held)] == [("cluster", "c23/b")]
    assert {leak.kind for leak in find_leaks(ROWS, CLUSTERS, ~held, held, by_source=True)} == {"cluster", "source"}
    everything = np.ones(7, dtype=np.bool_)
    with pytest.raises(LeakError, match="things stand on both sides"):
        check_split(ROWS[:1], CLUSTERS[:1], everything[:1], everything[:1])


def test_a_source_in_two_folds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "folds.json"
    path.write_text(json.dumps([{"name": n, "sources": ["fake/a", f"fake/{n}"]} for n in ("x", "y")]))
    with pytest.raises(ValueError, match="fake/a"):
        read_folds(path)


def test_folds_over_sources_keep_tied_sources_together_and_cover_all() -> None:
    rows = [row(f"s{k}", str(n), k % 2) for k in range(12) for n in range(5)]
    rows += [row("tied", "a", 1, "p:1"), row("s0", "tied", 0, "p:1")]
    clusters = np.arange(len(rows))
    folds = source_folds(rows, clusters, 4)
    assert folds == source_folds(rows, clusters, 4)
    names = [name for fold in folds for name in fold.sources]
    assert sorted(names) == sorted({source_key(each) for each in rows})
    assert any({"fake/tied", "real/s0"} <= set(fold.sources) for fold in folds)
    for split in fold_masks(rows, clusters, folds):
        assert not split.dropped.any()
        assert 10 <= split.held.sum() <= 20
        check_split(rows, clusters, split.train, split.held, by_source=True)


@pytest.mark.skipif(not HERE, reason="the training data is not here")
def test_no_committed_fold_is_crossed_on_the_training_data() -> None:
    rows = read_data(data_folder(), medium="image")
    together = cluster(
        [0x9E3779B97F4A7C15 * k % 2**64 for k in range(len(rows))], [each.identities for each in rows], 0
    )
    keys = {source_key(each) for each in rows}
    folds = read_folds()
    assert 6 <= len(folds) <= 8
    for fold, split in zip(folds, fold_masks(rows, together, folds), strict=True):
        assert set(fold.sources) <= keys, fold.name
        assert split.held.any()
        labels = {rows[place].label for place in np.flatnonzero(split.held)}
        assert labels == {0, 1}, fold.name
        check_split(rows, together, split.train, split.held, by_source=True)


@pytest.mark.skipif(not HERE, reason="the training data is not here")
def test_clips_fall_into_folds_with_both_classes_and_without_leaks() -> None:
    rows = read_data(data_folder(), medium="video")
    clusters = np.arange(len(rows))
    folds = source_folds(rows, clusters, 4)
    for split in fold_masks(rows, clusters, folds):
        check_split(rows, clusters, split.train, split.held, by_source=True)
        assert {rows[place].label for place in np.flatnonzero(split.held)} == {0, 1}
        assert split.train.sum() > 150
