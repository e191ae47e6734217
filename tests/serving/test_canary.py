"""The canaries: which sing, and what counts as a song."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client import DeepScanClient, DeepScanError, Face, FakeCall, FakeTransport, Medium, Verdict, make_verdict
from pipelines.audio.source import decode_audio
from pipelines.audio.speech import spans, speech_of, spoken_seconds
from pipelines.onnx_infer import OnnxInfer
from serving import canary

FACE = Face((0, 0, 9, 9), 0.9, (), 0.1)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Model: what it answers; nothing is asked over a network."""
    told: dict[str, Any] = {"deepfake_image": make_verdict(faces=(FACE,)), "deepfake_audio": make_verdict("real", 0.2)}

    def connected(url: str, **settings: Any) -> DeepScanClient:
        def answer(call: FakeCall) -> Verdict:
            found: Verdict = told[call.model]
            return found

        return DeepScanClient(transport=FakeTransport(answer), **settings)

    monkeypatch.setattr(canary, "DeepScanClient", connected)
    return told


def test_a_medium_has_a_canary_where_its_public_model_is_served() -> None:
    assert set(canary.canaries(ModelRepository().names())) == {Medium.IMAGE, Medium.AUDIO}
    assert set(canary.canaries(["deepfake_image", "frame_cnn"])) == {Medium.IMAGE}
    assert canary.canaries([]) == {}


def test_only_a_face_and_a_voice_are_a_song(answers: dict[str, Any]) -> None:
    canary.sing("here:1", 1.0, (Medium.IMAGE, Medium.AUDIO))
    answers["deepfake_audio"] = make_verdict("inconclusive", None)
    canary.sing("here:1", 1.0, (Medium.IMAGE,))
    with pytest.raises(DeepScanError, match="voice"):
        canary.sing("here:1", 1.0, (Medium.IMAGE, Medium.AUDIO))
    answers["deepfake_image"] = make_verdict()
    with pytest.raises(DeepScanError, match="face"):
        canary.sing("here:1", 1.0, (Medium.IMAGE, Medium.AUDIO))


def test_the_recording_holds_enough_speech_for_every_model_to_run() -> None:
    samples, info = decode_audio(canary.RECORDING.read_bytes())
    speech = speech_of(samples, OnnxInfer(ModelRepository(), threads=1))
    assert spoken_seconds(spans(speech)) > 2.0
    assert info.bytes < 100_000
    assert np.abs(samples).max() < 0.9
