"""The table of held-out kinds: fakes against all reals and against those alike, and which kinds no run saw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from training.calibrate import fit
from training.fuse import fuse_members
from training.held_out_table import kind_rows, verdict_odds, write_table
from training.scores import Scores

SOURCES = np.array(["studio"] * 40 + ["street"] * 40 + ["stylegan3"] * 20 + ["gpt_image"] * 20)
LABELS = np.array([0] * 80 + [1] * 40)


def scored(seed: int = 1) -> Scores:
    """Studio photos score as high as the fakes that look like them, so that only street photos are told apart."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 0.1, 120) + np.where(SOURCES == "street", -3.0, 0.0)
    peers = np.full((120, 12), -1)
    peers[80:] = np.arange(12)  # studio photos
    return Scores(logits, LABELS, SOURCES, "a test", None, peers)


def test_a_fake_is_ranked_against_all_reals_and_against_those_alike() -> None:
    scores = scored()
    rows = {row["kind"]: row for row in kind_rows(scores.logits, scores)}
    assert set(rows) == {"stylegan3", "gpt_image"}
    assert rows["stylegan3"]["trained_on"]
    assert not rows["gpt_image"]["trained_on"]
    for row in rows.values():
        assert row["fakes"] == 20
        assert row["auc"] == pytest.approx(0.75, abs=0.06)
        assert row["auc_alike"]["low"] < row["auc_alike"]["value"] < row["auc_alike"]["high"]
        assert row["auc_alike"]["value"] == pytest.approx(0.5, abs=0.15)


def test_the_table_is_of_the_verdict_and_its_means_keep_the_left_out_kinds_apart(tmp_path: Path) -> None:
    members = {name: (scores, fit(scores)) for name, scores in (("a", scored(1)), ("b", scored(2)))}
    fused = fuse_members(members, keep=True)
    odds = verdict_odds(fused, members, None)
    assert np.corrcoef(odds, members["a"][0].logits + members["b"][0].logits)[0, 1] > 0.99
    write_table(tmp_path / "table.json", fused, members, None)
    told = json.loads((tmp_path / "table.json").read_text())
    assert (told["members"], told["reals"]) == (["a", "b"], 80)
    by_kind = {row["kind"]: row["auc"] for row in told["kinds"]}
    assert told["means"]["left_out"]["auc"] == by_kind["gpt_image"]
    assert told["means"]["all"]["auc"] == pytest.approx(np.mean(list(by_kind.values())), abs=1e-4)
