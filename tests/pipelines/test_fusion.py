"""Calibration, fusion and the correction for many faces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cards.record import Calibration, Fusion, OperatingPoint
from cards.repository import ModelRepository
from pipelines.fusion import combine_faces, fuse, interval, shares, sigmoid

RNG = np.random.default_rng(3)
REALS = np.sort(RNG.normal(-2.0, 1.5, 50_000))
QUANTILES = np.quantile(REALS, np.linspace(0, 1, 1001)).tolist()
scores = st.floats(-30, 30, allow_nan=False)


@given(scores)
def test_one_face_keeps_its_score(score: float) -> None:
    assert combine_faces([score], QUANTILES) == score


@given(st.lists(scores, min_size=2, max_size=60))
def test_more_faces_never_raise_the_largest_score(values: list[float]) -> None:
    assert combine_faces(values, QUANTILES) <= max(values)


@given(scores, st.integers(2, 60))
def test_a_higher_top_score_never_lowers_the_photo(score: float, faces: int) -> None:
    low = combine_faces([score] + [-5.0] * faces, QUANTILES)
    high = combine_faces([score + 1.0] + [-5.0] * faces, QUANTILES)
    assert high >= low - 1e-6


@pytest.mark.parametrize("faces", [2, 10, 50])
def test_fifty_real_faces_are_flagged_as_often_as_one(faces: int) -> None:
    threshold = float(np.quantile(REALS, 0.95))
    photos = RNG.normal(-2.0, 1.5, (2000, faces))
    flagged = np.mean([combine_faces(photo.tolist(), QUANTILES) >= threshold for photo in photos])
    naive = np.mean(photos.max(axis=1) >= threshold)
    # 2,000 photos at 5 %: three standard errors are 1.5 points; the uncorrected rate is far outside.
    assert abs(flagged - 0.05) < 0.016
    assert naive > 0.09


def test_a_clear_fake_among_fifty_real_faces_is_still_found() -> None:
    photo = [-3.0] * 49 + [9.0]
    assert combine_faces(photo, QUANTILES) > float(np.quantile(REALS, 0.99))


def test_without_a_fusion_the_mean_of_the_calibrated_log_odds_is_taken() -> None:
    calibration = Calibration(slope=0.5, intercept=1.0, fitted_on="test", items=2)
    assert fuse({"a": 2.0, "b": 4.0}, {"a": calibration, "b": None}, None) == pytest.approx((2.0 + 4.0) / 2)


def test_the_interval_is_the_middle_ninety_percent_of_the_refits() -> None:
    refits = [(1.0, shift) for shift in np.linspace(-1, 1, 101)]
    found = interval(0.0, refits)
    assert found == pytest.approx((sigmoid(-0.9), sigmoid(0.9)))
    assert interval(0.0, []) is None


@pytest.mark.parametrize("model", ["image_verdict", "audio_verdict", "deepfake_video"])
@pytest.mark.parametrize("log_odds", np.linspace(-4, 4, 17).tolist())
def test_the_interval_of_every_shipped_verdict_holds_its_probability(model: str, log_odds: float) -> None:
    fusion = ModelRepository().record(model).fusion
    assert fusion is not None
    low, high = interval(log_odds, fusion.refits) or (1.0, 0.0)
    assert low <= sigmoid(log_odds) <= high


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_probability_never_overflows(log_odds: float) -> None:
    assert 0.0 <= sigmoid(log_odds) <= 1.0


def test_by_any_the_member_that_is_sure_decides_and_the_silent_one_costs_nothing() -> None:
    base = {
        "members": {"a": "1", "b": "2"}, "weights": {"a": 1.0, "b": 1.0}, "refits": (), "real_quantiles": (),
        "operating_points": {"fpr_5": OperatingPoint(target_fpr=0.05, threshold=0.5, fpr=0.05, tpr=0.5)},
        "default_operating_point": "fpr_5", "fitted_on": "made up",
    }  # fmt: skip
    fusion = Fusion(**base, rule="any", slope=0.5, bias=0.25)
    none: dict[str, Calibration | None] = {"a": None, "b": None}
    assert fuse({"a": 4.0, "b": -9.0}, none, fusion) == pytest.approx(0.25 + 0.5 * np.log(np.exp(4) + np.exp(-9)))
    found = shares({"a": 4.0, "b": -9.0}, fusion)
    step = 1e-5
    slope = (fuse({"a": 4.0 + step, "b": -9.0}, none, fusion) - fuse({"a": 4.0, "b": -9.0}, none, fusion)) / step
    assert found["a"] == pytest.approx(slope, abs=1e-4)
    assert found["a"] > 0.49 > 0.01 > found["b"]
    assert shares({"a": 4.0, "b": -9.0}, Fusion(**base, slope=2.0)) == {"a": 2.0, "b": 2.0}
