"""Shares with Wilson limits, thresholds with intervals, reliability, and risk against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from pipelines.evaluation import BINS, LEVEL, ROUNDS, Measured
from pipelines.metrics import threshold_at_fpr

Floats = NDArray[np.float64]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Share(_Frozen):
    """A count out of a total, and its 95 % limits (Wilson, 1927); None where the total is 0."""

    count: int
    total: int
    value: float | None = None
    low: float | None = None
    high: float | None = None


class ThresholdRow(_Frozen):
    """A threshold for a target false-positive rate; intervals are of bootstrap samples within each class."""

    target_fpr: float
    threshold: Measured
    tpr: Measured
    fpr: float
    """Share of the given reals at or above the threshold; at most the target."""


class ReliabilityBin(_Frozen):
    """One bin of equal mass: what was said on average, and what was true."""

    said: float
    """Mean probability."""
    fakes: Share


class RiskCoverage(_Frozen):
    """Errors among the items that are judged, where those nearest to the threshold are left out first."""

    coverage: tuple[float, ...]
    """Shares of items judged, rising to 1."""
    risk: tuple[float, ...]
    """Share of errors among them."""
    aurc: float
    """Area under risk over coverage (Geifman & El-Yaniv, 2017): the mean risk over all coverages."""
    best: float
    """The same where every error lies nearer to the threshold than every correct item."""
    error_rate: float


def wilson(count: int, total: int, level: float = LEVEL) -> Share:
    """A share with Wilson's score interval, which stays inside 0 to 1 and is honest for few items."""
    if not total:
        return Share(count=0, total=0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    value = count / total
    centre = (value + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * float(np.sqrt(value * (1 - value) / total + z * z / (4 * total * total)))
    # At the ends the limit is exact; rounding would leave it 1e-17 away.
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == total else centre + half
    return Share(count=count, total=total, value=value, low=low, high=high)


def thresholds(
    reals: ArrayLike, fakes: ArrayLike, targets: Sequence[float], rounds: int = ROUNDS, seed: int = 7
) -> list[ThresholdRow]:
    """Thresholds by target false-positive rate, and what share of the fakes reaches each.

    Args:
        reals, fakes: scores that rise with the belief in a fake, at least one each.
        targets: false-positive rates, 0 to 1.

    Raises:
        ValueError: a class is missing.
    """
    real, fake = np.asarray(reals, dtype=np.float64), np.asarray(fakes, dtype=np.float64)
    if not len(real) or not len(fake):
        raise ValueError("thresholds need reals and fakes")
    rng = np.random.default_rng(seed)
    samples = [(rng.choice(real, len(real)), rng.choice(fake, len(fake))) for _ in range(rounds)]
    rows = []
    for target in targets:
        value = threshold_at_fpr(real, target)
        drawn = np.array([threshold_at_fpr(some, target) for some, _ in samples])
        found = np.array([(some >= limit).mean() for (_, some), limit in zip(samples, drawn)])
        rows.append(
            ThresholdRow(
                target_fpr=target,
                threshold=_spread(value, drawn),
                tpr=_spread(float((fake >= value).mean()), found),
                fpr=float((real >= value).mean()),
            )
        )
    return rows


def _spread(value: float, samples: Floats) -> Measured:
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Measured(value=value, low=float(low), high=float(high))


def reliability(probabilities: ArrayLike, truth: ArrayLike, bins: int = BINS) -> list[ReliabilityBin]:
    """Bins of equal mass by rising probability, at most ``bins`` and never an empty one."""
    said, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=np.int64)
    order = np.argsort(said, kind="stable")
    parts = np.array_split(order, min(bins, len(order))) if len(order) else []
    return [
        ReliabilityBin(said=float(said[part].mean()), fakes=wilson(int(labels[part].sum()), len(part)))
        for part in parts
    ]


def log_odds(probabilities: ArrayLike) -> Floats:
    """Log-odds of probabilities, those nearer than 1e-9 to 0 or 1 held there."""
    values = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-9, 1 - 1e-9)
    return np.asarray(np.log(values) - np.log1p(-values))


def risk_coverage(probabilities: ArrayLike, truth: ArrayLike, threshold: float) -> RiskCoverage:
    """Risk against coverage by the distance to the threshold, in log-odds; items of one distance go together.

    Raises:
        ValueError: there are no items.
    """
    said, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=np.int64)
    if not len(said):
        raise ValueError("risk needs items")
    wrong = ((said >= threshold).astype(np.int64) != labels).astype(np.float64)
    apart = np.abs(log_odds(said) - float(log_odds([threshold])[0]))
    order = np.argsort(-apart, kind="stable")
    # Within a tie the order is arbitrary: each counts the tie's mean.
    _, places, counts = np.unique(-apart[order], return_inverse=True, return_counts=True)
    shared = (np.bincount(places, weights=wrong[order]) / counts)[places]
    judged = np.arange(1, len(said) + 1)
    risk = np.cumsum(shared) / judged
    errors = int(wrong.sum())
    best = np.maximum(0, judged - (len(said) - errors)) / judged
    return RiskCoverage(
        coverage=tuple((judged / len(said)).tolist()),
        risk=tuple(risk.tolist()),
        aurc=float(risk.mean()),
        best=float(best.mean()),
        error_rate=errors / len(said),
    )
