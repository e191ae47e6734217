"""A recording to evidence to verdict, over networks that are arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client import Label, MediaError, Reason, Verdict
from pipelines.audio import analyze
from pipelines.audio.analyze import VoiceAnalyzer, analyze_audio
from pipelines.audio.evidence import VoiceEvidence
from pipelines.audio.source import AudioSource, open_audio
from pipelines.audio.verdict import VoiceJudge
from pipelines.audio.windows import CELL, RATE
from pipelines.infer import Arrays, Call
from pipelines.options import Options

Make = Callable[..., ModelRepository]


def judged(
    repository: ModelRepository, arithmetic: SimpleNamespace, samples: Any, infer: Any = None, **options: Any
) -> Verdict:
    analyzer = VoiceAnalyzer(repository, infer or arithmetic.Infer())
    return analyze_audio(arithmetic.wav(samples), analyzer, VoiceJudge(repository), Options(**options))


def fused(raw: float) -> float:
    """What two members with the same raw logit and the calibration of the fixture say together."""
    return 1.0 / (1.0 + math.exp(-(2.0 * raw - 1.0)))


def test_a_low_voice_is_real_and_a_high_one_fake(voice_repository: Make, arithmetic: SimpleNamespace) -> None:
    repository = voice_repository(fusion={})
    real = judged(repository, arithmetic, arithmetic.tone(300, 6.0), request_id="me")
    fake = judged(repository, arithmetic, arithmetic.tone(3000, 6.0))
    assert (real.medium, real.label, real.request_id) == ("audio", "real", "me")
    assert real.fake_probability == pytest.approx(fused(-3.0), abs=1e-6)
    assert real.suspicious == ()
    assert (fake.label, fake.operating_point.threshold) == ("fake", 0.7)
    assert fake.fake_probability == pytest.approx(fused(3.0), abs=1e-6)
    assert fake.interval is not None
    assert fake.interval.low < fake.fake_probability < fake.interval.high
    ((start, end),) = fake.suspicious
    assert (start, end) == (pytest.approx(0, abs=0.2), pytest.approx(6, abs=0.2))
    assert (fake.input.duration_s, fake.input.sample_rate, fake.input.channels) == (6.0, 16_000, 1)
    assert [model.name for model in fake.models] == ["voice_activity", "voice_one", "voice_two", "audio_verdict"]
    weighed = [row for row in fake.evidence if row.weight is not None]
    assert [(row.name, row.score, row.unit, row.weight) for row in weighed] == [
        (name, pytest.approx(5.0, abs=1e-5), "log-odds", 0.5) for name in arithmetic.members
    ]
    assert {row.name for row in fake.evidence} >= {"speech", "signal_to_noise", "bandwidth"}
    assert Verdict.from_json(fake.to_json()) == fake


def test_the_longer_somebody_speaks_the_surer_a_second_must_be(
    voice_repository: Make, arithmetic: SimpleNamespace
) -> None:
    """Two seconds of log-odds 4: a mark in a short recording, chance in one of half a minute, and no rarer beyond."""
    repository = voice_repository(fusion={})

    def marks(real_s: float, raw: float) -> int:
        sound = np.concatenate([arithmetic.tone(300, real_s), arithmetic.tone(3000, 2.0)])
        return len(judged(repository, arithmetic, sound, arithmetic.Infer(high=raw)).suspicious)

    assert [marks(real_s, 2.5) for real_s in (1.0, 12.0, 28.0)] == [1, 0, 0]
    # Log-odds 6 are over the limit of half a minute and under what a minute and a half would ask without an end.
    assert marks(28.0, 3.5) == marks(90.0, 3.5) == 1


def test_spliced_seconds_are_named_and_drawn_on_the_timeline(
    voice_repository: Make, arithmetic: SimpleNamespace
) -> None:
    repository = voice_repository(fusion={})
    parts = [arithmetic.tone(300, 8.0), arithmetic.tone(3000, 2.0), arithmetic.tone(300, 6.0)]
    verdict = judged(repository, arithmetic, np.concatenate(parts))
    ((start, end),) = verdict.suspicious
    assert (start, end) == (pytest.approx(8, abs=0.4), pytest.approx(10, abs=0.4))
    for begin, stop, probability in verdict.timeline:
        assert stop > begin
        if 8.6 <= begin <= 9.0:
            assert probability > 0.9
        if stop <= 7.4 or begin >= 10.6:
            assert probability < 0.1
    assert [row[0] for row in verdict.timeline] == sorted(row[0] for row in verdict.timeline)
    assert verdict.timeline[-1][1] <= 16.0
    assert (verdict.label, Reason.SUSPICIOUS_PARTS in verdict.reasons) == ("real", True)
    whole = judged(repository, arithmetic, arithmetic.tone(3000, 6.0))
    assert Reason.SUSPICIOUS_PARTS not in whole.reasons  # it is said by the label


@pytest.mark.parametrize("seconds", [7.0, 65.0])
def test_blocks_do_not_change_what_is_said(
    voice_repository: Make, arithmetic: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    repository = voice_repository(fusion={})
    silence = np.zeros(RATE, np.float32)
    samples = np.concatenate([arithmetic.tone(300, seconds), silence, arithmetic.tone(3000, 3.0)])
    whole = judged(repository, arithmetic, samples)
    monkeypatch.setattr(analyze, "BLOCK_S", 1.7)
    parts = judged(repository, arithmetic, samples)
    assert parts.canonical_json() == whole.canonical_json()


def test_all_windows_of_a_block_go_to_a_network_in_one_call(
    voice_repository: Make, arithmetic: SimpleNamespace
) -> None:
    infer = arithmetic.Infer()
    judged(voice_repository(), arithmetic, arithmetic.tone(300, 29.0), infer)
    windows = [count for model, count in infer.calls if model == "voice_one"]
    assert len(windows) == 1
    assert windows[0] > 5
    together: list[int] = []

    class Counting(arithmetic.Infer):  # type: ignore[misc, name-defined]
        def run(self, calls: Any) -> list[Arrays]:
            together.append(len(calls))
            return list(super().run(calls))

    judged(voice_repository(), arithmetic, arithmetic.tone(300, 5.0), Counting())
    assert max(together) == 2  # both networks side by side


def test_silence_and_noise_without_speech_are_inconclusive_and_ask_no_detector(
    voice_repository: Make, arithmetic: SimpleNamespace
) -> None:
    repository = voice_repository(fusion={})
    for samples, reason in (
        (np.zeros(5 * RATE, np.float32), Reason.SILENCE),
        (np.full(5 * RATE, 0.005, np.float32) * np.sign(arithmetic.tone(700, 5.0)), Reason.NO_SPEECH),
    ):
        infer = arithmetic.Infer()
        verdict = judged(repository, arithmetic, samples, infer)
        assert (verdict.label, verdict.fake_probability, verdict.interval) == (Label.INCONCLUSIVE, None, None)
        assert reason in verdict.reasons
        assert (verdict.timeline, verdict.suspicious) == ((), ())
        assert {model for model, _ in infer.calls} == {"voice_activity"}


def test_too_little_speech_has_a_probability_and_no_label(voice_repository: Make, arithmetic: SimpleNamespace) -> None:
    silence = np.zeros(3 * RATE, np.float32)
    samples = np.concatenate([silence, arithmetic.tone(3000, 1.0), silence])
    verdict = judged(voice_repository(fusion={}), arithmetic, samples)
    assert (verdict.label, Reason.TOO_SHORT in verdict.reasons) == (Label.INCONCLUSIVE, True)
    assert verdict.fake_probability is not None
    assert verdict.fake_probability > 0.9


@pytest.mark.parametrize("samples", [1, 100, CELL, CELL + 1])
def test_a_handful_of_samples_gets_an_answer(voice_repository: Make, arithmetic: SimpleNamespace, samples: int) -> None:
    verdict = judged(voice_repository(), arithmetic, arithmetic.tone(300, 1.0)[:samples])
    assert verdict.label is Label.INCONCLUSIVE


def test_the_callers_threshold_and_the_band_around_the_records(
    voice_repository: Make, arithmetic: SimpleNamespace
) -> None:
    voice = arithmetic.tone(3000, 5.0)
    strict = judged(voice_repository(fusion={}), arithmetic, voice, confidence_threshold=0.9999)
    assert (strict.label, strict.operating_point.source) == ("real", "request")
    assert Reason.CUSTOM_THRESHOLD in strict.reasons
    near = judged(voice_repository(fusion={"abstain_below": 0.5}), arithmetic, voice)
    assert (near.label, near.reasons[0]) == (Label.INCONCLUSIVE, Reason.NEAR_THRESHOLD)


def test_other_members_and_missing_calibrations_are_said(voice_repository: Make, arithmetic: SimpleNamespace) -> None:
    voice = arithmetic.tone(3000, 5.0)
    other = voice_repository(fusion={"members": {"voice_one": "0" * 64}, "weights": {"voice_one": 1.0}})
    verdict = judged(other, arithmetic, voice)
    assert Reason.FUSION_MISMATCH in verdict.reasons
    assert verdict.fake_probability == pytest.approx(fused(3.0), abs=1e-6)  # the mean of the calibrated log-odds
    bare = judged(voice_repository(calibrated=False), arithmetic, voice)
    assert Reason.UNCALIBRATED in bare.reasons
    assert {row.unit for row in bare.evidence if row.weight is not None} == {"logit"}


def test_measured_quality_decides_where_nothing_may_be_said(
    voice_repository: Make, arithmetic: SimpleNamespace
) -> None:
    noise = {
        "name": "snr_db",
        "low": -10,
        "high": 60,
        "centre": 30,
        "scale": 20,
        "abstain_below": 100,
        "reason": "noisy",
    }
    conditions = {"covariates": [noise], "least_slope": 0.1, "fitted_on": "arithmetic"}
    verdict = judged(voice_repository(fusion={"conditions": conditions}), arithmetic, arithmetic.tone(3000, 5.0))
    assert (verdict.label, verdict.reasons[0]) == (Label.INCONCLUSIVE, Reason.NOISY)
    assert verdict.fake_probability is not None


def test_progress_is_told_after_each_block_and_partial_evidence_can_be_judged(
    voice_repository: Make, arithmetic: SimpleNamespace
) -> None:
    repository = voice_repository(fusion={})
    analyzer, judge = VoiceAnalyzer(repository, arithmetic.Infer()), VoiceJudge(repository)
    source = open_audio(arithmetic.wav(np.concatenate([np.zeros(40 * RATE, np.float32), arithmetic.tone(3000, 30.0)])))
    steps = analyzer.listen(source)
    told = []
    while True:
        try:
            hearing = next(steps)
        except StopIteration as end:
            evidence: VoiceEvidence = end.value
            break
        told.append((hearing.seconds, judge.probability(hearing.evidence())))
    assert [seconds for seconds, _ in told] == [30.0, 60.0, 70.0]
    assert told[0][1] is None  # silence so far
    assert told[1][1] == pytest.approx(fused(3.0), abs=1e-6)
    assert VoiceEvidence.model_validate_json(evidence.model_dump_json()) == evidence


def test_evidence_of_an_hour_is_small_and_samples_are_not_kept(
    voice_repository: Make, arithmetic: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tracemalloc

    repository = voice_repository(fusion={})
    voice = arithmetic.tone(300, 30.0)

    class Hour:
        """A source of 3,600 s."""

        info = open_audio(arithmetic.wav(voice[:RATE])).info.model_copy(update={"duration_s": 3600.0})

        def blocks(self, seconds: float) -> Any:
            return (voice for _ in range(120))

    class Quick:
        """Says at once what the arithmetic would say of a low voice."""

        def run(self, calls: Any) -> list[Arrays]:
            return [self.answer(call) for call in calls]

        def answer(self, call: Call) -> Arrays:
            (model, count) = call.model, len(call.inputs["AUDIO"])
            if model == "voice_activity":
                cells = (call.inputs["AUDIO"].shape[1] - 64) // CELL
                speech = np.ones((1, cells), np.float32)
                return {"SPEECH": speech, "STATE_AFTER": call.inputs["STATE"], "RECORD": np.zeros((1, 8), np.int32)}
            return {
                "LOGIT": np.full((count, 1), -3.0, np.float32),
                "FRAMES": np.full((count, 32), -3.0, np.float32),
                "RECORD": np.zeros((count, 8), np.int32),
            }

    analyzer = VoiceAnalyzer(repository, Quick())
    peaks = []
    tracemalloc.start()
    steps = analyzer.listen(Hour())  # type: ignore[arg-type]
    while True:
        try:
            next(steps)
        except StopIteration as end:
            evidence = end.value
            break
        peaks.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert len(evidence.start_s) >= 1000
    assert peaks[-1] - peaks[10] < 20e6
    verdict = VoiceJudge(repository).verdict(Hour.info, evidence)
    assert len(verdict.timeline) <= 1_200
    assert verdict.timeline[-1][1] == pytest.approx(3600, abs=5)
    assert len(evidence.model_dump_json()) < 2_000_000


def test_bytes_that_are_no_recording_are_refused(voice_repository: Make, arithmetic: SimpleNamespace) -> None:
    repository = voice_repository()
    analyzer = VoiceAnalyzer(repository, arithmetic.Infer())
    with pytest.raises(MediaError):
        analyze_audio(b"just some words", analyzer, VoiceJudge(repository))
    with pytest.raises(MediaError):
        AudioSource(b"")
