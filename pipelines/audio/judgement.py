"""From windows to one number: fused log-odds of a recording under its measured quality, and when to abstain.

The logits of the windows are averaged by their seconds of speech, calibrated, weighed, and then bent by the record's
``conditions``: the cue lies in low-level noise, so what noise, band and codec leave of it decides how far a score may
go. Where they leave too little, nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cards.record import Calibration, Fusion
from deepscan_client.codes import Reason
from pipelines.fusion import combine, fuse

LEAST_SECONDS = 1e-3


def clip_logit(logits: Sequence[float], seconds: Sequence[float]) -> float:
    """Raw logit of a recording: the mean over its windows, weighed by their seconds of speech."""
    weights = np.maximum(np.asarray(seconds, dtype=np.float64), LEAST_SECONDS)
    return float(np.average(np.asarray(logits, dtype=np.float64), weights=weights))


def measures(quality: Any, names: Sequence[str]) -> dict[str, float]:
    """The named fields of a measured quality as numbers; those that it lacks are left out."""
    found = {}
    for name in names:
        value = getattr(quality, name, None)
        if value is not None:
            found[name] = float(value)
    return found


def judge_recording(
    logits: Mapping[str, Sequence[float]],
    seconds: Sequence[float],
    quality: Any,
    calibrations: Mapping[str, Calibration | None],
    fusion: Fusion | None,
) -> tuple[float, Reason | None]:
    """Fused log-odds of a recording, and why nothing may be concluded from them (None where something may).

    Args:
        logits: network: raw logit of each window, at least one.
        seconds: of speech of each window.
        quality: a :class:`~pipelines.audio.quality.SoundQuality`.
        calibrations: of the records that ran, by network; fusion: of the verdict's record, None where other members
            ran.
    """
    means = {name: clip_logit(values, seconds) for name, values in logits.items()}
    fused = fuse(means, calibrations, fusion)
    if fusion is None or fusion.conditions is None:
        return fused, None
    conditions = fusion.conditions
    values = measures(quality, [each.name for each in conditions.covariates])
    drowned = conditions.drowned(values)
    reason = None if drowned is None else Reason(drowned) if drowned else Reason.NOISY
    return conditions.log_odds(fused, values), reason


def local_log_odds(
    local: Mapping[str, NDArray[np.float64]],
    quality: Any,
    calibrations: Mapping[str, Calibration | None],
    fusion: Fusion | None,
) -> NDArray[np.float64]:
    """Fused local log-odds along a recording, [n]; NaN where a member says nothing.

    Args:
        local: network: raw local log-odds, [n], NaN where nobody speaks. A network whose frames are empty is left out
            and the weights of the others grow.
    """
    names = [name for name, values in local.items() if len(values)]
    if not names:
        return np.zeros(0)
    columns = []
    for name in names:
        calibration = calibrations.get(name)
        columns.append(local[name] if calibration is None else calibration.slope * local[name] + calibration.intercept)
    rows = np.stack(columns, axis=1)
    if fusion is None:
        return np.asarray(rows.mean(axis=1))
    weights = np.array([fusion.weights.get(name, 0.0) for name in names])
    # Of a sum the members that are there carry what the others would have weighed.
    share = sum(fusion.weights.values()) / max(float(weights.sum()), 1e-9) if fusion.rule == "sum" else 1.0
    total = fusion.bias + fusion.slope * combine(rows, (weights * share).tolist(), fusion.rule)
    if fusion.conditions is None:
        return total
    measured = measures(quality, [each.name for each in fusion.conditions.covariates])
    slope = fusion.conditions.slope(measured)
    shift = fusion.conditions.log_odds(0.0, measured)
    return np.asarray(slope * total + shift)
