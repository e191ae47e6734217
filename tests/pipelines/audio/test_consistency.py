"""The option ``analyzers``: the voice is measured where it is asked for, and the verdict stays what it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipelines.audio.analyze import VoiceAnalyzer, analyze_audio
from pipelines.audio.verdict import VoiceJudge
from pipelines.options import Options

MEASURES = {"pitch", "pitch_range", "jitter", "shimmer", "pauses", "breaths"}


@pytest.fixture
def recording(arithmetic: SimpleNamespace) -> bytes:
    """Two words of 150 Hz with a pause."""
    hush = np.zeros(8000, np.float32)
    return arithmetic.wav(np.concatenate([arithmetic.tone(150, 2.0), hush, arithmetic.tone(150, 2.0)]))  # type: ignore[no-any-return]


def test_the_voice_is_measured_where_it_is_asked_for(
    voice_repository: Any, arithmetic: SimpleNamespace, recording: bytes
) -> None:
    repository = voice_repository(fusion={})
    analyzer, judge = VoiceAnalyzer(repository, arithmetic.Infer()), VoiceJudge(repository)
    plain = analyze_audio(recording, analyzer, judge)
    asked = analyze_audio(recording, analyzer, judge, Options(analyzers=True))
    assert not MEASURES & {item.name for item in plain.evidence}
    found = {item.name: item for item in asked.evidence if item.name in MEASURES}
    assert set(found) == MEASURES
    assert found["pitch"].score == pytest.approx(150, abs=1)
    assert found["pauses"].score == pytest.approx(60 / 4.5, rel=0.01)
    assert all(item.weight is None and item.confidence is not None for item in found.values())
    assert (asked.label, asked.fake_probability) == (plain.label, plain.fake_probability)
    assert asked.timing_ms["consistency"] > plain.timing_ms["consistency"] == 0.0


def test_nothing_is_measured_of_what_nobody_speaks_in(voice_repository: Any, arithmetic: SimpleNamespace) -> None:
    repository = voice_repository(fusion={})
    silence = arithmetic.wav(np.zeros(48_000, np.float32))
    verdict = analyze_audio(
        silence, VoiceAnalyzer(repository, arithmetic.Infer()), VoiceJudge(repository), Options(analyzers=True)
    )
    assert not MEASURES & {item.name for item in verdict.evidence}
