"""Recordings whose samples come from the stage ``audio_decode``: the same samples, or PyAV's and a note."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deepscan_client import MediaError, UnavailableError
from pipelines.audio.source import AudioSource, decode_audio
from pipelines.audio.staged import StagedSource, open_sound
from pipelines.infer import Arrays, Call
from pipelines.options import Options

Encode = Callable[..., bytes]


class Stage:
    """Answers as the stage does: the stored samples at their own rate."""

    def __init__(self, samples: Any, rate: float) -> None:
        self.samples, self.rate = samples, rate
        self.asked: list[int] = []

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        (call,) = calls
        self.asked.append(call.inputs["AUDIO"].shape[1])
        if isinstance(self.samples, Exception):
            raise self.samples
        return [{"SAMPLES": self.samples[None], "RATE": np.array([[self.rate]], np.float32)}]


def test_samples_of_the_stage_are_those_of_pyav(arithmetic: SimpleNamespace) -> None:
    stored = np.random.default_rng(1).uniform(-0.5, 0.5, 3 * 48_000).astype(np.float32)
    data = arithmetic.wav(stored, 48_000)
    stage = Stage(stored, 48_000.0)
    sound = open_sound(data, Options(request_id="me"), stage, "tensorrt")
    assert isinstance(sound, StagedSource)
    samples = np.concatenate(list(sound.blocks(1.0)))
    expected, info = decode_audio(data)
    assert np.allclose(samples, expected, atol=1e-6)
    assert stage.asked == [len(data)]
    assert sound.info.decoder.startswith("dali")
    assert (sound.info.duration_s, sound.info.options.request_id) == (info.duration_s, "me")
    assert sound.info.notes == info.notes


@pytest.mark.parametrize(
    "said", [UnavailableError("gone"), np.zeros(0, np.float32), np.zeros(100, np.float32), np.full(32_000, np.nan)]
)
def test_where_the_stage_fails_pyav_decodes_and_says_so(arithmetic: SimpleNamespace, said: Any) -> None:
    data = arithmetic.wav(arithmetic.tone(300, 2.0))
    sound = open_sound(data, Options(), Stage(said, 16_000.0), "onnx")
    samples = np.concatenate(list(sound.blocks()))
    assert np.array_equal(samples, decode_audio(data)[0])
    assert sound.info.decoder.startswith("pyav")
    assert "decoded by PyAV" in sound.info.notes[-1]


def test_what_dali_does_not_read_never_reaches_it(arithmetic: SimpleNamespace, encode_sound: Encode) -> None:
    voice = arithmetic.tone(300, 2.0)
    stage = Stage(UnavailableError("must not be asked"), 0.0)
    whole = arithmetic.wav(voice)
    for data, profile in (
        (whole, "cpu"),
        (whole[: len(whole) // 2], "tensorrt"),  # it would fail the batch of its neighbours
        (encode_sound(voice, 16_000, "mp3", "mp3"), "tensorrt"),
        (encode_sound(voice, channels=2), "tensorrt"),
        (encode_sound(np.tile(voice, 40)), "tensorrt"),
    ):
        assert isinstance(open_sound(data, Options(), stage, profile), AudioSource)  # type: ignore[arg-type]
    with pytest.raises(MediaError):
        open_sound(b"words", Options(), stage, "tensorrt")
    assert stage.asked == []
