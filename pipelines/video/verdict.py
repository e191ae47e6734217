"""Evidence to verdict for a video: pool each track, calibrate, fuse, correct for the number of faces, label."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cards.card import Profile, Quality
from cards.record import Calibration, Fusion
from cards.repository import ModelRepository
from deepscan_client.codes import Label, Medium, Reason
from deepscan_client.verdict import (
    DecodeInfo,
    Evidence,
    InputInfo,
    Interval,
    OperatingPoint,
    Progress,
    Track,
    TrackBox,
    TrackHeatMap,
    Verdict,
)
from pipelines.fusion import combine_faces, fuse, interval, sigmoid
from pipelines.records import Shelf, Spoke, abstention_ratio, evidence_rows, models_of, operating_point
from pipelines.video.evidence import TrackEvidence, VideoEvidence
from pipelines.video.pooling import pooled
from pipelines.video.timeline import stretches_of

MODEL = "deepfake_video"
FEWEST = 4
"""Frames that a face must be seen in, unless fewer were asked for."""
STILL = ((0.25, 0.03), (0.5, 0.005))
"""A picture in the picture moves less than a share of the liveliest face and lies, in the median, no further from its
place than a share of its own size: either pair will do. Its landmarks jitter by what the codec leaves, and its crop
with them, so that one that hardly leaves its place may seem to move more."""
STILL_MOTION = 0.3
"""Grey levels between neighbours under which a face stands still. A repeated frame shows 0.02, for a codec's noise."""
UNHEARD = "the sound track was not judged: ask deepfake_multimodal"
"""Note of a video with sound that was judged by its pictures."""
_PROBLEMS = (Reason.FEW_FRAMES, Reason.FACE_TOO_SMALL, Reason.LOW_QUALITY)


@dataclass(frozen=True)
class Judged:
    """One track with what its members say together."""

    track: TrackEvidence
    logits: dict[str, float]
    log_odds: float
    problem: Reason | None


