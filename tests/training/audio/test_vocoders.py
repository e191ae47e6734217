"""Copies come back in time with the real sound, with its words (mel bands), level and band, and not as it was."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import welch

from pipelines.audio.windows import high_pass
from tests.training.audio.voices import voice
from training.audio.segments import LOUDNESS_DB, as_partner, cut_segment, match_channel, match_loudness
from training.audio.sounds import RATE, band_edge, low_pass, mel_filters, power_density, rms
from training.audio.spectra import istft, pitch, stft
from training.audio.vocoders import CLASSIC, MissingToolError, levinson

NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name.startswith("world") and importlib.util.find_spec("pyworld") is None, reason="pyworld is not installed"
        ),
    )
    for name in CLASSIC
]


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.log(np.maximum(np.abs(stft(samples, 1024, 256)) @ mel_filters(RATE, 1024, 40).T, 1e-3))


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_says_the_same_at_the_same_time(name: str) -> None:
    segment = cut_segment(voice(2.0, 3))
    made, variant = CLASSIC[name](segment.padded, np.random.default_rng(0))
    copy = as_partner(made, segment)
    assert copy.shape == segment.samples.shape
    assert copy.dtype == np.float32
    assert variant
    assert rms(copy) == pytest.approx(rms(segment.samples), rel=0.3)
    ours, theirs = log_mel(copy), log_mel(segment.samples)
    near = np.corrcoef(ours.mean(axis=1), theirs.mean(axis=1))[0, 1]
    late = np.corrcoef(np.roll(ours, 8, axis=0).mean(axis=1), theirs.mean(axis=1))[0, 1]
    assert near > 0.85
    assert near > late
    assert np.corrcoef(copy, segment.samples)[0, 1] < 0.99, "a copy is not the recording itself"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_copy(name: str) -> None:
    sound = voice(0.8, 1)
    first, again = (CLASSIC[name](sound, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [1_000, 5_000])
def test_short_and_silent_sounds_come_back_finite(name: str, length: int) -> None:
    for sound in (np.zeros(length, np.float32), voice(1.0, 2)[4000 : 4000 + length]):
        made, _ = CLASSIC[name](sound, np.random.default_rng(1))
        assert made.shape == sound.shape
        assert np.isfinite(made).all()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingToolError, match="pyworld"):
        CLASSIC["world"](voice(0.5), np.random.default_rng(0))


def test_a_telephone_clip_has_a_telephone_copy() -> None:
    narrow = low_pass(voice(2.0, 4), 3600.0)
    segment = cut_segment(narrow)
    assert segment.edge < 4100
    copy = as_partner(CLASSIC["griffin_lim"](segment.padded, np.random.default_rng(2))[0], segment)
    assert band_edge(copy) < 4300
    assert abs(band_edge(copy) - band_edge(segment.samples)) < 300


def test_trimming_cuts_silence_and_offset_but_not_speech() -> None:
    sound = np.concatenate([np.zeros(RATE, np.float32), voice(2.0, 5), np.zeros(RATE, np.float32)]) + np.float32(0.05)
    segment = cut_segment(sound)
    assert 1.2 * RATE < len(segment.samples) < 2.1 * RATE
    assert abs(float(segment.samples.mean())) < 0.01
    assert len(cut_segment(np.tile(voice(2.0), 5)).samples) == 5 * RATE


def test_the_channel_of_a_copy_becomes_that_of_the_real_clip() -> None:
    real = voice(3.0, 6)
    dull = np.convolve(real, [0.25, 0.5, 0.25], mode="same").astype(np.float32)
    before = np.abs(log_mel(dull) - log_mel(real)).mean()
    assert np.abs(log_mel(match_channel(dull, real)) - log_mel(real)).mean() < 0.7 * before


def test_a_copy_gets_the_real_clips_loudness_from_moment_to_moment_and_its_rumble() -> None:
    real = voice(3.0, 6) + np.float32(0.01)
    hiss = np.random.default_rng(1).normal(0, 0.002, len(real)).astype(np.float32)
    copy = voice(3.0, 6) * np.float32(0.5) + hiss
    made = match_loudness(copy, real)
    assert abs(float(made.mean()) - float(real.mean())) < 1e-4

    def decibels(sound: NDArray[np.float32]) -> NDArray[np.float64]:
        steps = (sound - sound.mean())[: len(sound) // 800 * 800].reshape(-1, 800).astype(np.float64)
        return np.asarray(10 * np.log10(np.square(steps).mean(axis=1) + 1e-9))

    before, after = np.abs(decibels(copy) - decibels(real)), np.abs(decibels(made) - decibels(real))
    assert after.mean() < 0.25 * before.mean()
    hum = np.resize(np.array([1e-4, -1e-4], np.float32), len(real))
    most = np.abs(match_loudness(hum, real) - (real - high_pass(real, 0, len(real)))).max()
    assert most < 1e-4 * 10 ** (LOUDNESS_DB / 20) + 1e-4
    np.testing.assert_array_equal(match_loudness(copy[:100], real), copy[:100])


def test_short_time_spectra_invert() -> None:
    sound = voice(1.0, 7)
    np.testing.assert_allclose(istft(stft(sound, 512, 128), 512, 128, len(sound)), sound, atol=1e-6)


def test_pitch_is_found_and_silence_has_none() -> None:
    time = np.arange(RATE) / RATE
    tone = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 8)).astype(np.float32) * 0.1
    f0, strength = pitch(tone, 160)
    assert np.median(f0[5:-5]) == pytest.approx(140, rel=0.03)
    assert strength[5:-5].min() > 0.8
    assert not pitch(np.zeros(RATE, np.float32), 160)[0].any()


def test_levinson_finds_the_predictor_of_an_autoregression() -> None:
    lags = np.array([[1.0, 0.9, 0.81, 0.729]])
    predictor, error = levinson(lags, 2)
    np.testing.assert_allclose(predictor[0], [1, -0.9, 0], atol=1e-9)
    np.testing.assert_allclose(error, [0.19], atol=1e-9)


@pytest.mark.parametrize("length", [300, 511, 8_000])
def test_power_density_is_welchs(length: int) -> None:
    sound = voice(1.0, 8)[4000 : 4000 + length]
    hertz, power = power_density(sound, 512)
    wanted_hertz, wanted = welch(sound.astype(np.float64), RATE, nperseg=min(512, length))
    np.testing.assert_allclose(hertz, wanted_hertz)
    np.testing.assert_allclose(power, wanted, rtol=1e-9)
