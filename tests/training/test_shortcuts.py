"""Shortcut tests see planted shortcuts, say nothing where there are none, and the committed pairs keep the limit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from training.data.shortcuts import Result, Shortcuts, Table, score

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "shortcuts.json"


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
