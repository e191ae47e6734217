"""Voice activity over blocks of any length, and the stretches that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cards.repository import ModelRepository
from pipelines.audio.source import RATE, decode_audio
from pipelines.audio.speech import (
    CELL,
    CELL_SECONDS,
    MOST_CELLS,
    SpeechMeter,
    spans,
    speech_of,
    spoken_seconds,
)
from pipelines.infer import Arrays, Call, digest_words
from pipelines.onnx_infer import OnnxInfer

Floats = NDArray[np.float32]
SAMPLES = Path(__file__).resolve().parents[3] / "samples" / "audio"
WORDS = "ab" * 32


@pytest.fixture(scope="module")
def network() -> OnnxInfer:
    return OnnxInfer(ModelRepository(), threads=1)


@pytest.fixture(scope="module")
def prompt() -> Floats:
    return decode_audio((SAMPLES / "thanks.wav").read_bytes())[0]


class Counting:
    """Answers each cell with its mean and adds the cells to its state, so that any slip shows."""

    def __init__(self) -> None:
        self.cells: list[int] = []

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        (call,) = calls
        audio, state = call.inputs["AUDIO"], call.inputs["STATE"]
        cells = audio[:, 64:].reshape(len(audio), -1, CELL)
        before = audio[:, : len(cells[0]) * CELL].reshape(len(audio), -1, CELL)[:, :, :64]
        assert int(state[0, 0, 0]) == sum(self.cells)  # the state of the call before comes back
        if self.cells:
            assert before[0, 0].any()  # so does the end of the cell before
        self.cells.append(cells.shape[1])
        record = np.tile(digest_words(WORDS), (len(audio), 1))
        return [{"SPEECH": cells.mean(axis=2), "STATE_AFTER": state + cells.shape[1], "RECORD": record}]


def test_cells_do_not_depend_on_the_blocks() -> None:
    sound = np.random.default_rng(0).uniform(0.1, 1, 5 * RATE + 77).astype(np.float32)
    expected = sound[: len(sound) // CELL * CELL].reshape(-1, CELL).mean(axis=1)
    for size in (100, 513, 7000, len(sound)):
        meter = SpeechMeter(Counting())
        parts = [meter.feed(sound[start : start + size]) for start in range(0, len(sound), size)]
        joined = np.concatenate(parts)
        np.testing.assert_allclose(joined, expected, rtol=1e-5)
        rest = meter.finish()
        np.testing.assert_allclose(rest, [sound[len(expected) * CELL :].sum() / CELL], rtol=1e-5)
        assert meter.record == WORDS


def test_a_call_is_never_larger_than_the_engines_take() -> None:
    counting = Counting()
    speech = SpeechMeter(counting).feed(np.ones(2500 * CELL, np.float32))
    assert len(speech) == 2500
    assert counting.cells == [MOST_CELLS, MOST_CELLS, 2500 - 2 * MOST_CELLS]


def test_nothing_and_one_sample(network: OnnxInfer) -> None:
    meter = SpeechMeter(network)
    assert len(meter.feed(np.zeros(0, np.float32))) == 0
    assert len(meter.finish()) == 0
    assert len(speech_of(np.zeros(1, np.float32), network)) == 1


def test_a_prompt_is_speech_and_noise_hum_and_silence_are_not(network: OnnxInfer, prompt: Floats) -> None:
    speech = speech_of(prompt, network)
    assert len(speech) == -(-len(prompt) // CELL)
    assert spoken_seconds(spans(speech)) > 3.5
    time = np.arange(4 * RATE) / RATE
    others = {
        "silence": np.zeros(4 * RATE),
        "noise": 0.1 * np.random.default_rng(0).standard_normal(4 * RATE),
        "hum": 0.2 * np.sin(2 * np.pi * 50 * time),
    }
    for name, sound in others.items():
        assert spoken_seconds(spans(speech_of(sound.astype(np.float32), network))) < 0.2, name


def test_blocks_of_a_prompt_give_the_same_as_the_whole(network: OnnxInfer, prompt: Floats) -> None:
    meter = SpeechMeter(network)
    parts = [meter.feed(prompt[start : start + 3001]) for start in range(0, len(prompt), 3001)]
    np.testing.assert_allclose(np.concatenate([*parts, meter.finish()]), speech_of(prompt, network), atol=1e-5)
    assert meter.record == ModelRepository().record("voice_activity").weights_sha256


def test_spans_have_hysteresis_close_gaps_and_leave_out_clicks() -> None:
    speech = np.zeros(100, np.float32)
    speech[10:20] = 0.9
    speech[15] = 0.4  # above OFF: the stretch goes on
    speech[22:30] = 0.6  # two cells of pause are closed
    speech[50] = 1.0  # 32 ms are a click
    speech[90:] = 0.8  # open at the end
    found = spans(speech)
    assert found == [(10 * CELL_SECONDS, 30 * CELL_SECONDS), (90 * CELL_SECONDS, 100 * CELL_SECONDS)]
    assert spoken_seconds(found) == pytest.approx(30 * CELL_SECONDS)
    assert spans(np.zeros(0, np.float32)) == []
