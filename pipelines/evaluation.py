"""From judged items to the table of a report: quality by group, with bootstrap intervals.

An item without a probability (no face) is not scored: it is left out of AUC, EER and TPR, and counted. Beside
that stands the AUC with such items at 0.5, so that leaving out cannot flatter. False alarms are shares of *all*
reals, scored or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from cards.record import GroupResult
from deepscan_client.codes import Label
from pipelines.metrics import auc, bootstrap_interval, ece, eer, tpr_at_fpr

Array = NDArray[Any]

ROUNDS = 1000
LEVEL = 0.95
BINS = 15


class Judged(BaseModel):
    """One item with its truth and what was said of it."""

    model_config = ConfigDict(frozen=True)

    group: str
    fake: bool
    """The truth."""
    probability: float | None
    label: Label


class Measured(BaseModel):
    """A value with its 95 % bootstrap interval; None where it cannot be taken (a class is missing)."""

    model_config = ConfigDict(frozen=True)

    value: float | None = None
    low: float | None = None
    high: float | None = None


class GroupQuality(BaseModel):
    """Quality on one group of items; shares and rates are 0 to 1."""

    model_config = ConfigDict(frozen=True)

    group: str
    real: int
    fake: int
    unscored: int
    inconclusive: int
    auc: Measured
    auc_unscored_half: float | None
    """AUC with unscored items at 0.5."""
    eer: Measured
    tpr_at_fpr_1: Measured
    tpr_at_fpr_5: Measured
    false_positive_rate: float | None
    """Share of the reals that were labelled ``fake``."""
    true_positive_rate: float | None
    """Share of the fakes that were labelled ``fake``."""

    def to_record(self) -> GroupResult:
        """The form that a version's record keeps."""
        return GroupResult(
            group=self.group,
            real=self.real,
            fake=self.fake,
            unscored=self.unscored,
            auc=self.auc.value,
            auc_low=self.auc.low,
            auc_high=self.auc.high,
            eer=self.eer.value,
            tpr_at_fpr_1=self.tpr_at_fpr_1.value,
            tpr_at_fpr_5=self.tpr_at_fpr_5.value,
            false_positive_rate=self.false_positive_rate,
            inconclusive_rate=self.inconclusive / max(1, self.real + self.fake),
        )


class Quality(BaseModel):
    """All groups, and what is measured over all items."""

    model_config = ConfigDict(frozen=True)

    groups: tuple[GroupQuality, ...]
    mean_auc: float | None
    """Mean of the groups' AUC, each group counted once."""
    ece: Measured
    """Expected calibration error over all scored items, 15 equal-mass bins."""
    false_positive_rate: Measured
    """Over all reals."""
    items: int
    unscored: int
    inconclusive: int


def group_quality(group: str, items: Sequence[Judged], rounds: int = ROUNDS, seed: int = 7) -> GroupQuality:
    """Quality on the items of one group (or of any other set)."""
    scored = [item for item in items if item.probability is not None]
    scores, truth = _columns(scored)
    half = [0.5 if item.probability is None else item.probability for item in items]

    def measured(measure: Callable[..., float]) -> Measured:
        return _measured(measure, scores, truth, rounds, seed)

    return GroupQuality(
        group=group,
        real=sum(not item.fake for item in items),
        fake=sum(item.fake for item in items),
        unscored=len(items) - len(scored),
        inconclusive=sum(item.label is Label.INCONCLUSIVE for item in items),
        auc=measured(auc),
        auc_unscored_half=_number(auc(np.array(half), np.array([item.fake for item in items], dtype=np.int64))),
        eer=measured(eer),
        tpr_at_fpr_1=measured(lambda s, t: tpr_at_fpr(s, t, 0.01)),
        tpr_at_fpr_5=measured(lambda s, t: tpr_at_fpr(s, t, 0.05)),
        false_positive_rate=_flagged([item for item in items if not item.fake]),
        true_positive_rate=_flagged([item for item in items if item.fake]),
    )


def group_results(items: Sequence[Judged], rounds: int = ROUNDS, seed: int = 7) -> list[GroupResult]:
    """Quality by group in the form that a record keeps, groups in alphabetical order."""
    return [group.to_record() for group in quality(items, rounds, seed).groups]


def quality(items: Sequence[Judged], rounds: int = ROUNDS, seed: int = 7) -> Quality:
    """Quality by group, groups in alphabetical order, and over all items.

    Args:
        items: at least one.
        rounds: bootstrap samples.
        seed: of the samples; the same items give the same numbers.
    """
    names = sorted({item.group for item in items})
    groups = tuple(group_quality(name, [item for item in items if item.group == name], rounds, seed) for name in names)
    scored = [item for item in items if item.probability is not None]
    known = [group.auc.value for group in groups if group.auc.value is not None]
    return Quality(
        groups=groups,
        mean_auc=float(np.mean(known)) if known else None,
        ece=_measured(lambda s, t: ece(s, t, BINS), *_columns(scored), rounds, seed),
        false_positive_rate=_share([item.label is Label.FAKE for item in items if not item.fake], rounds, seed),
        items=len(items),
        unscored=len(items) - len(scored),
        inconclusive=sum(item.label is Label.INCONCLUSIVE for item in items),
    )


def _columns(items: Sequence[Judged]) -> tuple[Array, Array]:
    scores = np.array([item.probability for item in items], dtype=np.float64)
    return scores, np.array([item.fake for item in items], dtype=np.int64)


def _measured(measure: Callable[..., float], scores: Array, truth: Array, rounds: int, seed: int) -> Measured:
    value = _number(measure(scores, truth))
    if value is None:
        return Measured()
    low, high = bootstrap_interval(measure, scores, truth, rounds=rounds, level=LEVEL, seed=seed)
    return Measured(value=value, low=_number(low), high=_number(high))


def _share(flags: Sequence[bool], rounds: int, seed: int) -> Measured:
    """A share with the percentile interval of its resamples."""
    if not flags:
        return Measured()
    values = np.asarray(flags, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = [float(rng.choice(values, len(values)).mean()) for _ in range(rounds)]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Measured(value=float(values.mean()), low=float(low), high=float(high))


def _flagged(items: Sequence[Judged]) -> float | None:
    return sum(item.label is Label.FAKE for item in items) / len(items) if items else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
