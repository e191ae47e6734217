"""What damage does to each network and to the fused verdict, at the shipped threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from deepscan_client.codes import Label
from deepscan_client.verdict import Verdict
from pipelines.assessment.curves import Share, wilson
from pipelines.evaluation import Measured
from pipelines.fusion import sigmoid
from pipelines.metrics import auc, bootstrap_interval

VERDICT = "verdict"
"""Name of the fused verdict among the detectors."""
_NETWORK_UNITS = ("logit", "log-odds")


class DetectorRow(BaseModel):
    """One detector under one condition. Items without a face are unscored: never flagged, and in no AUC."""

    model_config = ConfigDict(frozen=True)

    detector: str
    condition: str
    unscored: int
    auc: Measured
    found: Share
    """Fakes at or above the shipped threshold."""
    flagged: Share
    """Reals at or above it."""


def detector_rows(
    condition: str, truth: Sequence[bool], verdicts: Sequence[Verdict | None], rounds: int = 300, seed: int = 7
) -> list[DetectorRow]:
    """A row for the verdict and one for each network that spoke.

    A network is flagged where its own calibrated probability reaches the verdict's threshold; the verdict where its
    label says fake.

    Args:
        truth: True for a fake; verdicts: None where there is none.
    """
    names = sorted({name for verdict in verdicts if verdict is not None for name in network_scores(verdict)})
    rows = []
    for name in (VERDICT, *names):
        scores = [_score(verdict, name) for verdict in verdicts]
        flags = [_flag(verdict, name) for verdict in verdicts]
        known = [place for place, score in enumerate(scores) if score is not None]
        values = np.array([scores[place] for place in known], dtype=np.float64)
        labels = np.array([truth[place] for place in known], dtype=np.int64)
        value = auc(values, labels) if len(known) else float("nan")
        measured = Measured()
        if np.isfinite(value):
            low, high = bootstrap_interval(auc, values, labels, rounds=rounds, seed=seed)
            measured = Measured(value=value, low=low, high=high)
        fakes, reals = sum(truth), len(truth) - sum(truth)
        rows.append(
            DetectorRow(
                detector=name,
                condition=condition,
                unscored=len(verdicts) - len(known),
                auc=measured,
                found=wilson(sum(flag and fake for flag, fake in zip(flags, truth)), fakes),
                flagged=wilson(sum(flag and not fake for flag, fake in zip(flags, truth)), reals),
            )
        )
    return rows


def network_scores(verdict: Verdict) -> Mapping[str, float]:
    """The evidence of each network on a verdict: log-odds of its strongest face, or of a whole recording.

    Measurements in other units (hertz, decibels, seconds) are no network's.
    """
    return {row.name: row.score for row in verdict.evidence if row.unit in _NETWORK_UNITS}


def _score(verdict: Verdict | None, name: str) -> float | None:
    if verdict is None:
        return None
    return verdict.fake_probability if name == VERDICT else network_scores(verdict).get(name)


def _flag(verdict: Verdict | None, name: str) -> bool:
    if verdict is None:
        return False
    if name == VERDICT:
        return verdict.label is Label.FAKE
    score = network_scores(verdict).get(name)
    return score is not None and sigmoid(score) >= verdict.operating_point.threshold
