"""Calibration on made-up scores whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.calibrate import LEAST_REALS, SHIPPED_POINT, WORST_FPR, balanced_draw, fit
from training.data.photos import PREFIX
from training.data.sources import PAIRS
from training.data.splits import read_folds
from training.report import Fit
from training.scores import Scores, to_scale


def made_up(slope: float = 0.5, seed: int = 0) -> Scores:
    """Reals of two sources and fakes of three; log-odds of a fake are ``slope`` times the logit."""
    rng = np.random.default_rng(seed)
    counts = {"real_a": 3000, "real_b": 400, "fake_a": 2000, "fake_b": 500, "fake_c": 200}
    names = np.repeat(list(counts), list(counts.values()))
    labels = np.array([int(name.startswith("fake")) for name in names])
    # Equal normals shifted by +-d have log-odds 2 d x: x = logit with d = slope / 2 and unit variance.
    logits = rng.normal(0, 1, len(names)) + np.where(labels == 1, slope / 2, -slope / 2)
    return Scores(logits, labels, names, "made up", 0.1)


def test_the_fit_recovers_the_slope_and_its_thresholds_hold() -> None:
    scores = made_up(1.5)
    result = fit(scores)
    assert result.calibration.slope == pytest.approx(1.5, rel=0.15)
    assert result.calibration.intercept == pytest.approx(0, abs=0.15)
    assert result.calibration.ece is not None
    assert result.calibration.ece < 0.03
    log_odds = result.calibration.slope * scores.logits + result.calibration.intercept
    probabilities = 1 / (1 + np.exp(-log_odds))
    for point in result.operating_points.values():
        assert point.fpr <= point.target_fpr
        assert (probabilities[scores.labels == 0] >= point.threshold).mean() == pytest.approx(
            point.target_fpr, abs=0.015
        )
    thresholds = [result.operating_points[name].threshold for name in ("fpr_1", "fpr_5", "fpr_10")]
    assert thresholds == sorted(thresholds, reverse=True)


def test_the_shipped_threshold_flags_no_source_of_reals_more_than_its_limit() -> None:
    scores = made_up(1.5)
    high = np.flatnonzero(scores.sources == "real_b")
    shifted = scores.logits.copy()
    shifted[high] += 1.5
    for count in (len(high), LEAST_REALS - 1):
        # The source counts where it has enough photos to tell a share.
        kept = np.concatenate([np.flatnonzero(scores.sources != "real_b"), high[:count]])
        told = Scores(shifted[kept], scores.labels[kept], scores.sources[kept], "made up", 0.1)
        result = fit(told)
        log_odds = result.calibration.slope * told.logits + result.calibration.intercept
        flagged = 1 / (1 + np.exp(-log_odds)) >= result.operating_points[SHIPPED_POINT].threshold
        share = flagged[told.sources == "real_b"].mean()
        assert (share <= WORST_FPR) == (count >= LEAST_REALS)
        assert result.operating_points[SHIPPED_POINT].fpr <= 0.03


def test_refits_scatter_about_the_fit_and_the_table_rises() -> None:
    result = fit(made_up(1.5))
    refits = np.array(result.refits)
    assert refits.shape == (100, 2)
    assert np.median(refits[:, 0]) == pytest.approx(1.0, abs=0.15)
    assert refits[:, 1].std() > 0
    assert len(result.real_quantiles) == 201
    assert list(result.real_quantiles) == sorted(result.real_quantiles)


def test_a_fit_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    result = fit(made_up())
    path = tmp_path / "calibration.json"
    path.write_text(result.model_dump_json())
    assert Fit.read(path) == result
    assert Fit.read(tmp_path / "missing.json") is None


def test_draws_balance_classes_and_hear_small_sources() -> None:
    scores = made_up()
    drawn = balanced_draw(scores.labels, scores.sources, 20_000, np.random.default_rng(1))
    assert scores.labels[drawn].mean() == pytest.approx(0.5, abs=0.02)
    share = (scores.sources[drawn] == "fake_c").mean() / (scores.sources[drawn] == "fake_a").mean()
    assert share == pytest.approx(np.sqrt(200 / 2000), rel=0.15)


def test_scores_of_a_fold_model_are_brought_to_the_final_models_scale() -> None:
    rng = np.random.default_rng(0)
    final = rng.normal(1.0, 3.0, 2000)
    own = 0.2 * final - 4.0
    np.testing.assert_allclose(to_scale(own, own, final), final, atol=1e-9)


def test_folds_name_each_source_once_and_leave_out_reals_beside_their_fakes() -> None:
    folds = {fold.name: fold.sources for fold in read_folds()}
    assert 6 <= len(folds) <= 8
    named = [source for sources in folds.values() for source in sources]
    assert len(set(named)) == len(named)
    fold_of = {source: name for name, sources in folds.items() for source in sources}
    for pair in PAIRS:
        if pair.fakes[0].startswith(PREFIX):  # clips have folds of their own (training.video.folds)
            continue
        for source in pair.fakes:
            left_out = folds[fold_of[f"fake/{source}"]]
            assert any(name.startswith("real/") for name in left_out)
            if pair.matched:  # the pipeline's own reals are left out with its fakes
                assert any(f"real/{name}" in left_out for name in pair.reals)
