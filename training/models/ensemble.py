"""The learned ensemble: a weighted sum of the members' calibrated log-odds.

Stacking with non-negative weights (Breiman 1996) by logistic regression with an L2 penalty that draws the weights to
the plain mean of the members (``training.fusion.member_weights``): with little to learn from, the ensemble is the mean.
A member that did not answer (no clip, no face) is masked: the others speak for it in the ratio of their weights, so
that the scale of the sum does not depend on who is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.fusion import PENALTY, member_weights

Floats = npt.NDArray[np.float64]
_ROUNDS = 20


@dataclass(frozen=True)
class Ensemble:
    """Weights of members by name.

    Attributes:
        names: of the members, in the order of the columns; weights: [m], none below 0; bias: in log-odds.
    """

    names: tuple[str, ...]
    weights: Floats
    bias: float

    def __post_init__(self) -> None:
        if len(self.names) != len(self.weights) or not len(self.names):
            raise ValueError(f"{len(self.names)} names and {len(self.weights)} weights")
        if (self.weights < 0).any():
            raise ValueError("weights must not be negative")

    def contributions(self, log_odds: Floats) -> Floats:
        """What each member adds to the fused log-odds, [n, m]; with the bias they add up to it.

        Args:
            log_odds: [n, m], calibrated; NaN where a member is missing, which then adds 0.

        Raises:
            ValueError: the number of columns differs from that of the members, or an item has no member at all.
        """
        if log_odds.ndim != 2 or log_odds.shape[1] != len(self.names):
            raise ValueError(f"log-odds have shape {log_odds.shape}, expected [n, {len(self.names)}]")
        there = ~np.isnan(log_odds)
        if not there.any(axis=1).all():
            raise ValueError("an item has no member that answered")
        shares = there * self.weights
        # Where only members of no weight answered, their plain mean has to do.
        silent = ~(shares.sum(axis=1) > 0)
        shares[silent] = there[silent]
        total = float(self.weights.sum()) or 1.0
        shares *= total / shares.sum(axis=1, keepdims=True)
        return np.asarray(shares * np.where(there, log_odds, 0.0), dtype=np.float64)

    def log_odds(self, log_odds: Floats) -> Floats:
        """Fused log-odds [n] of the members' [n, m]; raises as :meth:`contributions` does."""
        return np.asarray(self.contributions(log_odds).sum(axis=1) + self.bias, dtype=np.float64)


def fit_ensemble(
    log_odds: Floats, labels: npt.NDArray[np.int64], names: tuple[str, ...], penalty: float = PENALTY
) -> Ensemble:
    """Fit the weights on items that no member was trained on.

    With missing members the fit fills a gap with what the others say under the last weights, and repeats until the
    weights stand still.

    Args:
        log_odds: [n, m], calibrated, NaN where a member is missing; labels: [n], 1 fake.

    Raises:
        ValueError: a class is missing, or an item or a member has no value at all.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("an ensemble needs both classes")
    there = ~np.isnan(log_odds)
    if not there.any(axis=0).all():
        absent = [name for name, seen in zip(names, there.any(axis=0)) if not seen]
        raise ValueError(f"no value of {', '.join(absent)}")
    fitted = Ensemble(names, np.full(len(names), 1.0 / len(names)), 0.0)
    for _ in range(_ROUNDS):
        total = float(fitted.weights.sum()) or 1.0
        others = (fitted.log_odds(log_odds) - fitted.bias) / total
        filled = np.where(there, log_odds, others[:, None])
        weights, bias = member_weights(filled, labels, penalty)
        still = there.all() or float(np.abs(weights - fitted.weights).max()) < 1e-4
        fitted = Ensemble(names, weights, bias)
        if still:
            break
    return fitted
