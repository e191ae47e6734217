"""Evidence to verdict for a recording: which records spoke, what they are worth together, and what may be said."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cards.card import Profile
from cards.record import Calibration, Fusion
from cards.repository import ModelRepository
from deepscan_client.codes import Label, Medium, Reason
from deepscan_client.verdict import DecodeInfo, Evidence, InputInfo, Interval, OperatingPoint, Verdict
from pipelines.assessment.curves import log_odds
from pipelines.audio.evidence import VoiceEvidence
from pipelines.audio.judgement import clip_logit, judge_recording, local_log_odds
from pipelines.audio.quality import SoundQuality, problems
from pipelines.audio.source import AudioInfo
from pipelines.audio.timeline import as_array, stretches, suspicious
from pipelines.fusion import interval, sigmoid
from pipelines.records import Shelf, Spoke, abstention_ratio, evidence_rows, models_of, operating_point

MODEL = "audio_verdict"
MANY_S = 30.0
"""Seconds of speech beyond which marks are counted by time, not by recording."""
UNHEARD = (Reason.SILENCE, Reason.NO_SPEECH, Reason.TOO_SHORT)
"""With one of these a label is inconclusive, whatever the networks say."""


class VoiceJudge:
    """Turns evidence into verdicts with the records of a repository.

    Args:
        repository: cards and records.
        profile: names the precision that each network runs in.
    """

    def __init__(self, repository: ModelRepository, profile: Profile = "cpu") -> None:
        self._shelf = Shelf(repository, MODEL, profile)

    def verdict(self, info: AudioInfo, evidence: VoiceEvidence) -> Verdict:
        """The verdict on one recording."""
        start = time.monotonic_ns()
        spoke = self._shelf.all_of(evidence.weights)
        heard = self._weigh(spoke, evidence)
        fusion, reasons = heard.fusion, list(heard.reasons)
        point = operating_point(info.options.confidence_threshold, fusion)
        if point.source == "request":
            reasons.append(Reason.CUSTOM_THRESHOLD)
        label, why = _label(problems(evidence.quality, info.lossy), heard, point)
        reasons.extend(why)
        if info.cut_off:
            reasons.append(Reason.CUT_OFF)
        if _far(evidence) > 1.0:
            reasons.append(Reason.OUT_OF_DISTRIBUTION)
            if _far(evidence) > abstention_ratio(list(spoke.values())):
                label = Label.INCONCLUSIVE
        said = heard.log_odds
        span = interval(said, fusion.refits) if fusion and said is not None else None
        columns = {name: as_array(values) for name, values in evidence.local.items()}
        local = local_log_odds(columns, evidence.quality, heard.calibrations, fusion)
        rows = stretches(local, evidence.step_s, info.duration_s)
        spans = suspicious(local, evidence.step_s, info.duration_s, _limit(point, fusion, evidence.quality.speech_s))
        if spans and label is not Label.FAKE:
            reasons.append(Reason.SUSPICIOUS_PARTS)
        done = time.monotonic_ns()
        return Verdict(
            medium=Medium.AUDIO,
            input=InputInfo(
                info.sha256,
                info.bytes,
                info.format,
                duration_s=info.duration_s,
                codec=info.codec,
                sample_rate=info.sample_rate,
                channels=info.channels,
            ),
            label=label,
            fake_probability=None if said is None else sigmoid(said),
            interval=None if span is None else Interval(*span),
            reasons=tuple(dict.fromkeys(reasons)),
            operating_point=point,
            evidence=(*_rows(evidence, heard), *_sound(evidence.quality), *evidence.consistency),
            faces=(),
            decode=DecodeInfo(info.decoder, notes=info.notes),
            models=models_of(spoke, self._shelf.own),
            timing_ms={
                "probe": info.probe_ms,
                "decode": evidence.decode_ms,
                "speech": evidence.speech_ms,
                "networks": evidence.networks_ms,
                "consistency": evidence.consistency_ms,
                "verdict": (done - start) / 1e6,
                "total": (done - info.started_ns) / 1e6,
            },
            request_id=info.options.request_id,
            timeline=tuple((begin, end, sigmoid(value)) for begin, end, value in rows),
            suspicious=spans,
        )

    def probability(self, evidence: VoiceEvidence) -> float | None:
        """The calibrated probability of what was heard so far; None where nothing could be scored."""
        said = self._weigh(self._shelf.all_of(evidence.weights), evidence).log_odds
        return None if said is None else sigmoid(said)

    def _weigh(self, spoke: Mapping[str, Spoke], evidence: VoiceEvidence) -> _Heard:
        members = {name: spoke[name] for name in evidence.logits if name in spoke}
        calibrations = {name: each.calibration for name, each in members.items()}
        fusion, reasons = self._shelf.fusion_for(members)
        if not evidence.start_s or not members:
            return _Heard(calibrations, fusion, tuple(reasons))
        said, drowned = judge_recording(evidence.logits, evidence.speech_s, evidence.quality, calibrations, fusion)
        return _Heard(calibrations, fusion, tuple(reasons), said, drowned)


@dataclass(frozen=True)
class _Heard:
    """The members' worth together."""

    calibrations: dict[str, Calibration | None]
    fusion: Fusion | None
    reasons: tuple[Reason, ...]
    log_odds: float | None = None
    """Of the whole recording; None where no window could be scored."""
    drowned: Reason | None = None
    """Why nothing may be concluded from them."""


