"""Fusing calibrated members on scores whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.fusion import combine
from pipelines.metrics import auc
from training.calibrate import fit
from training.fuse import Rule, fuse_members
from training.report import Fit
from training.scores import Scores, peers_of

RNG = np.random.default_rng(2)
LABELS = np.repeat([0, 1], 600)
SOURCES = np.repeat(["real_a", "real_b", "fake_a", "fake_b"], 300)


def member(strength: float) -> tuple[Scores, Fit]:
    """A network of its own noise."""
    scores = Scores(RNG.normal(LABELS * strength, 1.0), LABELS, SOURCES, "made up", None)
    return scores, fit(scores)


def fused_scores(members: dict[str, tuple[Scores, Fit]], rule: Rule = "sum") -> tuple[dict[str, float], np.ndarray]:  # type: ignore[type-arg]
    found = fuse_members(members, rule)
    parts = np.column_stack(
        [
            m[1].calibration.slope * m[0].logits + m[1].calibration.intercept
            for m in map(members.get, found.weights)
            if m
        ]
    )
    return found.weights, found.bias + found.slope * combine(parts, list(found.weights.values()), found.rule)


def test_two_members_of_independent_noise_are_better_than_either_and_stay_calibrated() -> None:
    members = {"one": member(1.0), "two": member(0.8)}
    weights, values = fused_scores(members)
    assert set(weights) == {"one", "two"}
    assert weights["one"] > weights["two"] > 0
    assert auc(values, LABELS) > max(auc(scores.logits, LABELS) for scores, _ in members.values()) + 0.02
    probabilities = 1 / (1 + np.exp(-values))
    assert probabilities[LABELS == 1].mean() > 0.5 > probabilities[LABELS == 0].mean()
    assert probabilities.mean() == pytest.approx(0.5, abs=0.03)


def test_a_member_that_adds_nothing_is_left_out() -> None:
    weights, _ = fused_scores({"one": member(1.5), "noise": member(0.0)})
    assert set(weights) == {"one"}


def test_members_that_know_one_manner_each_find_more_by_any_than_by_sum() -> None:
    manner = np.where(np.char.endswith(SOURCES, "_a"), "a", "b")

    def expert(mine: str) -> tuple[Scores, Fit]:
        # It finds its own manner and takes the other for more than real, as measured on real networks.
        means = np.where(LABELS == 0, 0.0, np.where(manner == mine, 3.0, -1.5))
        scores = Scores(RNG.normal(means, 1.0), LABELS, SOURCES, "made up", None)
        own = (LABELS == 0) | (manner == mine)
        return scores, fit(Scores(scores.logits[own], LABELS[own], SOURCES[own], "made up", None))

    members = {"a": expert("a"), "b": expert("b")}
    by_any, by_sum = fused_scores(members, "any")[1], fused_scores(members, "sum")[1]
    assert auc(by_any, LABELS) > auc(by_sum, LABELS) + 0.03
    probabilities = 1 / (1 + np.exp(-by_any))
    assert probabilities.mean() == pytest.approx(0.5, abs=0.05)


def test_a_fake_is_compared_with_the_reals_that_look_like_it_and_of_its_own_pipeline_where_it_has_some() -> None:
    styles = np.zeros((40, 2), np.float16)
    styles[:, 0] = 1.0
    styles[20:33] = (0.0, 1.0)  # reals in the manner of fake 0
    styles[0] = (0.0, 1.0)
    reals = np.arange(2, 40)
    sources = ["openforensics" if item < 20 else "mebeauty" for item in reals]
    peers = peers_of(styles, np.array([0, 1]), ["gpt_image", "openforensics"], reals, sources)
    assert set(reals[peers[0]]) <= set(range(20, 33))
    assert set(reals[peers[1]]) <= set(range(2, 20))


def test_one_member_keeps_its_own_fit() -> None:
    scores, own = member(1.0)
    found = fuse_members({"alone": (scores, own)})
    assert (found.weights, found.bias, found.fit) == ({"alone": 1.0}, 0.0, own)


def test_members_that_scored_other_photos_are_refused() -> None:
    scores, own = member(1.0)
    other = replace(scores, sources=scores.sources[::-1])
    with pytest.raises(ValueError, match="other photos"):
        fuse_members({"one": (scores, own), "two": (other, own)})
    with pytest.raises(ValueError, match="at least one"):
        fuse_members({})
