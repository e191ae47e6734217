"""The canaries: which sing, and what counts as a song."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client import (
    DeepScanClient,
    DeepScanError,
    Face,
    FakeCall,
    FakeTransport,
    Medium,
    Track,
    Verdict,
    make_verdict,
)
from pipelines.audio.source import decode_audio
from pipelines.audio.speech import spans, speech_of, spoken_seconds
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video.analyze import VideoAnalyzer
from serving import canary

FACE = Face((0, 0, 9, 9), 0.9, (), 0.1)
TRACK = Track(id=0, start_s=0.0, end_s=1.0, frames=2, fake_probability=0.2, score=0.9, quality=1.0)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Model: what it answers; nothing is asked over a network."""
    told: dict[str, Any] = {
        "deepfake_image": make_verdict(faces=(FACE,)),
        "deepfake_audio": make_verdict("real", 0.2),
        "deepfake_video": make_verdict("real", 0.2, tracks=(TRACK,)),
    }

    def connected(url: str, **settings: Any) -> DeepScanClient:
        def answer(call: FakeCall) -> Verdict:
            found: Verdict = told[call.model]
            return found

        return DeepScanClient(transport=FakeTransport(answer), **settings)

    monkeypatch.setattr(canary, "DeepScanClient", connected)
    return told


def test_a_medium_has_a_canary_where_its_public_model_is_served() -> None:
    assert set(canary.canaries(ModelRepository().names())) == {Medium.IMAGE, Medium.AUDIO, Medium.VIDEO}
    assert set(canary.canaries(["deepfake_image", "frame_cnn"])) == {Medium.IMAGE}
    assert canary.canaries([]) == {}


def test_only_a_face_a_voice_and_a_face_in_a_video_are_a_song(answers: dict[str, Any]) -> None:
    media = (Medium.IMAGE, Medium.AUDIO, Medium.VIDEO)
    canary.sing("here:1", 1.0, media)
    answers["deepfake_video"] = make_verdict("inconclusive", None)
    canary.sing("here:1", 1.0, media[:2])
    with pytest.raises(DeepScanError, match="video"):
        canary.sing("here:1", 1.0, media)
    answers["deepfake_audio"] = make_verdict("inconclusive", None)
    canary.sing("here:1", 1.0, media[:1])
    with pytest.raises(DeepScanError, match="voice"):
        canary.sing("here:1", 1.0, media)
    answers["deepfake_image"] = make_verdict()
    with pytest.raises(DeepScanError, match="the face of"):
        canary.sing("here:1", 1.0, media)


def test_every_network_over_pictures_runs_for_the_two_frames_of_the_video() -> None:
    repository = ModelRepository()
    with contextlib.closing(OnnxInfer(repository, threads=1)) as infer:
        options = Options(num_frames=canary.VIDEO_FRAMES)
        evidence = VideoAnalyzer(repository, infer).evidence(canary.VIDEO, options)
    card = repository.card("deepfake_video")
    over_pictures = {
        name for name in card.calls if {"IMAGES", "EMBEDDINGS"} & {t.name for t in repository.card(name).inputs}
    }
    assert set(evidence.weights) == over_pictures - {"face_mesh", "eye_iris"}  # these are asked for analyzers alone
    assert len(evidence.tracks) == 1
    assert evidence.sampled == canary.VIDEO_FRAMES
    assert canary.VIDEO.stat().st_size < 20_000


def test_the_recording_holds_enough_speech_for_every_model_to_run() -> None:
    samples, info = decode_audio(canary.RECORDING.read_bytes())
    speech = speech_of(samples, OnnxInfer(ModelRepository(), threads=1))
    assert spoken_seconds(spans(speech)) > 2.0
    assert info.bytes < 100_000
    assert np.abs(samples).max() < 0.9