def _label(found: Sequence[Reason], heard: _Heard, point: OperatingPoint) -> tuple[Label, list[Reason]]:
    """The label and the reasons for it, of which some were found in the sound."""
    reasons = list(found)
    unheard = set(reasons) & set(UNHEARD)
    if heard.log_odds is None:
        return Label.INCONCLUSIVE, reasons if unheard else [Reason.NO_SPEECH, *reasons]
    if heard.drowned is not None:
        reasons.insert(0, heard.drowned)
    if unheard or heard.drowned is not None:
        return Label.INCONCLUSIVE, reasons
    probability = sigmoid(heard.log_odds)
    if heard.fusion and abs(probability - point.threshold) < heard.fusion.abstain_below:
        return Label.INCONCLUSIVE, [Reason.NEAR_THRESHOLD, *reasons]
    return Label.FAKE if probability >= point.threshold else Label.REAL, reasons


def _far(evidence: VoiceEvidence) -> float:
    """How many thresholds the recording lies from what was trained on: the median over its windows."""
    return float(np.median(evidence.novelty)) if evidence.novelty else 0.0


def _limit(point: OperatingPoint, fusion: Fusion | None, speech_s: float) -> float:
    """Log-odds from which a second is suspicious: the strictest operating point's, which speaks of a whole recording,
    and as much more as there are seconds of speech, because a mark on any of them is one on the recording. Beyond
    ``MANY_S`` a recording gets one such mark in every so many seconds."""
    strictest = max((each.threshold for each in fusion.operating_points.values()), default=0.0) if fusion else 0.0
    return float(log_odds(max(strictest, point.threshold)) + np.log(np.clip(speech_s, 1.0, MANY_S)))


def _rows(evidence: VoiceEvidence, heard: _Heard) -> tuple[Evidence, ...]:
    """Each network's mean over the windows."""
    if not evidence.start_s:
        return ()
    means = {name: clip_logit(evidence.logits[name], evidence.speech_s) for name in heard.calibrations}
    note = f"mean of {len(evidence.start_s)} windows by their speech" if len(evidence.start_s) > 1 else ""
    return evidence_rows(means, heard.calibrations, heard.fusion, note)


def _sound(quality: SoundQuality) -> tuple[Evidence, ...]:
    """What was measured of the sound itself, without a weight."""
    return (
        Evidence("speech", quality.speech_s, "s"),
        Evidence("speech_level", quality.level_db, "dBFS"),
        Evidence("signal_to_noise", quality.snr_db, "dB"),
        Evidence("bandwidth", quality.bandwidth_hz, "Hz"),
        Evidence("clipping", 100 * quality.clipped_share, "%", note="of the samples of speech"),
        Evidence("music", 100 * quality.music, "%", note="of the time has a tone that stays"),
    )
