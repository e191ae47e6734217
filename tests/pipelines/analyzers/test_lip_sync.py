"""Lip-sync on synthetic truth: lips that open with the loudness of a voice, moved against it by known frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.analyzers.lip_sync import REACH, STRETCH, agreement_by_offset, embed, lip_sync, peak, window_curves
from pipelines.audio.mel import log_mel
from pipelines.audio.source import RATE as SAMPLE_RATE
from pipelines.infer import Arrays, Call, digest_words
from pipelines.video.lips import MEASURES, RATE, Lips, no_lips

RECORD = "ab" * 32


class Plain:
    """A network that compares how open the lips are with how loud the sound is."""

    def __init__(self) -> None:
        self.items = 0

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        (call,) = calls
        lips, mel = call.inputs["LIPS"], call.inputs["MEL"]
        assert lips.shape[1:] == (STRETCH, MEASURES)
        assert lips.dtype == mel.dtype == np.float32
        assert mel.shape == (len(lips), 4 * STRETCH, 40)
        self.items += len(lips)
        loud = mel.reshape(len(mel), STRETCH, -1).mean(axis=2)
        words = np.tile(digest_words(RECORD), (len(lips), 1))
        return [{"MOUTH": _pointer(lips[..., 0]), "SOUND": _pointer(loud), "RECORD": words}]


def _pointer(values: np.ndarray) -> np.ndarray:
    """A direction for each value, [n, t, 2]."""
    spread = (values - values.mean(axis=1, keepdims=True)) / (values.std(axis=1, keepdims=True) + 1e-3)
    angle = np.clip(spread, -1.5, 1.5)
    return np.stack([np.cos(angle), np.sin(angle)], axis=2).astype(np.float32)


def talking(seconds: float, shift: int, seed: int = 3) -> tuple[Lips, np.ndarray, np.ndarray]:
    """Lips, their voice ``shift`` frames later, and the speech probability of its cells."""
    rng = np.random.default_rng(seed)
    frames = round(seconds * RATE)
    opened = np.convolve(rng.uniform(0, 1, frames + 60), np.ones(4) / 4, mode="same") ** 2
    measures = np.zeros((frames, MEASURES), np.float32)
    measures[:, 0] = 4 * opened[30 : 30 + frames]
    loudness = np.repeat(opened[30 - shift : 30 - shift + frames], SAMPLE_RATE // RATE)
    tones = sum(np.sin(2 * np.pi * f * np.arange(len(loudness)) / SAMPLE_RATE) for f in (150, 700, 1900, 3100))
    noise = rng.standard_normal(len(loudness))
    samples = (0.1 * loudness * (tones + noise) + 1e-3 * noise).astype(np.float32)
    speech = np.ones(-(-len(samples) // 512), np.float32)
    return Lips(0.0, measures, np.ones(frames, bool)), samples, speech


@pytest.mark.parametrize("shift", [0, 2, -5, 10])
def test_the_offset_is_found_in_every_second(shift: int) -> None:
    found = lip_sync(*talking(6.0, shift), Plain())
    assert found is not None
    assert found.offset == shift
    assert found.record == RECORD
    assert [round(each.start) for each in found.seconds] == [0, 1, 2, 3, 4, 5]
    assert np.mean([abs(each.offset - shift) <= 1 for each in found.seconds]) >= 0.8
    assert found.confidence > 0.2
    names = [row.name for row in found.rows()]
    assert names == ["lip_sync_offset", "lip_sync_confidence"]
    assert all(row.weight is None for row in found.rows())


def test_another_voice_fits_less() -> None:
    lips, _, speech = talking(6.0, 0, seed=3)
    own, other = lip_sync(*talking(6.0, 0), Plain()), lip_sync(lips, talking(6.0, 0, seed=8)[1], speech, Plain())
    assert own is not None
    assert other is not None
    assert other.confidence < 0.5 * own.confidence


def test_seconds_without_speech_or_face_are_left_out() -> None:
    lips, samples, speech = talking(8.0, 0)
    speech[: len(speech) // 2] = 0
    found = lip_sync(lips, samples, speech, Plain())
    assert found is not None
    assert [each.start for each in found.seconds] == [4.0, 5.0, 6.0, 7.0]
    assert lip_sync(lips, samples, np.zeros_like(speech), Plain()) is None
    hidden = Lips(0.0, lips.measures, np.zeros(len(lips), bool))
    assert lip_sync(hidden, samples, np.ones_like(speech), Plain()) is None


def test_what_is_too_short_says_nothing() -> None:
    lips, samples, speech = talking(0.8, 0)
    assert lip_sync(lips, samples, speech, Plain()) is None
    assert lip_sync(no_lips(), samples, speech, Plain()) is None
    assert lip_sync(talking(6.0, 0)[0], samples[:100], speech, Plain()) is None


def test_lips_that_come_late_meet_the_sound_of_its_own_time() -> None:
    lips, samples, speech = talking(7.0, 0)
    late = Lips(1.0, lips.measures[RATE:], lips.seen[RATE:])
    found = lip_sync(late, samples, speech, Plain())
    assert found is not None
    assert found.offset == 0
    assert found.seconds[0].start == 1.0


def test_every_frame_of_any_length_is_embedded() -> None:
    for frames in (1, 63, 64, 65, 200, 1000):
        plain = Plain()
        mouth, sound, record = embed(
            np.zeros((frames, MEASURES), np.float32), np.zeros((4 * frames, 40), np.float32), plain
        )
        assert mouth.shape == sound.shape == (frames, 2)
        assert record == RECORD
        np.testing.assert_allclose(np.linalg.norm(mouth, axis=1), 1.0, atol=1e-5)
        assert plain.items <= 1 + frames // 48


def test_offsets_beyond_the_sound_are_unknown() -> None:
    rng = np.random.default_rng(0)
    mouth = rng.standard_normal((60, 4)).astype(np.float32)
    agreement = agreement_by_offset(mouth, mouth)
    assert agreement.shape == (60, 2 * REACH + 1)
    assert np.isnan(agreement[0, :REACH]).all()
    assert np.isnan(agreement[-1, REACH + 1 :]).all()
    starts, curves = window_curves(agreement, 20, 20)
    assert starts.tolist() == [0, 20, 40]
    assert np.isneginf(curves[0, :5]).all()  # less than half of the window has sound
    assert [peak(curve)[0] for curve in curves] == [0, 0, 0]


def test_the_spectrogram_knows_no_level() -> None:
    samples = talking(2.0, 0)[1]
    np.testing.assert_allclose(log_mel(samples), log_mel(0.1 * samples), atol=1e-3)
    assert log_mel(samples).shape == (200, 40)
    assert not log_mel(np.zeros(1600, np.float32)).any()
    assert log_mel(np.zeros(0, np.float32)).shape == (0, 40)
    click = np.zeros(16_000, np.float32)
    click[8080] = 1.0  # the middle of frame 50
    assert abs(int(log_mel(click).mean(axis=1).argmax()) - 50) <= 1
