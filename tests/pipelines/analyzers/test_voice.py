"""Voice consistency as a whole, with the shipped speaker encoder: what comes out, and what odd input does to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client.verdict import Evidence
from pipelines.analyzers.frames import Floats
from pipelines.analyzers.speaker import MOST, WINDOW, speaker_drift, speech_only, windows_of
from pipelines.analyzers.voice import MOST_S, MOST_SPEECH_S, consistency, first_minute
from pipelines.infer import Arrays, Call
from pipelines.onnx_infer import OnnxInfer

RATE = 16_000
Make = Callable[..., Any]
LOW, HIGH = ((350, 60), (900, 90), (2300, 120)), ((800, 90), (1900, 150), (3200, 200))


@pytest.fixture(scope="module")
def infer() -> OnnxInfer:
    return OnnxInfer(ModelRepository(), threads=1)


class Told:
    """An encoder that says who speaks by the sign of the window's mean."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        self.calls.extend(calls)
        voices = (np.sign(call.inputs["AUDIO"].mean(axis=1)) > 0 for call in calls)
        record = np.zeros((1, 8), np.int32)
        return [{"EMBEDDING": np.stack([v, ~v], axis=1).astype(np.float32), "RECORD": record} for v in voices]


def speech(samples: Floats) -> Floats:
    return np.ones(-(-len(samples) // 512), np.float32)


def talking(vowel: Make, f0: float, seconds: float, formants: Sequence[tuple[float, float]], seed: int = 0) -> Floats:
    """A vowel whose strength moves as syllables do."""
    sound = vowel(f0, seconds, jitter=0.006, shimmer=0.04, seed=seed, formants=formants).samples
    at = np.arange(len(sound)) / RATE
    return np.asarray(0.4 * sound * (0.6 + 0.4 * np.sin(2 * np.pi * 3.3 * at)), dtype=np.float32)


def by_name(found: Sequence[Evidence]) -> dict[str, Evidence]:
    return {item.name: item for item in found}


def test_a_second_voice_drifts_more_than_one(vowel: Make, infer: OnnxInfer) -> None:
    one = talking(vowel, 110, 10.0, LOW)
    two = np.concatenate([one[: 5 * RATE], talking(vowel, 210, 5.0, HIGH, seed=1)])
    same, other = speaker_drift(one, speech(one), infer), speaker_drift(two, speech(two), infer)
    assert same is not None
    assert other is not None
    assert same.distance < 0.15 < 0.3 < other.distance
    assert other.at_s == pytest.approx(5.0, abs=0.9)


def test_drift_names_the_moment_in_the_recording_not_in_the_joined_speech() -> None:
    sound = np.concatenate([np.zeros(3 * RATE), np.full(4 * RATE, 0.1), np.full(4 * RATE, -0.1)]).astype(np.float32)
    track = speech(sound)
    track[: 3 * RATE // 512] = 0
    found = speaker_drift(sound, track, Told())
    assert found is not None
    assert found.distance == pytest.approx(1.0, abs=1e-6)
    assert found.at_s == pytest.approx(7.0, abs=0.9)


def test_two_windows_side_by_side_are_enough() -> None:
    sound = np.concatenate([np.full(WINDOW, 0.1), np.full(WINDOW + 512, -0.1)]).astype(np.float32)
    found = speaker_drift(sound, speech(sound), Told())
    assert found is not None
    assert (found.windows, found.distance) == (3, pytest.approx(1.0, abs=1e-6))


def test_too_little_speech_has_no_drift() -> None:
    sound = np.full(3 * RATE, 0.1, np.float32)
    told = Told()
    assert speaker_drift(sound, speech(sound), told) is None
    assert speaker_drift(np.zeros(0, np.float32), np.zeros(0, np.float32), told) is None
    assert not told.calls


def test_a_minute_is_one_call_of_at_most_the_largest_batch() -> None:
    repository = ModelRepository()
    card = repository.card("speaker_embedding")
    assert (card.max_batch_size, card.inputs[0].shape) == (MOST, (WINDOW,))
    windows, starts = windows_of(np.full(60 * RATE, 0.001, np.float32))
    assert len(windows) == len(starts)
    assert MOST - 2 < len(windows) <= MOST
    assert 60 * RATE - 2 * WINDOW < starts[-1] + WINDOW <= 60 * RATE
    assert np.sqrt(np.mean(windows**2)) == pytest.approx(10 ** (-30 / 20), rel=1e-4)
    loud, _ = windows_of(np.full(2 * RATE, 0.5, np.float32))
    assert loud[0, 0] == 0.5  # the encoder was trained with soft speech made louder, not loud speech softer


def test_joined_speech_keeps_the_edges_of_words() -> None:
    sound = np.arange(20 * 512, dtype=np.float32)
    track = np.zeros(20, np.float32)
    track[[5, 6, 15]] = 0.9
    joined, places = speech_only(sound, track)
    assert (places // 512).tolist() == [3, 4, 5, 6, 7, 8, 13, 14, 15, 16, 17]
    assert np.array_equal(joined[::512], places.astype(np.float32))


def test_everything_is_measured_with_unit_method_and_confidence(vowel: Make, infer: OnnxInfer) -> None:
    sound = talking(vowel, 120, 8.0, LOW)
    sound[3 * RATE : int(3.5 * RATE)] = 0
    track = speech(sound)
    track[3 * RATE // 512 + 1 : int(3.5 * RATE) // 512] = 0
    measured = consistency(sound, track, infer)
    found = by_name(measured.evidence)
    assert set(measured.weights) == {"speaker_embedding"}
    assert measured.weights["speaker_embedding"] == ModelRepository().record("speaker_embedding").weights_sha256
    assert list(found) == ["speaker_drift", "pitch", "pitch_range", "jitter", "shimmer", "pauses", "breaths"]
    assert found["pitch"].score == pytest.approx(120, abs=1)
    assert found["pitch_range"].score < 1
    assert 0.4 < found["jitter"].score < 1.0
    assert found["shimmer"].score > 2
    assert found["pauses"].score == pytest.approx(60 / 8, rel=0.01)
    assert found["breaths"].score == 0
    units = {"cosine distance", "Hz", "semitones", "%", "a minute"}
    for item in found.values():
        assert item.weight is None
        assert item.unit in units
        assert item.note
        assert item.confidence is not None
        assert 0 <= item.confidence <= 1
    assert "speaker_drift" not in by_name(consistency(sound, track).evidence)


def test_confidence_falls_with_noise_and_with_little_speech(vowel: Make) -> None:
    sound = talking(vowel, 120, 8.0, LOW)
    clean = by_name(consistency(sound, speech(sound)).evidence)
    noise = 0.3 * sound.std() * np.random.default_rng(0).normal(size=len(sound)).astype(np.float32)
    noisy = by_name(consistency(sound + noise, speech(sound)).evidence)
    short = by_name(consistency(sound[:RATE], speech(sound[:RATE])).evidence)
    for name in ("pitch", "jitter"):
        assert (clean[name].confidence or 0) > (noisy[name].confidence or 0)
        assert (clean[name].confidence or 0) > (short[name].confidence or 0)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1.0, 1e30])
@pytest.mark.parametrize("said", [1.0, 0.0, np.nan])
def test_odd_samples_give_finite_numbers_or_nothing(value: float, said: float, infer: OnnxInfer) -> None:
    sound = np.full(5 * RATE, value, np.float32)
    for item in consistency(sound, np.full(157, said, np.float32), infer).evidence:
        assert np.isfinite(item.score)
        assert np.isfinite(item.confidence or 0.0)


@pytest.mark.parametrize("length", [0, 1, 159, 511, 512, 8000, 8193])
def test_any_length_goes_through(length: int) -> None:
    sound = np.sin(np.arange(length) / 20).astype(np.float32)
    for cells in (0, length // 512, -(-length // 512), 40):
        assert isinstance(consistency(sound, np.ones(cells, np.float32)).evidence, tuple)


def test_an_hour_costs_no_more_than_its_first_minute(vowel: Make) -> None:
    sound = np.tile(talking(vowel, 120, 4.0, LOW), 300)
    track = speech(sound)
    track[::3] = 0
    samples, cells = first_minute(sound, track)
    assert np.count_nonzero(cells > 0.5) * 512 / RATE == pytest.approx(MOST_SPEECH_S, abs=0.1)
    assert len(samples) == len(cells) * 512
    silent, none = first_minute(np.zeros(3600 * RATE, np.float32), np.zeros(3600 * RATE // 512, np.float32))
    assert len(silent) / RATE == pytest.approx(MOST_S, abs=0.1)
    assert not none.any()
    began = time.process_time()
    assert consistency(sound, track).evidence
    assert time.process_time() - began < 3.0
