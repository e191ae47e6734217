"""Calibrate networks and fuse them on a small validation set: what a user's own training ends with.

The shipped photo verdict is fitted on held-out photos, many of kinds that no run saw (``training.calibrate
--held-out``, ``training.fuse``), that of clips on scores of fold models. A user's folder has neither, so that this uses
the validation items, which chose the epoch: its numbers are a little optimistic, and the record says on how many items
they rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cards.record import Calibration, OperatingPoint
from pipelines.metrics import ece, platt, resamples, threshold_at_fpr

TARGETS = {"fpr_1": 0.01, "fpr_3": 0.03, "fpr_5": 0.05, "fpr_10": 0.10}
DEFAULT_POINT = "fpr_5"
REFITS, QUANTILES = 100, 101
#: Weight of the penalty that draws the members' weights towards their mean: one item's worth.
PENALTY = 1.0

OF_KIND = 200
"""Items of each drawn kind in a refit."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Refits = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class FittedFusion:
    """Everything of ``cards.record.Fusion`` but the members' hashes."""

    weights: dict[str, float]
    bias: float
    refits: tuple[tuple[float, float], ...]
    real_quantiles: tuple[float, ...]
    operating_points: dict[str, OperatingPoint]
    fitted_on: str


def balance(labels: Ints) -> Floats:
    """Weights under which both classes count alike, with a mean of 1."""
    counts = np.bincount(labels, minlength=2)
    return np.asarray(len(labels) / (2 * counts[labels]), dtype=np.float64)


def refits_by_kind(log_odds: Floats, labels: Ints, kinds: npt.NDArray[np.str_], mass: Floats, seed: int) -> Refits:
    """Platt refits over resampled whole kinds of fakes and sources of reals: a new item comes from a new one.

    Each class counts alike in every refit, as in the fit itself, however many kinds it has: else the interval would
    speak of another share of fakes than the probability that it stands beside.

    Args:
        log_odds: [n], calibrated; labels: [n]; kinds: of the fake or source of the real, [n].
        mass: [n], how much each item weighed in the fit: a kind is drawn by what its items weigh together.
    """
    classes = []
    for label in (0, 1):
        members = [np.flatnonzero((labels == label) & (kinds == name)) for name in np.unique(kinds[labels == label])]
        worth = np.array([mass[places].sum() for places in members])
        classes.append((members, worth / worth.sum(), [mass[places] / mass[places].sum() for places in members]))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(REFITS):
        taken = [
            rng.choice(members[kind], OF_KIND, p=shares[kind])
            for members, worth, shares in classes
            for kind in rng.choice(len(members), len(members), p=worth)
        ]
        sample = np.concatenate(taken)
        found.append(platt(log_odds[sample], labels[sample], balance(labels[sample])))
    return tuple(found)


def operating_points(probabilities: Floats, labels: Ints) -> dict[str, OperatingPoint]:
    """The threshold of each target share of flagged reals, with the shares of reals and fakes that it flags."""
    reals, fakes = probabilities[labels == 0], probabilities[labels == 1]
    points = {}
    for name, target in TARGETS.items():
        threshold = float(np.clip(threshold_at_fpr(reals, target), 0, 1))
        points[name] = OperatingPoint(
            target_fpr=target,
            threshold=threshold,
            fpr=float((reals >= threshold).mean()),
            tpr=float((fakes >= threshold).mean()),
        )
    return points


def moved_up(
    point: OperatingPoint, reals: Sequence[Floats], limit: float, probabilities: Floats, labels: Ints
) -> OperatingPoint:
    """The point with a threshold that flags no more than ``limit`` of any group of reals.

    Args:
        reals: probabilities of each group of reals.
        probabilities, labels: items that stand for all, of which the point tells the shares that it flags.
    """
    threshold = max(point.threshold, *(threshold_at_fpr(group, limit) for group in reals), 0.0)
    flagged = probabilities >= threshold
    return point.model_copy(
        update={
            "threshold": float(threshold),
            "fpr": float(flagged[labels == 0].mean()),
            "tpr": float(flagged[labels == 1].mean()),
        }
    )


def calibrate(logits: Floats, labels: Ints, fitted_on: str) -> Calibration:
    """Platt scaling of one network's raw logits, classes weighted alike.

    Raises:
        ValueError: a class is missing.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("calibration needs both classes")
    slope, intercept = platt(logits, labels, balance(labels))
    probabilities = 1 / (1 + np.exp(-np.clip(slope * logits + intercept, -60, 60)))
    return Calibration(
        slope=slope, intercept=intercept, fitted_on=fitted_on, items=len(labels), ece=ece(probabilities, labels)
    )


def member_weights(log_odds: Floats, labels: Ints, penalty: float = PENALTY) -> tuple[Floats, float]:
    """Weights of at least 0 and a bias by logistic regression, drawn towards the plain mean of the members.

    Args:
        log_odds: [n, m], calibrated; labels: [n].

    Returns:
        Weights [m] and the bias.
    """
    mass, count = balance(labels), log_odds.shape[1]
    start = np.full(count, 1.0 / count)
    weights, bias = start.copy(), 0.0
    # The curvature of the loss bounds the step; the problem is convex and has as many numbers as there are members.
    design = np.column_stack([log_odds, np.ones(len(labels))])
    step = 1.0 / (0.25 * float(np.linalg.norm(design * np.sqrt(mass)[:, None], 2)) ** 2 + penalty)
    for _ in range(5000):
        guess = 1 / (1 + np.exp(-np.clip(log_odds @ weights + bias, -60, 60)))
        error = mass * (guess - labels)
        moved = np.maximum(0.0, weights - step * (log_odds.T @ error + penalty * (weights - start)))
        shift = step * float(error.sum())
        done = float(np.abs(moved - weights).max()) + abs(shift) < 1e-9
        weights, bias = moved, bias - shift
        if done:
            break
    return weights, bias


def fit_fusion(
    logits: Mapping[str, Floats], labels: Ints, calibrations: Mapping[str, Calibration], seed: int = 4
) -> FittedFusion:
    """Fuse members that scored the same items.

    Args:
        logits: raw logits of each member, [n]; labels: [n].

    Raises:
        ValueError: there is no member, or a class is missing.
    """
    if not logits:
        raise ValueError("a fusion needs members")
    names = sorted(logits)
    log_odds = np.column_stack([calibrations[n].slope * logits[n] + calibrations[n].intercept for n in names])
    weights, bias = member_weights(log_odds, labels)
    fused = log_odds @ weights + bias
    probabilities = 1 / (1 + np.exp(-np.clip(fused, -60, 60)))
    real = int((labels == 0).sum())
    draws = resamples(labels, REFITS, seed)
    refits = tuple(platt(fused[chosen], labels[chosen], balance(labels[chosen])) for chosen in draws)
    return FittedFusion(
        weights={name: float(weight) for name, weight in zip(names, weights)},
        bias=float(bias),
        refits=refits,
        real_quantiles=tuple(np.quantile(fused[labels == 0], np.linspace(0, 1, QUANTILES)).tolist()),
        operating_points=operating_points(probabilities, labels),
        fitted_on=f"{len(labels)} validation photos of the user's data, {real} real; they also chose the epochs",
    )
