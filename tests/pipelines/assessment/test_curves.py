"""Measures against closed forms and planted truth."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.assessment.curves import reliability, risk_coverage, thresholds, wilson


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_limits_agree_with_the_values_that_newcombe_published_in_1998(
    count: int, total: int, low: float, high: float
) -> None:
    share = wilson(count, total)
    assert share.low == pytest.approx(low, abs=6e-5)
    assert share.high == pytest.approx(high, abs=6e-5)


def test_a_share_of_nothing_has_no_value() -> None:
    assert wilson(0, 0).value is None


def test_a_threshold_keeps_its_target_and_its_interval_holds_the_true_quantile() -> None:
    rng = np.random.default_rng(0)
    row = thresholds(rng.normal(0, 1, 2000), rng.normal(2, 1, 2000), [0.05], rounds=300)[0]
    assert row.fpr <= 0.05
    assert row.threshold.low is not None
    assert row.threshold.high is not None
    assert row.threshold.low < 1.645 < row.threshold.high  # the normal's 95th percentile
    assert row.tpr.value == pytest.approx(0.639, abs=0.04)  # P(N(2, 1) > 1.645)


def test_thresholds_need_both_classes() -> None:
    with pytest.raises(ValueError, match="reals and fakes"):
        thresholds([], [0.1], [0.05])


def test_reliability_finds_a_planted_bias_and_none_where_there_is_none() -> None:
    rng = np.random.default_rng(1)
    said = rng.random(30_000)
    fair = reliability(said, rng.random(30_000) < said)
    assert len(fair) == 15
    assert {item.fakes.total for item in fair} == {2000}
    assert all(item.fakes.value == pytest.approx(item.said, abs=0.04) for item in fair)
    bold = reliability(said, rng.random(30_000) < 0.5)
    assert bold[0].fakes.value == pytest.approx(0.5, abs=0.05)


def test_risk_of_a_detector_at_chance_is_one_half_at_every_coverage() -> None:
    rng = np.random.default_rng(2)
    found = risk_coverage(rng.random(20_000), rng.integers(0, 2, 20_000), 0.5)
    assert found.aurc == pytest.approx(0.5, abs=0.02)
    assert found.coverage[-1] == 1.0


def test_errors_next_to_the_threshold_give_the_best_area() -> None:
    said = np.concatenate([np.linspace(0.8, 0.99, 90), np.linspace(0.51, 0.55, 10)])
    truth = np.concatenate([np.ones(90, int), np.zeros(10, int)])
    found = risk_coverage(said, truth, 0.5)
    assert found.aurc == pytest.approx(found.best)
    # The oracle's closed form: r + (1 - r) ln(1 - r).
    assert found.best == pytest.approx(0.1 + 0.9 * np.log(0.9), abs=0.001)


def test_items_of_one_distance_share_their_errors_whatever_their_order() -> None:
    truth = np.array([1, 1, 1, 0])
    found = risk_coverage(np.full(4, 0.9), truth, 0.5)
    assert found.risk == pytest.approx([0.25] * 4)
    assert found == risk_coverage(np.full(4, 0.9), truth[::-1], 0.5)
