"""Damage is the same for both clips of a pair, keeps length and time, and its codecs leave no delay."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import correlate

from tests.training.audio.voices import voice
from training.audio.codecs import CODECS, available, recode
from training.audio.damage import NOISES, Damage, apply_damage, draw_damage
from training.audio.noises import babble, coloured_noise, room
from training.audio.sounds import band_edge, low_pass, rms


def lag(made: NDArray[np.float32], real: NDArray[np.float32]) -> int:
    """Samples by which ``made`` is late, by the envelope and the phases under 3 kHz."""
    ours, theirs = low_pass(made, 3000.0), low_pass(real, 3000.0)
    return int(np.argmax(correlate(ours, theirs, "full"))) - (len(real) - 1)


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_gives_a_sound_of_the_same_length_twice_the_same(seed: int) -> None:
    sound = voice(1.0, seed)
    damage = draw_damage(np.random.default_rng(seed))
    made = apply_damage(sound, damage, [voice(1.0, 90), voice(0.7, 91)])
    assert made.shape == sound.shape
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert np.abs(made).max() <= 1
    np.testing.assert_array_equal(made, apply_damage(sound, damage, [voice(1.0, 90), voice(0.7, 91)]))


def test_drawing_is_deterministic_and_covers_everything() -> None:
    drawn = [draw_damage(np.random.default_rng(seed)) for seed in range(600)]
    assert drawn[7] == draw_damage(np.random.default_rng(7))
    assert {damage.noise for damage in drawn} == {"", *NOISES}
    assert {name for damage in drawn for name, _, _ in damage.codecs} == set(CODECS)
    plain = Damage()
    # The gate is a draw of its own (training.audio.features.damage_in).
    for field in (each for each in dataclasses.fields(Damage) if each.name != "gate_db"):
        assert any(getattr(damage, field.name) != getattr(plain, field.name) for damage in drawn), field.name
    assert all(draw_damage(np.random.default_rng(seed), keep_time=True).speed == 1 for seed in range(100))


def test_both_of_a_pair_get_the_same_noise() -> None:
    """The difference of two damaged clips has no noise in it: it was added alike."""
    real = voice(1.0, 1)
    copy = real.copy()
    copy[8000:8200] *= -1
    damage = Damage(seed=3, noise="white", snr_db=10.0, second_noise_db=30.0)
    left, right = apply_damage(real, damage), apply_damage(copy, damage)
    assert rms(left - real) > 0.02
    assert rms((left - right)[:7000]) < 0.01 * rms(left - real)


@pytest.mark.parametrize("snr", [5.0, 20.0, 40.0])
@pytest.mark.parametrize("noise", NOISES)
def test_noise_stands_at_the_ratio_that_was_asked_for(noise: str, snr: float) -> None:
    sound = voice(2.0, 2)
    made = apply_damage(sound, Damage(seed=1, noise=noise, snr_db=snr), [voice(1.0, 50), voice(1.5, 51)])
    assert 20 * np.log10(rms(sound) / rms(made - sound)) == pytest.approx(snr, abs=0.7)


@pytest.mark.parametrize("name", sorted(CODECS))
def test_a_codec_changes_the_sound_and_leaves_it_in_time(name: str) -> None:
    if not available(name):
        pytest.skip(f"this FFmpeg has no {name}")
    sound = voice(1.5, 3)
    codec = CODECS[name]
    for rate, bit_rate in {(codec.rates[0], codec.bit_rates[0]), (codec.rates[-1], codec.bit_rates[-1])}:
        made = recode(sound, name, rate, bit_rate)
        assert made.shape == sound.shape
        assert rms(made - sound) > 1e-5
        assert abs(lag(made, sound)) <= 3
        assert rms(made) == pytest.approx(rms(sound), rel=0.35)


def test_speed_changes_the_timeline_and_nothing_else_does() -> None:
    sound = voice(2.0, 4)
    assert abs(lag(apply_damage(sound, Damage(reverberation=0.3, direct_db=6.0)), sound)) <= 2
    assert abs(lag(apply_damage(sound, Damage(band=(300.0, 3400.0), equaliser_db=6.0)), sound)) <= 2
    faster = apply_damage(sound, Damage(speed=1.1))
    assert len(faster) == len(sound)
    assert np.corrcoef(faster, sound)[0, 1] < 0.5


def test_bands_clipping_packets_and_gain_do_what_they_say() -> None:
    sound = voice(2.0, 5)
    assert band_edge(apply_damage(sound, Damage(band=(300.0, 3400.0)))) < 4000
    cut = apply_damage(sound, Damage(clip_share=0.5))
    assert np.abs(cut).max() == pytest.approx(0.5 * np.abs(sound).max(), rel=1e-3)
    assert rms(apply_damage(sound, Damage(gain_db=-6.0))) == pytest.approx(rms(sound) * 10 ** (-6 / 20), rel=1e-3)
    lost = apply_damage(sound, Damage(lost_packets=0.3, seed=2))
    changed = (lost != sound)[: len(sound) // 320 * 320].reshape(-1, 320).any(axis=1)
    assert 0.15 < changed.mean() < 0.45
    struck = apply_damage(sound, Damage(impulses=0.001, seed=4)) - sound
    assert 5 < (np.abs(struck) > 1e-4).sum() < 100


def test_a_gate_lowers_pauses_and_leaves_speech() -> None:
    sound = voice(2.0, 5) + np.random.default_rng(2).normal(0, 1e-4, 32_000).astype(np.float32)
    made = apply_damage(sound, Damage(gate_db=20.0))
    assert 20 * np.log10(rms(made[:2000]) / rms(sound[:2000])) < -10
    assert 20 * np.log10(rms(made) / rms(sound)) == pytest.approx(0, abs=0.5)


def test_empty_and_silent_sounds_pass() -> None:
    assert not len(apply_damage(np.zeros(0, np.float32), Damage(noise="white")))
    for seed in range(25):
        made = apply_damage(np.zeros(3000, np.float32), draw_damage(np.random.default_rng(seed), clean=0.0))
        assert np.isfinite(made).all()


def test_noises_have_their_colours_and_rooms_their_direct_sound() -> None:
    rng = np.random.default_rng(0)
    white, pink = (np.abs(np.fft.rfft(coloured_noise(32_000, slope, rng))) ** 2 for slope in (0.0, 1.0))
    assert white[200:400].mean() / white[8000:12000].mean() == pytest.approx(1, abs=0.2)
    assert pink[200:400].mean() / pink[8000:12000].mean() > 10
    echo = room(0.4, 6.0, rng)
    assert np.argmax(np.abs(echo)) == 0
    assert float((echo**2).sum()) == pytest.approx(1, rel=1e-4)
    with pytest.raises(ValueError, match="voices"):
        babble(1000, [], rng)