class VideoJudge:
    """Turns evidence into verdicts with the records of a repository.

    Args:
        repository: cards and records; a record is found by the weights that ran, so a roll-back of a network rolls its
            calibration back too.
        profile: names the precision that each network runs in.
    """

    def __init__(self, repository: ModelRepository, profile: Profile = "cpu") -> None:
        known = MODEL in repository.names() and bool(repository.versions(MODEL))
        self._shelf = Shelf(repository, MODEL if known else "image_verdict", profile)
        if not known:
            self._shelf.fusion, self._shelf.own = None, ()
        self._quality = (repository.card(MODEL).quality if known else None) or Quality()

    def verdict(self, evidence: VideoEvidence, alone: bool = True) -> Verdict:
        """The verdict on one video.

        Args:
            alone: whether nobody judges its sound; where it has a sound track, a note says so.
        """
        start = time.monotonic_ns()
        facts = evidence.facts
        spoke = self._shelf.all_of(evidence.weights)
        judged, calibrations, fusion, reasons = self._judge(evidence, spoke)
        point = operating_point(facts.options.confidence_threshold, fusion)
        if point.source == "request":
            reasons.append(Reason.CUSTOM_THRESHOLD)
        log_odds, label, why = _label(judged, fusion, point)
        reasons += why
        good = [each for each in judged if each.problem is None]
        if good and all(each.track.motion < STILL_MOTION for each in good) and evidence.sampled > 1:
            reasons.append(Reason.STILL_FACE)
        if good and _far(good[0].track) > 1.0:
            reasons.append(Reason.OUT_OF_DISTRIBUTION)
            if _far(good[0].track) > abstention_ratio(list(spoke.values())):
                label = Label.INCONCLUSIVE
        reasons += _told(evidence)
        span = interval(log_odds, fusion.refits) if fusion and log_odds is not None else None
        done = time.monotonic_ns()
        return Verdict(
            medium=Medium.VIDEO,
            input=InputInfo(
                facts.sha256,
                facts.bytes,
                facts.format,
                facts.width,
                facts.height,
                duration_s=facts.seconds,
                codec=facts.codec,
                fps=facts.fps,
                frames=facts.frames,
            ),
            label=label,
            fake_probability=None if log_odds is None else sigmoid(log_odds),
            interval=None if span is None else Interval(*span),
            reasons=tuple(dict.fromkeys(reasons)),
            operating_point=point,
            evidence=(*_rows(judged, calibrations, fusion), *(row for rows in evidence.more.values() for row in rows)),
            faces=(),
            decode=DecodeInfo(facts.decoder, notes=(*facts.notes, *_notes(evidence, alone))),
            models=models_of({**self._shelf.all_of(evidence.drew), **spoke}, self._shelf.own),
            timing_ms={
                "probe": facts.probe_ms,
                **evidence.ms,
                "verdict": (done - start) / 1e6,
                "total": (done - facts.started_ns) / 1e6,
            },
            request_id=facts.options.request_id,
            timeline=self._timeline(evidence, judged, calibrations, fusion),
            tracks=tuple(_track(each, boxes=True) for each in judged),
        )

    def progress(self, evidence: VideoEvidence) -> Progress:
        """How far it is, and what was seen so far says."""
        judged, calibrations, fusion, _ = self._judge(evidence, self._shelf.all_of(evidence.weights))
        log_odds, _, _ = _label(judged, fusion, operating_point(None, fusion))
        return Progress(
            evidence.seconds,
            max(evidence.facts.seconds, evidence.seconds) or None,
            None if log_odds is None else sigmoid(log_odds),
            tracks=tuple(_track(each, boxes=False) for each in judged),
            timeline=self._timeline(evidence, judged, calibrations, fusion),
        )

    def _judge(
        self, evidence: VideoEvidence, spoke: Mapping[str, Spoke]
    ) -> tuple[list[Judged], dict[str, Calibration | None], Fusion | None, list[Reason]]:
        """Every track, the one that decides first; calibrations of the members; the fusion; what to know of it."""
        logits = [track_logits(track) for track in evidence.tracks]
        names = {name for row in logits for name in row}
        members = {name: spoke[name] for name in sorted(names) if name in spoke}
        calibrations = {name: each.calibration for name, each in members.items()}
        fusion, reasons = self._shelf.fusion_for(members)
        liveliest = max((track.motion for track in evidence.tracks if len(track) >= FEWEST), default=0.0)
        asked = evidence.facts.options.num_frames
        fewest = FEWEST if asked is None else min(FEWEST, asked)
        judged = [
            Judged(track, row, _fused(row, calibrations, fusion), self._problem(track, liveliest, fewest))
            for track, row in zip(evidence.tracks, logits)
        ]
        return (
            sorted(judged, key=lambda each: (each.problem is not None, -each.log_odds)),
            calibrations,
            fusion,
            reasons,
        )

    def _problem(self, track: TrackEvidence, liveliest: float, fewest: int) -> Reason | None:
        if len(track) < fewest:
            return Reason.FEW_FRAMES
        wander = _wander(track)
        # Where no face moves it is a slide show, and each of its pictures is judged: none lies in another.
        moves = liveliest >= STILL_MOTION
        if moves and any(track.motion < share * liveliest and wander < reach for share, reach in STILL):
            return Reason.STILL_FACE
        if track.face_px < self._quality.min_face_px:
            return Reason.FACE_TOO_SMALL
        return Reason.LOW_QUALITY if float(np.median(track.sharpness)) < self._quality.min_sharpness else None

    def _timeline(
        self,
        evidence: VideoEvidence,
        judged: list[Judged],
        calibrations: Mapping[str, Calibration | None],
        fusion: Fusion | None,
    ) -> tuple[tuple[float, float, float], ...]:
        """Probability by stretches of time, of the strongest face of each; faces that do not count are left out."""
        columns = []
        for each in judged:
            if each.problem is None and each.logits:
                whole = {name: np.full(len(each.track), value) for name, value in each.logits.items()}
                columns.append((each.track.times, _fused_frames({**whole, **each.track.logits}, calibrations, fusion)))
        rows = stretches_of(columns, evidence.step_s, evidence.facts.seconds)
        return tuple((begin, end, sigmoid(value)) for begin, end, value in rows)


def track_logits(track: TrackEvidence) -> dict[str, float]:
    """Raw logit of each network for a track: pooled over its frames, or the mean over the stretches it was shown."""
    found = {name: pooled(values, track.quality) for name, values in track.logits.items()}
    return {**found, **{name: float(values.mean()) for name, values in track.clips.items() if len(values)}}


def _wander(track: TrackEvidence) -> float:
    """Median distance of a track's boxes from their place, in sizes of the face."""
    centres = (track.boxes[:, :2] + track.boxes[:, 2:]) / 2
    return float(np.median(np.linalg.norm(centres - np.median(centres, axis=0), axis=1)) / max(track.face_px, 1.0))


