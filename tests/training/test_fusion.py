"""Calibration and fusion on few items: what they must find, and what they must never do."""

from __future__ import annotations

import numpy as np
import pytest

from cards.record import Fusion
from pipelines.fusion import fuse
from pipelines.metrics import auc
from training.fusion import calibrate, fit_fusion, member_weights, refits_by_kind

RNG = np.random.default_rng(0)
LABELS = np.tile([0, 1], 100)


def noisy(strength: float) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(strength * (LABELS - 0.5) + RNG.standard_normal(200))


def test_each_member_counts_by_what_it_knows() -> None:
    strong, weak, noise = noisy(3.0), noisy(1.0), noisy(0.0)
    weights, _ = member_weights(np.column_stack([strong, weak, noise]), LABELS)
    assert weights[0] > weights[1] > weights[2] >= 0
    fused = np.column_stack([strong, weak, noise]) @ weights
    assert auc(fused, LABELS) > auc(strong, LABELS)


def test_a_member_that_is_wrong_is_silenced_and_never_turned_round() -> None:
    weights, _ = member_weights(np.column_stack([noisy(2.0), noisy(-2.0)]), LABELS)
    assert weights[1] == 0
    assert calibrate(noisy(-2.0), LABELS, "x").slope > 0


def test_a_separable_handful_does_not_give_certainty() -> None:
    labels = np.array([0, 0, 1, 1])
    logits = np.array([-9.0, -8.0, 8.0, 9.0])
    fitted = calibrate(logits, labels, "x")
    assert abs(fitted.slope * 9 + fitted.intercept) < 3
    fusion = fit_fusion({"a": logits}, labels, {"a": fitted})
    assert abs(fusion.weights["a"] * 3 + fusion.bias) < 20


def test_the_class_balance_of_the_data_is_not_learned() -> None:
    logits = np.concatenate([RNG.normal(-1, 1, 400), RNG.normal(1, 1, 40)])
    labels = np.repeat([0, 1], [400, 40])
    fitted = calibrate(logits, labels, "x")
    assert abs(-fitted.intercept / fitted.slope) < 0.3


def test_the_fitted_fusion_is_a_record_and_flags_at_most_its_target() -> None:
    logits = {"a": noisy(2.0), "b": noisy(1.0)}
    calibrations = {name: calibrate(values, LABELS, "x") for name, values in logits.items()}
    fitted = fit_fusion(logits, LABELS, calibrations)
    record = Fusion(
        members={"a": "0", "b": "1"},
        weights=fitted.weights,
        bias=fitted.bias,
        refits=fitted.refits,
        real_quantiles=fitted.real_quantiles,
        operating_points=fitted.operating_points,
        default_operating_point="fpr_5",
        fitted_on=fitted.fitted_on,
    )
    scores = [fuse({"a": a, "b": b}, calibrations, record) for a, b in zip(logits["a"], logits["b"])]
    threshold = record.operating_points["fpr_5"].threshold
    flagged = 1 / (1 + np.exp(-np.array(scores))) >= threshold
    assert flagged[LABELS == 0].mean() <= 0.05
    assert flagged[LABELS == 1].mean() == pytest.approx(record.operating_points["fpr_5"].tpr)


def test_without_members_or_a_class_there_is_no_fusion() -> None:
    with pytest.raises(ValueError, match="members"):
        fit_fusion({}, LABELS, {})
    with pytest.raises(ValueError, match="both classes"):
        calibrate(np.zeros(3), np.zeros(3, int), "x")


def test_an_interval_speaks_of_equal_classes_however_many_kinds_each_has() -> None:
    """Eleven sources of reals beside three kinds of fakes once moved every interval of a voice away from its number."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], [1100, 300])
    kinds = np.array([f"real_{n % 11}" for n in range(1100)] + [f"fake_{n % 3}" for n in range(300)])
    # Log-odds of +-1.125, give or take 1.5, are what a calibrated score with this overlap looks like.
    log_odds = rng.normal(1.125 * (2 * labels - 1), 1.5)
    mass = np.where(labels == 1, 0.5 / 300, 0.5 / 1100)
    refits = np.array(refits_by_kind(log_odds, labels, kinds, mass, seed=4))
    assert np.median(refits[:, 1]) == pytest.approx(0.0, abs=0.15)
    assert np.median(refits[:, 0]) == pytest.approx(1.0, abs=0.15)


def test_refits_take_and_leave_whole_kinds() -> None:
    labels = np.repeat([0, 1], [40, 40])
    kinds = np.array(["real"] * 40 + ["near"] * 20 + ["far"] * 20)
    log_odds = np.where(kinds == "far", 4.0, np.where(kinds == "near", 0.5, -0.5)) + RNG.normal(0, 0.5, 80)
    slopes = [slope for slope, _ in refits_by_kind(log_odds, labels, kinds, np.full(80, 1 / 80), seed=4)]
    # With `far` alone the classes are far apart, with `near` alone they overlap: the refits are of several sorts.
    assert np.ptp(slopes) > 0.5
