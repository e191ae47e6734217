"""Measures against values known from theory, from brute force and from symmetric cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.metrics import (
    auc,
    bootstrap_interval,
    ece,
    eer,
    false_positive_rate,
    platt,
    resamples,
    roc,
    threshold_at_fpr,
    tpr_at_fpr,
)

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def brute_auc(scores: Array, labels: Array) -> float:
    fakes, reals = scores[labels == 1], scores[labels == 0]
    return float(np.mean([(f > r) + 0.5 * (f == r) for f in fakes for r in reals]))


@pytest.mark.parametrize("levels", [1, 4, 1000])
def test_auc_is_the_share_of_ordered_pairs(levels: int) -> None:
    scores, labels = RNG.integers(0, levels, 120).astype(float), RNG.integers(0, 2, 120)
    assert auc(scores, labels) == pytest.approx(brute_auc(scores, labels))
    assert auc(-scores, labels) == pytest.approx(1 - auc(scores, labels))


def test_the_roc_curve_has_the_auc_as_its_area() -> None:
    scores, labels = RNG.normal(0, 1, 300).round(1), RNG.integers(0, 2, 300)
    fpr, tpr, thresholds = roc(scores, labels)
    assert np.trapz(tpr, fpr) == pytest.approx(auc(scores, labels))  # noqa: NPY201
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    for rate, threshold in zip(fpr[1:], thresholds[1:], strict=True):
        assert (scores[labels == 0] >= threshold).mean() == pytest.approx(rate)


def test_eer_of_two_shifted_normals_is_known() -> None:
    scores = np.concatenate([RNG.normal(0, 1, 20_000), RNG.normal(2, 1, 20_000)])
    assert eer(scores, np.repeat([0, 1], 20_000)) == pytest.approx(0.1587, abs=0.005)
    assert eer([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]) == 0
    assert eer([0.8, 0.9, 0.1, 0.2], [0, 0, 1, 1]) == 1
    assert eer([0.5, 0.5], [0, 1]) == pytest.approx(0.5)


def test_tpr_at_a_false_positive_rate() -> None:
    reals, fakes = np.arange(100) / 100, np.array([0.985, 0.995, 0.5, 1.5])
    scores, labels = np.concatenate([reals, fakes]), np.repeat([0, 1], [100, 4])
    assert tpr_at_fpr(scores, labels, 0.0) == 0.5
    assert tpr_at_fpr(scores, labels, 0.01) == 0.75
    assert tpr_at_fpr(scores, labels, 1.0) == 1.0


@pytest.mark.parametrize("target", [0.0, 0.01, 0.05, 0.1, 0.999, 1.0])
def test_a_threshold_keeps_its_promise_and_wastes_nothing(target: float) -> None:
    reals = RNG.normal(0, 1, 500)
    threshold = threshold_at_fpr(reals, target)
    assert (reals >= threshold).mean() <= target + 1e-12
    assert (reals >= threshold).sum() == int(target * 500 + 1e-9)


def test_ece_is_zero_for_true_probabilities_and_the_gap_for_a_biased_one() -> None:
    probabilities = RNG.random(100_000)
    labels = (RNG.random(100_000) < probabilities).astype(int)
    assert ece(probabilities, labels) < 0.01
    assert ece(np.full(1000, 0.9), np.tile([0, 1], 500)) == pytest.approx(0.4, abs=0.02)


def test_platt_finds_the_line_that_made_the_labels() -> None:
    logits = RNG.normal(0, 2, 60_000)
    labels = (RNG.random(60_000) < 1 / (1 + np.exp(-(0.6 * logits - 1.2)))).astype(int)
    assert platt(logits, labels) == pytest.approx((0.6, -1.2), abs=0.03)


def test_platt_stays_finite_on_separable_data_and_never_turns_a_detector_round() -> None:
    slope, intercept = platt([-3.0, -2.0, 2.0, 3.0], [0, 0, 1, 1])
    assert 0 < slope < 10
    assert abs(intercept) < 1
    assert platt([3.0, 2.0, -2.0, -3.0], [0, 0, 1, 1])[0] == 0.01
    reversed_slope, reversed_intercept = platt(np.linspace(-30, 30, 400), np.repeat([1, 0], 200))
    assert reversed_slope == 0.01
    assert abs(reversed_intercept) < 0.01
    with pytest.raises(ValueError, match="both classes"):
        platt([1.0, 2.0], [1, 1])


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """AUC of two normals one apart is 0.760; 60 experiments with a 90 % interval."""
    hits = 0
    labels = np.repeat([0, 1], 60)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores = np.concatenate([rng.normal(0, 1, 60), rng.normal(1, 1, 60)])
        low, high = bootstrap_interval(auc, scores, labels, rounds=200, level=0.9, seed=seed)
        hits += low <= 0.7602 <= high
    assert 47 <= hits <= 60


def test_samples_by_group_take_whole_groups() -> None:
    labels, groups = np.tile([0, 1], 10), np.repeat(np.arange(10), 2)
    for sample in resamples(labels, 20, 1, groups):
        drawn = np.bincount(groups[sample], minlength=10)
        assert (drawn % 2 == 0).all()
        assert len(sample) == 20


def test_one_class_alone_has_no_measure() -> None:
    for measure in (auc, eer, lambda s, y: tpr_at_fpr(s, y, 0.05)):
        assert np.isnan(measure([0.1, 0.2], [0, 0]))
    assert np.isnan(bootstrap_interval(auc, [0.1, 0.2], [1, 1])).all()
    assert np.isnan(false_positive_rate([0.1], [1], 0.5))


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [([0.1], [0, 1], "one length"), ([float("nan"), 1.0], [0, 1], "finite"), ([0.1, 0.2], [0, 2], "labels are")],
)
def test_wrong_columns_are_refused(scores: list[float], labels: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        auc(scores, labels)