def _fused(logits: Mapping[str, float], calibrations: Mapping[str, Calibration | None], fusion: Fusion | None) -> float:
    if fusion is not None and set(fusion.weights) != set(logits):
        fusion = None  # a track too short for a network over many frames
    return fuse(logits, calibrations, fusion)


def _fused_frames(
    logits: Mapping[str, NDArray[np.float64]], calibrations: Mapping[str, Calibration | None], fusion: Fusion | None
) -> NDArray[np.float64]:
    """Fused log-odds of each frame, [k]."""
    rows = zip(*logits.values())
    return np.array([_fused(dict(zip(logits, row)), calibrations, fusion) for row in rows])


def _label(
    judged: list[Judged], fusion: Fusion | None, point: OperatingPoint
) -> tuple[float | None, Label, list[Reason]]:
    """Video log-odds, label and the reasons for it."""
    if not judged:
        return None, Label.INCONCLUSIVE, [Reason.NO_FACE]
    quantiles = fusion.real_quantiles if fusion else ()
    good = [each.log_odds for each in judged if each.problem is None]
    if not good:
        found = {each.problem for each in judged}
        why = [reason for reason in _PROBLEMS if reason in found]
        return combine_faces([each.log_odds for each in judged], quantiles), Label.INCONCLUSIVE, why
    log_odds = combine_faces(good, quantiles)
    probability = sigmoid(log_odds)
    if fusion and abs(probability - point.threshold) < fusion.abstain_below:
        return log_odds, Label.INCONCLUSIVE, [Reason.NEAR_THRESHOLD]
    return log_odds, Label.FAKE if probability >= point.threshold else Label.REAL, []


def _far(track: TrackEvidence) -> float:
    return 0.0 if track.novelty is None else float(np.median(track.novelty))


def _told(evidence: VideoEvidence) -> list[Reason]:
    """What a reader should know of how the file was looked at."""
    found = []
    if evidence.thin:
        found.append(Reason.SAMPLED_THINLY)
    if evidence.cut:
        found.append(Reason.FACES_CUT)
    if evidence.facts.cut_off or evidence.damaged:
        found.append(Reason.CUT_OFF)
    if evidence.facts.hidden:
        found.append(Reason.HIDDEN_FRAMES)
    return found


def _notes(evidence: VideoEvidence, alone: bool) -> list[str]:
    notes = [f"{evidence.sampled} frames were looked at, {1 / max(evidence.step_s, 1e-6):.3g} a second"]
    if evidence.damaged:
        notes.append(f"{evidence.damaged} damaged frames were left out")
    if alone and evidence.facts.sound:
        notes.append(UNHEARD)
    return notes


def _rows(
    judged: list[Judged], calibrations: Mapping[str, Calibration | None], fusion: Fusion | None
) -> tuple[Evidence, ...]:
    """What each network says of the face that decides."""
    if not judged:
        return ()
    first = judged[0]
    if fusion is not None and set(fusion.weights) != set(first.logits):
        fusion = None
    note = f"face {first.track.number} of {len(judged)}" if len(judged) > 1 else ""
    return evidence_rows(first.logits, calibrations, fusion, note)


def _track(judged: Judged, boxes: bool) -> Track:
    track = judged.track
    places = []
    if boxes:
        for moment, (x0, y0, x1, y1) in zip(track.times.tolist(), track.boxes.tolist()):
            places.append(TrackBox(moment, (x0, y0, x1, y1)))
    return Track(
        id=track.number,
        start_s=float(track.times[0]),
        end_s=float(track.times[-1]),
        frames=len(track),
        fake_probability=sigmoid(judged.log_odds),
        score=float(track.scores.mean()),
        quality=float(np.median(track.quality)),
        boxes=tuple(places),
        scores=judged.logits,
        face_px=track.face_px,
        reasons=() if judged.problem is None else (judged.problem,),
        heatmaps=_heatmaps(track) if boxes else (),
    )


def _heatmaps(track: TrackEvidence) -> tuple[TrackHeatMap, ...]:
    if track.maps is None or track.to_frame is None:
        return ()
    told = []
    for moment, cells, matrix in zip(track.times.tolist(), track.maps, track.to_frame.round(1).tolist()):
        text = base64.b64encode(cells.tobytes()).decode()
        told.append(TrackHeatMap(moment, cells.shape[1], text, (tuple(matrix[0]), tuple(matrix[1]))))
    return tuple(told)
