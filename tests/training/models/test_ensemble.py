"""The learned ensemble: who knows more counts more, nobody is ignored, and who is missing is masked."""

from __future__ import annotations

import numpy as np
import pytest

from training.models.ensemble import Ensemble, fit_ensemble

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 600)
SIGNS = 2.0 * LABELS - 1


def member(strength: float) -> np.ndarray:
    """Calibrated log-odds of a member whose evidence has this separation."""
    return 2 * strength * (strength * SIGNS + RNG.standard_normal(len(LABELS)))


def auc(scores: np.ndarray) -> float:
    fakes, reals = scores[LABELS == 1], scores[LABELS == 0]
    return float((fakes[:, None] > reals[None]).mean())


def test_the_ensemble_is_better_than_its_best_member_and_weighs_no_noise() -> None:
    columns = np.column_stack([member(1.0), member(0.7), RNG.standard_normal(len(LABELS))])
    fitted = fit_ensemble(columns, LABELS, ("strong", "weak", "noise"))
    assert auc(fitted.log_odds(columns)) > auc(columns[:, 0]) + 0.01
    assert (fitted.weights >= 0).all()
    # Independent calibrated evidence adds up: both weights are near 1.
    np.testing.assert_allclose(fitted.weights[:2], 1.0, atol=0.35)
    assert fitted.weights[2] < 0.25


def test_no_member_is_ignored() -> None:
    columns = np.column_stack([member(0.8), member(0.8), member(0.8)])
    fitted = fit_ensemble(columns, LABELS, ("a", "b", "c"))
    before = fitted.log_odds(columns)
    for place in range(3):
        moved = columns.copy()
        moved[:, place] += 1.0
        np.testing.assert_allclose(fitted.log_odds(moved) - before, fitted.weights[place])
        assert fitted.weights[place] > 0.3


def test_contributions_add_up_and_name_the_member_that_spoke() -> None:
    fitted = Ensemble(("a", "b"), np.array([1.0, 0.5]), 0.2)
    values = np.array([[2.0, -4.0], [np.nan, 1.0], [3.0, np.nan]])
    shares = fitted.contributions(values)
    np.testing.assert_allclose(shares[0], [2.0, -2.0])
    np.testing.assert_allclose(shares.sum(axis=1) + 0.2, fitted.log_odds(values))
    # The one that is there speaks with the weight of both.
    np.testing.assert_allclose(shares[1], [0.0, 1.5])
    np.testing.assert_allclose(shares[2], [4.5, 0.0])


def test_what_a_missing_member_would_have_said_is_unknown_not_zero() -> None:
    columns = np.column_stack([member(1.0), member(1.0)])
    fitted = fit_ensemble(columns, LABELS, ("image", "clip"))
    alone = columns.copy()
    alone[:, 1] = np.nan
    sure = np.abs(columns[:, 0]) > 3
    # Calling the gap 0 would halve the sum; masked, one member speaks at the scale of both.
    np.testing.assert_allclose(
        fitted.log_odds(alone)[sure] - fitted.bias, fitted.weights.sum() * columns[sure, 0], rtol=1e-9
    )


def test_a_fit_with_gaps_comes_near_the_fit_without() -> None:
    columns = np.column_stack([member(1.0), member(0.6)])
    gaps = columns.copy()
    gaps[RNG.random(len(LABELS)) < 0.3, 1] = np.nan
    full, partial = (fit_ensemble(told, LABELS, ("a", "b")) for told in (columns, gaps))
    assert partial.weights[0] > partial.weights[1] * 0.7
    assert auc(partial.log_odds(columns)) > auc(full.log_odds(columns)) - 0.01


def test_where_only_members_without_weight_answered_their_mean_is_taken() -> None:
    fitted = Ensemble(("a", "b", "c"), np.array([0.0, 0.0, 1.0]), 0.0)
    np.testing.assert_allclose(fitted.log_odds(np.array([[1.0, 3.0, np.nan]])), [2.0])


@pytest.mark.parametrize(
    ("values", "labels", "said"),
    [
        (np.ones((4, 2)), np.ones(4, int), "both classes"),
        (np.array([[1.0, np.nan], [2.0, np.nan]]), np.array([0, 1]), "no value of b"),
        (np.array([[1.0, 1.0], [np.nan, np.nan]]), np.array([0, 1]), "no member that answered"),
    ],
)
def test_what_cannot_be_fitted_is_refused(values: np.ndarray, labels: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit_ensemble(values, labels, ("a", "b"))
