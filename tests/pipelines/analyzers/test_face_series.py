"""Blinks, gaze, lips, pulse and identity from series whose truth is known, at even and uneven frame rates."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.analyzers.blinks import find_blinks
from pipelines.analyzers.gaze import eye_movement
from pipelines.analyzers.identity import identity_drift
from pipelines.analyzers.mouth import mouth_movement
from pipelines.analyzers.pulse import plane_orthogonal, pulse_of
from pipelines.analyzers.series import longest_stretch, resample, spectrum, unbroken

Floats = NDArray[np.float64]
SKIN = np.array([180.0, 130.0, 110.0])
BLOOD = np.array([0.33, 0.77, 0.53])
"""How strongly the pulse shows in red, green and blue (Wang and others, 2017)."""


def moments(seconds: float, fps: float = 25.0, shaken: float = 0.0, seed: int = 0) -> Floats:
    """Time stamps; ``shaken`` is the share of a frame by which each is moved."""
    count = int(seconds * fps)
    return (np.arange(count) + shaken * np.random.default_rng(seed).uniform(-0.5, 0.5, count)) / fps


def lids(times: Floats, blinks: list[tuple[float, float, float]], seed: int = 0) -> Floats:
    """Eye aspect ratio with blinks of (start, closing seconds, opening seconds) and a little noise."""
    curve = np.full(len(times), 0.3)
    for start, closing, opening in blinks:
        fall = np.clip((times - start) / closing, 0, 1)
        rise = np.clip((times - start - closing) / opening, 0, 1)
        curve -= 0.25 * (fall - rise)
    return curve + np.random.default_rng(seed).normal(0, 0.006, len(times))


@pytest.mark.parametrize("shaken", [0.0, 0.8])
@pytest.mark.parametrize("fps", [15.0, 25.0, 60.0])
def test_blinks_are_found_where_they_are(fps: float, shaken: float) -> None:
    times = moments(20, fps, shaken)
    truth = [(2.0, 0.1, 0.2), (5.5, 0.08, 0.16), (6.4, 0.1, 0.2), (17.0, 0.12, 0.24)]
    found = find_blinks(times, lids(times, truth))
    assert found is not None
    assert len(found) == 4
    np.testing.assert_allclose(found.times, [start + closing for start, closing, _ in truth], atol=2 / fps)
    assert found.per_minute == pytest.approx(12, abs=0.5)
    assert (found.depths > 0.6).all()
    # The edges are where the lid has closed by a fifth: 80 % of the way down and of the way up.
    expected = [0.76 * (closing + opening) for _, closing, opening in truth]
    np.testing.assert_allclose(found.lengths, expected, atol=1.2 / fps)


def test_the_lid_falls_faster_than_it_rises() -> None:
    times = moments(30, 60)
    found = find_blinks(times, lids(times, [(2.0 + 3 * k, 0.08, 0.24) for k in range(9)]))
    assert found is not None
    assert float(np.median(found.closing / found.lengths)) == pytest.approx(0.25, abs=0.08)


def test_no_blink_in_noise_in_closed_eyes_and_across_a_gap() -> None:
    times = moments(10)
    still = find_blinks(times, lids(times, []))
    assert still is not None
    assert len(still) == 0
    assert find_blinks(times, np.full(len(times), 0.03)) is None
    assert find_blinks(times[:20], lids(times[:20], [])) is None
    asleep = lids(times, [])
    asleep[100:200] = 0.05  # four seconds: no blink
    found = find_blinks(times, asleep)
    assert found is not None
    assert len(found) == 0
    curve = lids(times, [(4.0, 0.1, 0.2)])
    kept = (times < 4.06) | (times > 4.5)
    found = find_blinks(times[kept], curve[kept])
    assert found is not None
    assert len(found) == 0


def test_each_eye_has_its_own_width_when_frames_take_turns() -> None:
    times = moments(10)
    eyes = np.arange(len(times)) % 2
    curve = lids(times, [(3.0, 0.12, 0.2), (7.0, 0.12, 0.2)]) * np.where(eyes == 1, 0.55, 1.0)
    found = find_blinks(times, curve, eyes)
    assert found is not None
    np.testing.assert_allclose(found.times, [3.12, 7.12], atol=0.08)


@pytest.mark.parametrize("shaken", [0.0, 0.8])
def test_shifts_of_gaze_are_counted_and_both_eyes_go_together(shaken: float) -> None:
    times = moments(20, 25, shaken)
    rng = np.random.default_rng(1)
    truth = np.array([2.0, 4.5, 8.0, 9.3, 14.0, 17.2])
    where = np.array([0.0, 0.12, -0.08, 0.05, -0.1, 0.1, 0.0])[np.searchsorted(truth, times)]
    eyes = np.arange(len(times)) % 2
    places = np.stack([where, 0 * where], axis=1) + 0.02 * eyes[:, None] + rng.normal(0, 0.004, (len(times), 2))
    found = eye_movement(times, places, eyes)
    assert found is not None
    np.testing.assert_allclose(found.shifts, truth, atol=0.12)
    assert found.per_minute == pytest.approx(18, abs=1)
    assert found.spread == pytest.approx(0.22, abs=0.03)
    assert found.together > 0.9
    apart = places.copy()
    apart[eyes == 1] = rng.normal(0, 0.05, (np.count_nonzero(eyes), 2)).cumsum(axis=0) * 0.2
    loose = eye_movement(times, apart, eyes)
    assert loose is not None
    assert loose.together < 0.6


def test_one_eye_has_no_partner_and_no_eye_no_gaze() -> None:
    times = moments(5)
    places = np.random.default_rng(0).normal(0, 0.003, (len(times), 2))
    found = eye_movement(times, places, np.zeros(len(times), np.int64))
    assert found is not None
    assert np.isnan(found.together)
    assert len(found.shifts) == 0
    assert eye_movement(times, np.full((len(times), 2), np.nan), np.zeros(len(times), np.int64)) is None


@pytest.mark.parametrize("shaken", [0.0, 0.8])
@pytest.mark.parametrize("hertz", [1.5, 3.2, 5.0])
def test_the_rhythm_of_the_lips_is_read(hertz: float, shaken: float) -> None:
    times = moments(8, 12.5, shaken)
    openings = 0.2 + 0.1 * np.sin(2 * np.pi * hertz * times) + np.random.default_rng(0).normal(0, 0.01, len(times))
    found = mouth_movement(times, openings)
    assert found is not None
    assert found.rhythm == pytest.approx(hertz, abs=0.1)
    assert found.opening == pytest.approx(0.19, abs=0.03)
    assert (found.share > 0.7) == (2 <= hertz <= 7)
    assert mouth_movement(times[:20], openings[:20]) is None


@pytest.mark.parametrize("shaken", [0.0, 0.8])
@pytest.mark.parametrize("beats", [50.0, 72.0, 118.0])
def test_the_pulse_is_read_within_three_beats(beats: float, shaken: float) -> None:
    times = moments(10, 25, shaken)
    light = 1 + 0.05 * np.sin(2 * np.pi * 0.4 * times)[:, None]  # somebody moves before a lamp
    colours = (SKIN + 0.8 * np.outer(np.sin(2 * np.pi * beats / 60 * times), BLOOD)) * light
    colours += np.random.default_rng(3).normal(0, 0.3, colours.shape)
    found = pulse_of(times, colours)
    assert found is not None
    assert found.beats == pytest.approx(beats, abs=3)
    assert found.snr_db > found.floor_db


def test_brightness_alone_leaves_no_wave() -> None:
    times = moments(10, 30)
    flicker = SKIN * (1 + 0.1 * np.sin(2 * np.pi * 1.5 * times)[:, None])
    beating = SKIN + 0.8 * np.outer(np.sin(2 * np.pi * 1.2 * times), BLOOD)
    assert plane_orthogonal(flicker).std() < 0.02 * plane_orthogonal(beating).std()


@pytest.mark.parametrize("seconds", [8, 15, 30])
def test_noise_seldom_reaches_the_floor(seconds: int) -> None:
    times = moments(seconds)
    rng = np.random.default_rng(5)
    above = 0
    for _ in range(100):
        found = pulse_of(times, SKIN + rng.normal(0, 0.3, (len(times), 3)))
        assert found is not None
        above += found.snr_db > found.floor_db
    assert above <= 12


def test_too_little_for_a_pulse_is_none() -> None:
    times = moments(10)
    colours = np.tile(SKIN, (len(times), 1))
    assert pulse_of(times[:100], colours[:100]) is None
    assert pulse_of(times, np.full((len(times), 3), np.nan)) is None
    assert pulse_of(times[[0, -1]], colours[[0, -1]]) is None
    still = pulse_of(times, colours)  # a picture that never changes has none, and no error
    assert still is None or np.isfinite(still.snr_db)


def test_identity_drift_says_when_the_face_changed() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 64))
    times = np.arange(50) / 5
    steady = one + 0.3 * rng.normal(size=(50, 64))
    swapped = np.where(times[:, None] < 6.1, one, 0.5 * one + 0.9 * two) + 0.3 * rng.normal(size=(50, 64))
    calm, found = identity_drift(times, steady), identity_drift(times, swapped)
    assert calm is not None
    assert found is not None
    assert found.at_s == pytest.approx(6.1, abs=0.21)
    assert found.distance > 5 * calm.distance
    assert identity_drift(times[:5], steady[:5]) is None


def test_series_know_gaps_and_uneven_times() -> None:
    times = np.array([0, 0.1, 0.2, 1.0, 1.1, 1.2, 1.3])
    assert unbroken(times, 0.3) == [slice(0, 3), slice(3, 7)]
    assert longest_stretch(times, 0.3) == slice(3, 7)
    assert longest_stretch(np.zeros(0), 0.3) == slice(0, 0)
    np.testing.assert_allclose(resample(times, 2 * times, 10.0), 0.2 * np.arange(14))
    hertz, power = spectrum(5 + np.sin(2 * np.pi * 2 * np.arange(200) / 25) + np.arange(200), 25.0)
    assert hertz[np.argmax(power)] == pytest.approx(2, abs=0.05)
