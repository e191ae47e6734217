"""From raw logits to one calibrated probability: calibration, fusion, many faces, interval, label.

Platt scaling (Platt, 1999) calibrates each member; the fused log-odds are their weighted sum or, where each member
knows another manner of faking, the logarithm of the sum of their odds. For many faces see :func:`combine_faces`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cards.record import Calibration, Fusion


def sigmoid(log_odds: float) -> float:
    """Probability of log-odds, without overflow."""
    bounded = max(-60.0, min(60.0, log_odds))
    return float(1.0 / (1.0 + np.exp(-bounded)))


def combine(log_odds: NDArray[np.float64], weights: Sequence[float], rule: str) -> NDArray[np.float64]:
    """Log-odds [n] of members' calibrated log-odds [n, m] by a rule of :class:`cards.record.Fusion`."""
    weighed = log_odds * np.asarray(weights, dtype=np.float64)
    return np.asarray(np.logaddexp.reduce(weighed, axis=1) if rule == "any" else weighed.sum(axis=1))


def shares(log_odds: Mapping[str, float], fusion: Fusion | None) -> dict[str, float]:
    """What one more unit of each member's log-odds would add to the fused ones: its weight in this very answer."""
    if fusion is None:
        return dict.fromkeys(log_odds, 1.0 / len(log_odds))
    if fusion.rule == "sum":
        return {name: fusion.slope * fusion.weights[name] for name in log_odds}
    whole = np.logaddexp.reduce([fusion.weights[name] * value for name, value in log_odds.items()])
    return {
        name: float(fusion.slope * fusion.weights[name] * np.exp(fusion.weights[name] * value - whole))
        for name, value in log_odds.items()
    }


def fuse(
    logits: Mapping[str, float],
    calibrations: Mapping[str, Calibration | None],
    fusion: Fusion | None,
) -> float:
    """Fused log-odds of one face.

    Args:
        logits: raw logit of each member that ran.
        calibrations: of the record that ran, by member; a raw logit counts as it is where None.
        fusion: weights; the mean of the calibrated log-odds where None.
    """
    calibrated = {}
    for name, logit in logits.items():
        calibration = calibrations.get(name)
        calibrated[name] = logit if calibration is None else calibration.log_odds(logit)
    if fusion is None:
        return float(np.mean(list(calibrated.values())))
    row = np.array([list(calibrated.values())])
    weights = [fusion.weights[name] for name in calibrated]
    return float(fusion.bias + fusion.slope * combine(row, weights, fusion.rule)[0])


def combine_faces(log_odds: Sequence[float], real_quantiles: Sequence[float]) -> float:
    """One face's worth of log-odds for a photo of many faces.

    The largest of n values of real faces is larger than one of them, so fifty real faces would add up to
    a fake. Each face's tail probability p under the distribution of real faces is taken, the smallest is
    corrected for n looks (Sidak, 1967: ``1 - (1 - p)^n``), and the log-odds of a single face with that
    tail probability are returned. One face gives its own value back. Real faces of sources
    that the quantiles do not know have a heavier tail (``CAUTION``).

    Args:
        log_odds: fused log-odds of each face, at least one.
        real_quantiles: evenly spaced quantiles (0 to 1) of single real faces; without them the largest
            value is returned.
    """
    largest = float(max(log_odds))
    if len(log_odds) == 1 or len(real_quantiles) < 3:
        return largest
    tails = _TailTable(np.asarray(real_quantiles, dtype=np.float64))
    smallest = min(tails.tail(largest), 1.0 - 1e-12)
    corrected = -np.expm1(len(log_odds) * np.log1p(-smallest))
    return min(largest, tails.value(float(corrected)))


CAUTION = 1.5
"""The upper twentieth of a verdict's table comes from some twenty real faces; the upper 95 % limit of an exponential's
scale that is known from so few is one and a half times the estimate (2n / chi-square). With the estimate itself mosaics
of 30 faces of new sources are flagged more than twice as often as single faces of them (training/EXPERIMENTS.md)."""


class _TailTable:
    """P(real face >= value) from quantiles, and its inverse.

    The table ends at its last quantile but one (the last is the largest value seen, which says little);
    above it the tail falls exponentially, with the scale of the table's upper twentieth, times :data:`CAUTION`.
    """

    def __init__(self, quantiles: NDArray[np.float64]) -> None:
        self._values = quantiles[:-1] + np.arange(len(quantiles) - 1) * 1e-9  # strictly rising
        self._tails = 1.0 - np.arange(len(quantiles) - 1) / (len(quantiles) - 1)
        back = max(1, len(self._values) // 20)
        fall = np.log(self._tails[-1 - back] / self._tails[-1]) if len(self._values) > back else 1.0
        self._scale = CAUTION * max(float((self._values[-1] - self._values[-1 - back]) / fall), 1e-3)

    def tail(self, value: float) -> float:
        if value > self._values[-1]:
            return float(self._tails[-1] * np.exp(-(value - self._values[-1]) / self._scale))
        return float(np.interp(value, self._values, self._tails))

    def value(self, tail: float) -> float:
        if tail < self._tails[-1]:
            return float(self._values[-1] - self._scale * np.log(max(tail, 1e-300) / self._tails[-1]))
        return float(np.interp(-tail, -self._tails, self._values))


def interval(log_odds: float, refits: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """5th and 95th percentile of the probability over bootstrap refits, or None without refits."""
    if not refits:
        return None
    values = [sigmoid(slope * log_odds + intercept) for slope, intercept in refits]
    low, high = np.percentile(values, [5.0, 95.0])
    return float(low), float(high)
