"""Measures of a detector, in NumPy alone: AUC, EER, TPR at a fixed FPR, calibration error, bootstrap intervals.

Scores rise with the belief in a fake; labels are 1 for fake and 0 for real. A measure that needs both classes is NaN
where one is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Least slope of a calibration.
MIN_SLOPE = 0.01
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _columns(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(f"scores and labels must be two columns of one length, got {values.shape} and {truth.shape}")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite: leave out what was not scored")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels are 0 (real) and 1 (fake)")
    return values, truth


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a fake scores above a real, ties counted half (Mann-Whitney)."""
    values, truth = _columns(scores, labels)
    fakes, reals = int(truth.sum()), int((1 - truth).sum())
    if not fakes or not reals:
        return float("nan")
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return float((ranks[truth == 1].sum() - fakes * (fakes + 1) / 2) / (fakes * reals))


def roc(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """False-positive rates, true-positive rates and thresholds (``score >= threshold`` is a fake), by rising rates."""
    values, truth = _columns(scores, labels)
    order = np.argsort(-values, kind="stable")
    values, truth = values[order], truth[order]
    ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1) if len(values) else np.zeros(0, np.int64)
    hits, alarms = np.cumsum(truth)[ends], np.cumsum(1 - truth)[ends]
    tpr = np.append(0.0, hits / max(1, truth.sum()))
    fpr = np.append(0.0, alarms / max(1, (1 - truth).sum()))
    return fpr, tpr, np.append(np.inf, values[ends])


def eer(scores: ArrayLike, labels: ArrayLike) -> float:
    """Equal error rate: where the false-positive and the false-negative rate cross, on the interpolated ROC curve."""
    _, truth = _columns(scores, labels)
    if len(np.unique(truth)) < 2:
        return float("nan")
    fpr, tpr, _ = roc(scores, labels)
    gap = fpr - (1 - tpr)  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = max(0, after - 1)
    span = gap[after] - gap[before]
    share = 0.0 if span == 0 else -gap[before] / span
    return float(fpr[before] + share * (fpr[after] - fpr[before]))


def tpr_at_fpr(scores: ArrayLike, labels: ArrayLike, target: float) -> float:
    """Largest true-positive rate at a false-positive rate of at most ``target``."""
    _, truth = _columns(scores, labels)
    if len(np.unique(truth)) < 2:
        return float("nan")
    fpr, tpr, _ = roc(scores, labels)
    return float(tpr[fpr <= target + 1e-12].max())


def threshold_at_fpr(real_scores: ArrayLike, target: float) -> float:
    """Smallest threshold at which at most ``target`` of the reals reach it (``score >= threshold`` is a fake)."""
    reals = np.sort(np.asarray(real_scores, dtype=np.float64))
    if not len(reals):
        raise ValueError("a threshold needs real items")
    allowed = int(np.floor(target * len(reals) + 1e-9))
    if allowed >= len(reals):
        return float(reals[0])
    return float(np.nextafter(reals[len(reals) - allowed - 1], np.inf))


def ece(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error over bins of equal mass (Nixon et al., 2019)."""
    values, truth = _columns(probabilities, labels)
    if not len(values):
        return float("nan")
    order = np.argsort(values, kind="stable")
    parts = np.array_split(order, min(bins, len(values)))
    gaps = [abs(values[part].mean() - truth[part].mean()) * len(part) for part in parts]
    return float(np.sum(gaps) / len(values))


def false_positive_rate(scores: ArrayLike, labels: ArrayLike, threshold: float) -> float:
    """Share of the reals at or above the threshold."""
    values, truth = _columns(scores, labels)
    reals = values[truth == 0]
    return float((reals >= threshold).mean()) if len(reals) else float("nan")


def resamples(labels: ArrayLike, rounds: int, seed: int, groups: ArrayLike | None = None) -> list[Ints]:
    """Bootstrap samples as positions: within each class, or by whole groups (pairs, clips) where they are given.

    Efron & Tibshirani (1993). Samples that miss a class are kept: measures are NaN there.
    """
    truth = np.asarray(labels, dtype=np.int64)
    rng = np.random.default_rng(seed)
    if groups is None:
        classes = [np.flatnonzero(truth == value) for value in (0, 1)]
        return [
            np.concatenate([rng.choice(items, len(items)) for items in classes if len(items)]) for _ in range(rounds)
        ]
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(places, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(places[order])) + 1)
    drawn = rng.integers(len(members), size=(rounds, len(members)))
    return [np.concatenate([members[place] for place in row]) for row in drawn]


def bootstrap_interval(
    measure: Callable[[Floats, Ints], float],
    scores: ArrayLike,
    labels: ArrayLike,
    rounds: int = 1000,
    level: float = 0.95,
    seed: int = 7,
    groups: ArrayLike | None = None,
) -> tuple[float, float]:
    """Percentile interval of ``measure(scores, labels)``; NaN for both ends where it cannot be taken."""
    values, truth = _columns(scores, labels)
    if len(np.unique(truth)) < 2:
        return float("nan"), float("nan")
    taken = [measure(values[sample], truth[sample]) for sample in resamples(truth, rounds, seed, groups)]
    low, high = np.nanquantile(taken, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def platt(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> tuple[float, float]:
    """Slope and intercept of ``log-odds = slope * logit + intercept`` (Platt, 1999), by Newton's method.

    Targets are Platt's, drawn a little towards the middle, so that separable data gives a finite slope. The slope is
    kept at 0.01 or more: a detector that is no better than chance must not be turned round.
    """
    values, truth = _columns(logits, labels)
    mass = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    fakes, reals = float(mass[truth == 1].sum()), float(mass[truth == 0].sum())
    if not fakes or not reals:
        raise ValueError("calibration needs both classes")
    targets = np.where(truth == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    slope, intercept = _newton(np.stack([values, np.ones(len(values))], axis=1), targets, mass)
    if slope < MIN_SLOPE:
        rest = _newton(np.ones((len(values), 1)), targets, mass, MIN_SLOPE * values)
        return MIN_SLOPE, float(rest[0])
    return float(slope), float(intercept)


def _newton(design: Floats, targets: Floats, mass: Floats, offset: Floats | float = 0.0) -> Floats:
    """Weighted logistic regression by Newton's method, each step halved until the loss falls."""

    def loss(solution: Floats) -> float:
        line = design @ solution + offset
        return float(np.sum(mass * (np.logaddexp(0, line) - targets * line)))

    solution = np.zeros(design.shape[1])
    for _ in range(100):
        guess = 1 / (1 + np.exp(-np.clip(design @ solution + offset, -60, 60)))
        gradient = design.T @ (mass * (guess - targets))
        curvature = (design * (mass * guess * (1 - guess))[:, None]).T @ design + 1e-9 * np.eye(design.shape[1])
        move = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-6 and loss(solution - size * move) > loss(solution):
            size /= 2
        solution = solution - size * move
        if np.abs(size * move).max() < 1e-10:
            break
    return np.asarray(solution)


def mean_of(values: Sequence[float]) -> float:
    """Mean of the values that are numbers; NaN where there is none."""
    kept = [value for value in values if np.isfinite(value)]
    return float(np.mean(kept)) if kept else float("nan")
