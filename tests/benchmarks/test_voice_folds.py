"""Rows of out-of-fold scores, on scores whose verdict is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.voice_folds import GROUP, MEMBER, NAMES, fold_rows, scored_rows
from benchmarks.voice_robustness import checks
from cards import ModelRepository
from cards.record import Calibration, Conditions, Covariate, Fusion, OperatingPoint
from deepscan_client import InstallationError
from pipelines.assessment.sound_damage import CONDITIONS as SOUNDS
from pipelines.assessment.voices import SoundRow
from training.audio.conditions import CONDITIONS, MEASURES
from training.audio.scored import Scored

CALIBRATION = Calibration(slope=2.0, intercept=0.0, fitted_on="arithmetic", items=4)


def fusion(conditions: Conditions | None = None, band: float = 0.0) -> Fusion:
    point = OperatingPoint(target_fpr=0.05, threshold=0.7, fpr=0.05, tpr=0.9)
    return Fusion(
        members={MEMBER: "0" * 64},
        weights={MEMBER: 0.5},
        refits=((1.0, 0.0),),
        real_quantiles=(0.0, 1.0),
        operating_points={"fpr_5": point},
        default_operating_point="fpr_5",
        conditions=conditions,
        abstain_below=band,
        fitted_on="arithmetic",
    )


def scored(snr: float = 30.0) -> Scored:
    """Two reals and two fakes, clean and under white noise at 20 dB; one real is on the wrong side."""
    logit = np.array([-2.0, 1.5, 2.0, -1.0] * 2)
    quality = np.zeros((8, len(MEASURES)))
    quality[:, MEASURES.index("snr_db")] = [40.0] * 4 + [snr] * 4
    places = [CONDITIONS.index("clean")] * 4 + [CONDITIONS.index("white_20")] * 4
    label = np.array([0, 0, 1, 1] * 2)
    return Scored(logit, label, np.array(["a"] * 8), np.array(places), quality, np.arange(8))


def rows_of(entries: Scored, fused: Fusion) -> list[SoundRow]:
    """Rows of one member."""
    return scored_rows(entries, {MEMBER: entries.logit}, {MEMBER: CALIBRATION}, fused, rounds=20)


def test_the_shipped_threshold_is_laid_on_scores_of_the_folds() -> None:
    clean, noisy = rows_of(scored(), fusion())
    assert (clean.condition, noisy.condition, clean.group) == ("none", "white 20 dB", GROUP)
    for row in (clean, noisy):
        assert (row.real, row.fake, row.flagged.value, row.conclusive.value, row.found.value) == (2, 2, 0.5, 1.0, 0.5)
        assert row.auc.value == 0.75
    assert {check["group"] for check in checks([clean, noisy])} == {GROUP}


def test_what_noise_drowns_is_not_concluded() -> None:
    covariate = Covariate(
        name="snr_db", low=0.0, high=45.0, centre=40.0, scale=10.0, slope=0.5, abstain_below=25.0, reason="noisy"
    )
    conditions = Conditions(covariates=(covariate,), least_slope=0.1, fitted_on="arithmetic")
    clean, noisy = rows_of(scored(snr=20.0), fusion(conditions))
    assert clean.conclusive.value == 1.0
    assert (noisy.conclusive.value, noisy.flagged.value, noisy.found.value) == (0.0, 0.0, 0.0)


def test_a_band_around_the_threshold_is_not_concluded() -> None:
    clean, _ = rows_of(scored(), fusion(band=0.15))
    assert (clean.conclusive.value, clean.flagged.value) == (0.5, 0.0)


def test_the_conditions_are_those_of_the_report() -> None:
    assert set(NAMES) <= set(CONDITIONS)
    assert set(NAMES.values()) == {each.name for each in SOUNDS}


def test_another_fusion_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Record:
        fusion = None
        calibration = None

    monkeypatch.setattr(ModelRepository, "record", lambda self, name: Record())
    repository: Any = ModelRepository()
    with pytest.raises(InstallationError, match="nothing"):
        fold_rows({MEMBER: tmp_path}, tmp_path, repository)
    monkeypatch.setattr(Record, "fusion", fusion())
    with pytest.raises(InstallationError, match="voice_raw"):
        fold_rows({MEMBER: tmp_path, "voice_raw": tmp_path}, tmp_path, repository)
    with pytest.raises(InstallationError, match="not calibrated"):
        fold_rows({MEMBER: tmp_path}, tmp_path, repository)


def test_members_are_weighed_as_the_verdict_weighs_them() -> None:
    entries = scored()
    both = fusion().model_copy(update={"members": {MEMBER: "", "other": ""}, "weights": {MEMBER: 0.25, "other": 0.25}})
    calibrations = dict.fromkeys((MEMBER, "other"), CALIBRATION)
    told = scored_rows(entries, dict.fromkeys(calibrations, entries.logit), calibrations, both, rounds=20)
    assert told == rows_of(entries, fusion())
    against = scored_rows(entries, {MEMBER: entries.logit, "other": -entries.logit}, calibrations, both, rounds=20)
    assert {row.flagged.value for row in against} == {0.0}
