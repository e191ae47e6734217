"""A copy of a voice by a plain vocoder is a fake, whatever its settings and after an MP3; its original is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client import Verdict
from deepscan_client.codes import Label
from pipelines.audio.analyze import STAGE, VoiceAnalyzer, analyze_audio
from pipelines.audio.source import decode_audio
from pipelines.audio.verdict import VoiceJudge
from pipelines.onnx_infer import OnnxInfer
from training.audio.make_samples import write
from training.audio.vocoders import griffin_lim

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "audio"


def judge(file: Path) -> Verdict:
    repository = ModelRepository()
    analyzer = VoiceAnalyzer(repository, OnnxInfer(repository, threads=1), tuple(repository.card(STAGE).calls))
    return analyze_audio(file.read_bytes(), analyzer, VoiceJudge(repository))


@pytest.mark.parametrize("name", ["thanks.wav", "voicemail.mp3", "next_caller.ogg"])
def test_a_recording_is_not_called_fake(name: str) -> None:
    assert judge(SAMPLES / name).label is Label.REAL


def test_the_sample_that_is_a_copy_is_called_fake() -> None:
    verdict = judge(SAMPLES / "thanks_copy.wav")
    assert verdict.label is Label.FAKE
    assert verdict.suspicious


@pytest.mark.parametrize("codec", ["pcm_s16le", "libmp3lame"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_copies_with_other_settings_are_called_fake(seed: int, codec: str, tmp_path: Path) -> None:
    """The seed draws bands, sizes of transforms and rounds."""
    original, _ = decode_audio((SAMPLES / "thanks.wav").read_bytes())
    copy, _ = griffin_lim(original, np.random.default_rng(seed))
    samples = np.clip(copy, -1, 1).astype(np.float32)
    suffix, rate = ("wav", None) if codec == "pcm_s16le" else ("mp3", 96_000)
    assert judge(write(tmp_path / f"copy.{suffix}", samples, codec, rate)).label is Label.FAKE
