"""Fused log-odds under the measured quality, and when to abstain."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cards.record import Calibration, Conditions, Covariate, Fusion, OperatingPoint
from deepscan_client.codes import Reason
from pipelines.audio.judgement import clip_logit, judge_recording, local_log_odds

CALIBRATIONS = {"voice_cepstra": Calibration(slope=2.0, intercept=-1.0, fitted_on="", items=10)}


def fusion(conditions: Conditions | None) -> Fusion:
    point = OperatingPoint(target_fpr=0.05, threshold=0.5, fpr=0.05, tpr=0.5)
    return Fusion(
        members={"voice_cepstra": "a"},
        weights={"voice_cepstra": 1.5},
        bias=0.25,
        refits=(),
        real_quantiles=(),
        operating_points={"fpr_5": point},
        default_operating_point="fpr_5",
        conditions=conditions,
        fitted_on="",
    )


NOISE = Covariate(
    name="snr_db",
    low=0,
    high=40,
    centre=30,
    scale=10,
    slope=0.4,
    intercept=-0.2,
    abstain_below=16.0,
    reason="noisy",
)
BAND = Covariate(name="bandwidth_hz", low=3000, high=8000, centre=7000, scale=1000, slope=0.1, reason="narrow_band")
CONDITIONS = Conditions(covariates=(NOISE, BAND), least_slope=0.05, fitted_on="")


def quality(snr: float, band: float = 7000.0) -> SimpleNamespace:
    return SimpleNamespace(snr_db=snr, bandwidth_hz=band)


def test_windows_count_by_their_speech() -> None:
    assert clip_logit([1.0, 4.0], [3.0, 1.0]) == pytest.approx(1.75)
    assert clip_logit([2.0], [0.0]) == pytest.approx(2.0)


def test_without_conditions_quality_changes_nothing() -> None:
    for snr in (0.0, 40.0):
        told = judge_recording({"voice_cepstra": [1.0]}, [4.0], quality(snr), CALIBRATIONS, fusion(None))
        assert told == (pytest.approx(1.5 * 1.0 + 0.25), None)


@pytest.mark.parametrize(
    ("snr", "band", "factor", "shift", "reason"),
    [
        (30.0, 7000.0, 1.0, 0.0, None),
        (40.0, 7000.0, 1.4, -0.2, None),
        (90.0, 7000.0, 1.4, -0.2, None),
        (20.0, 7000.0, 0.6, 0.2, None),
        (15.0, 7000.0, 0.4, 0.3, Reason.NOISY),
        (20.0, 3000.0, 0.2, 0.2, None),
        (-5.0, 3000.0, 0.05, 0.6, Reason.NOISY),
        (float("nan"), 7000.0, 1.0, 0.0, None),
    ],
)
def test_the_factor_follows_the_measures(
    snr: float, band: float, factor: float, shift: float, reason: Reason | None
) -> None:
    told, why = judge_recording({"voice_cepstra": [1.0]}, [4.0], quality(snr, band), CALIBRATIONS, fusion(CONDITIONS))
    assert told == pytest.approx(factor * 1.75 + shift)
    assert why == reason


def test_local_scores_are_fused_alike_and_gaps_stay() -> None:
    local = {"voice_cepstra": np.array([1.0, np.nan, 2.0]), "silent": np.zeros(0)}
    told = local_log_odds(local, quality(20.0), CALIBRATIONS, fusion(CONDITIONS))
    whole, _ = judge_recording({"voice_cepstra": [1.0]}, [4.0], quality(20.0), CALIBRATIONS, fusion(CONDITIONS))
    assert told[0] == pytest.approx(whole)
    assert np.isnan(told[1])
    assert told[2] > told[0]
    assert len(local_log_odds({}, quality(20.0), CALIBRATIONS, None)) == 0
