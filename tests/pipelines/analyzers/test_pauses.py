"""Pauses and breaths that were painted into a synthetic voice, with a speech track as coarse and late as a real one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cards import ModelRepository
from pipelines.analyzers.frames import Floats, frames_of
from pipelines.analyzers.pauses import Stretches, pauses_and_breaths
from pipelines.audio.source import decode_audio
from pipelines.audio.speech import speech_of
from pipelines.onnx_infer import OnnxInfer

RATE = 16_000
Make = Callable[..., Any]
PAUSES = ((1.00, 1.45), (2.30, 2.52), (3.70, 4.80))


def track(speaking: np.ndarray, late: int = 1) -> Floats:
    """Speech of each cell of 512 samples: smeared over its neighbours and late, as a network tells it."""
    wide = np.pad(speaking.astype(np.float32), (0, -len(speaking) % 512)).reshape(-1, 512).mean(axis=1)
    smeared = np.convolve(np.pad(wide, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    return np.roll(smeared, late).astype(np.float32)


def recording(
    vowel: Make, noise: float = 1e-4, pauses: Sequence[tuple[float, float]] = PAUSES
) -> tuple[Floats, np.ndarray]:
    """Six seconds of a vowel whose strength moves as syllables do, with pauses and a floor of noise."""
    at = np.arange(6 * RATE) / RATE
    speaking = (at > 0.3) & (at < 5.7)
    for start, end in pauses:
        speaking[(at >= start) & (at < end)] = False
    sound = vowel(130, 6.0, jitter=0.005).samples * (0.7 + 0.3 * np.sin(2 * np.pi * 4 * at)) * speaking
    sound = sound + noise * np.random.default_rng(5).normal(size=len(sound))
    return sound.astype(np.float32), speaking


def measured(samples: Floats, speaking: np.ndarray, late: int = 1) -> Stretches:
    return pauses_and_breaths(frames_of(samples, track(speaking, late)))


@pytest.mark.parametrize("noise", [0.0, 1e-4, 3e-3])
@pytest.mark.parametrize("late", [0, 1, 2])
def test_painted_pauses_are_found_within_forty_milliseconds(vowel: Make, noise: float, late: int) -> None:
    found = measured(*recording(vowel, noise), late)
    assert found.pauses.shape == (3, 2)
    assert np.abs(found.pauses - np.array(PAUSES)).max() <= 0.04
    assert not len(found.breaths)


def test_where_noise_hides_the_edges_the_speech_track_stands(vowel: Make) -> None:
    found = measured(*recording(vowel, noise=0.1), late=0)
    assert found.pauses.shape == (3, 2)
    assert np.abs(found.pauses - np.array(PAUSES)).max() <= 0.064
    assert found.contrast_db < 20


@pytest.mark.parametrize("level", [0.004, 0.012])
def test_painted_breaths_are_found(vowel: Make, band_noise: Make, level: float) -> None:
    samples, speaking = recording(vowel)
    painted = ((1.05, 1.35), (4.0, 4.5))
    for start, end in painted:
        breath = band_noise(end - start, level)
        place = int(start * RATE)
        samples[place : place + len(breath)] += breath
    found = measured(samples, speaking)
    assert found.breaths.shape == (2, 2)
    assert np.abs(found.breaths - np.array(painted)).max() <= 0.05
    assert found.pauses.shape == (3, 2)


def test_what_is_no_breath_is_none(vowel: Make, band_noise: Make) -> None:
    """A hum, a click, a cough as loud as speech and rumble below 400 Hz."""
    at = np.arange(int(0.4 * RATE)) / RATE
    intruders = {
        "hum": 0.01 * np.sin(2 * np.pi * 800 * at),
        "click": band_noise(0.05, 0.01),
        "cough": band_noise(0.4, 0.4),
        "rumble": band_noise(0.4, 0.01, 100, 400),
        "murmur": 0.02 * vowel(130, 0.4).samples,
    }
    for name, sound in intruders.items():
        samples, speaking = recording(vowel)
        samples[int(4.0 * RATE) : int(4.0 * RATE) + len(sound)] += sound.astype(np.float32)
        assert not len(measured(samples, speaking).breaths), name


DATA = Path(os.environ.get("DEEPSCAN_DATA", Path(__file__).parents[4] / "shared" / "data"))
CLIPS = DATA / "train" / "audio" / "real" / "librispeech_train_clean_100_251spk"


@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs the training data's LibriSpeech clips (DEEPSCAN_DATA)")
def test_pauses_in_real_speech_are_found_with_the_shipped_speech_track() -> None:
    """Half a second of the clip's own quiet noise is put where its speaker is loud, by a plain cut."""
    infer, rng = OnnxInfer(ModelRepository(), threads=1), np.random.default_rng(0)
    errors = []
    for path in sorted(CLIPS.iterdir())[:30]:
        samples = decode_audio(path.read_bytes())[0]
        levels = frames_of(samples, np.ones(len(samples) // 512 + 1, np.float32)).levels
        loud = float(np.quantile(levels, 0.9)) - 22
        places = [i for i in range(60, len(levels) - 60) if levels[i - 15 : i + 15].min() > loud]
        if not places:
            continue
        cut = places[len(places) // 2] * 160
        hush = rng.normal(size=RATE // 2) * np.sqrt(10 ** (np.quantile(levels, 0.05) / 10) / 2)
        longer = np.concatenate([samples[:cut], hush.astype(np.float32), samples[cut:]])
        found = pauses_and_breaths(frames_of(longer, speech_of(longer, infer))).pauses
        wanted = np.array([cut / RATE, cut / RATE + 0.5])
        errors.append(float(np.abs(found - wanted).max(axis=1).min()) if len(found) else 1.0)
    assert len(errors) >= 20
    assert np.mean(np.array(errors) <= 0.04) >= 0.9


def test_no_speech_has_no_pauses() -> None:
    found = pauses_and_breaths(frames_of(np.zeros(RATE, np.float32), np.zeros(32, np.float32)))
    assert (len(found.pauses), len(found.breaths), found.contrast_db) == (0, 0, 0.0)


def test_speech_without_a_pause_has_none(vowel: Make) -> None:
    samples = vowel(120, 2.0).samples
    found = pauses_and_breaths(frames_of(samples, np.ones(63, np.float32)))
    assert (len(found.pauses), len(found.breaths)) == (0, 0)
