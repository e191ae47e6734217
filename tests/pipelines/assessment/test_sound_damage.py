"""Each damage of a recording does what its name says, in a file that decodes."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.assessment.sound_damage import CONDITIONS, RATE, Sound, SoundCondition
from pipelines.audio.source import decode_audio

AT = np.arange(2 * RATE) / RATE
TONES = (0.2 * np.sin(2 * np.pi * 1000 * AT) + 0.1 * np.sin(2 * np.pi * 6000 * AT)).astype(np.float32)
VOICES = [(0.1 * np.sin(2 * np.pi * hertz * AT)).astype(np.float32) for hertz in (300, 500, 700)]


def condition(name: str) -> SoundCondition:
    return next(each for each in CONDITIONS if each.name == name)


def heard(name: str, seed: int = 0) -> Sound:
    return decode_audio(condition(name).apply(TONES, VOICES, seed))[0]


def level(sound: Sound, low: float, high: float) -> float:
    """dB of the power between two frequencies."""
    power = np.abs(np.fft.rfft(sound[2000:-2000])) ** 2
    hertz = np.fft.rfftfreq(len(sound) - 4000, 1 / RATE)
    return float(10 * np.log10(power[(hertz >= low) & (hertz < high)].sum() + 1e-12))


def test_the_sweep_is_the_one_of_the_issue() -> None:
    assert [each.name for each in CONDITIONS] == [
        "none",
        "mp3 64 kbit/s",
        "opus 16 kbit/s",
        "telephone 8 kHz",
        "white 20 dB",
        "white 10 dB",
        "babble 20 dB",
        "babble 10 dB",
    ]


@pytest.mark.parametrize("each", CONDITIONS, ids=lambda each: each.name)
def test_every_file_decodes_to_as_many_samples(each: SoundCondition) -> None:
    sound, info = decode_audio(each.apply(TONES, VOICES, 3))
    assert abs(len(sound) - len(TONES)) <= 800
    assert info.sample_rate == each.rate
    assert np.isfinite(sound).all()


def test_files_are_what_they_are_called() -> None:
    kinds = {each.name: decode_audio(each.apply(TONES, VOICES))[1] for each in CONDITIONS}
    told = [(kinds[name].format, kinds[name].codec) for name in ("mp3 64 kbit/s", "opus 16 kbit/s", "telephone 8 kHz")]
    assert [codec.removesuffix("float") for _, codec in told] == ["mp3", "opus", "pcm_mulaw"]
    assert kinds["mp3 64 kbit/s"].bit_rate == pytest.approx(64_000, rel=0.1)


def test_nothing_is_lost_where_nothing_is_done() -> None:
    assert np.abs(heard("none") - TONES).max() < 1e-4


def test_a_telephone_keeps_its_band() -> None:
    sound = heard("telephone 8 kHz")
    assert level(sound, 900, 1100) == pytest.approx(level(TONES, 900, 1100), abs=1.0)
    assert level(sound, 5900, 6100) < level(TONES, 5900, 6100) - 40


@pytest.mark.parametrize(
    ("name", "ratio"), [("white 20 dB", 20), ("white 10 dB", 10), ("babble 20 dB", 20), ("babble 10 dB", 10)]
)
def test_noise_has_its_ratio(name: str, ratio: float) -> None:
    noise = heard(name) - TONES
    assert 10 * np.log10(np.mean(TONES**2) / np.mean(noise**2)) == pytest.approx(ratio, abs=0.5)


def test_noise_is_its_seed_and_is_never_clipped() -> None:
    each = condition("white 10 dB")
    assert each.apply(TONES, seed=1) == each.apply(TONES, seed=1) != each.apply(TONES, seed=2)
    loud = decode_audio(each.apply((TONES / np.abs(TONES).max()).astype(np.float32)))[0]
    assert np.abs(loud).max() <= 1.0
    assert (np.abs(loud) > 0.999).mean() < 1e-3


def test_babble_needs_voices_and_an_unknown_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="voices"):
        condition("babble 20 dB").apply(TONES, [np.zeros(RATE, np.float32)])
    with pytest.raises(ValueError, match="no noise"):
        SoundCondition("rain", noise="rain").apply(TONES)
