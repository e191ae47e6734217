"""Evidence to verdict: which records spoke, what they are worth together, and what may be said."""

from __future__ import annotations

import time

from cards.card import Profile, Quality
from cards.record import Calibration, Fusion
from cards.repository import ModelRepository
from deepscan_client.codes import Label, Medium, Reason
from deepscan_client.verdict import (
    DecodeInfo,
    Evidence,
    Face,
    HeatMap,
    InputInfo,
    Interval,
    OperatingPoint,
    Verdict,
)
from pipelines.fusion import combine_faces, fuse, interval, sigmoid
from pipelines.image.evidence import FaceEvidence, PhotoEvidence
from pipelines.image.probe import ProbeInfo
from pipelines.records import Shelf, abstention_ratio, evidence_rows, models_of, operating_point

MODEL = "image_verdict"


class PhotoJudge:
    """Turns evidence into verdicts with the records of a repository.

    Args:
        repository: cards and records; a record is found by the weights that ran, so a roll-back of a
            network rolls its calibration back too.
        profile: names the precision that each network runs in.
    """

    def __init__(self, repository: ModelRepository, profile: Profile = "cpu") -> None:
        self._shelf = Shelf(repository, MODEL, profile)
        self._quality = repository.card(MODEL).quality or Quality()

    def verdict(self, info: ProbeInfo, evidence: PhotoEvidence) -> Verdict:
        """The verdict on one photo."""
        start = time.monotonic_ns()
        spoke = self._shelf.all_of(evidence.weights)
        asked = [face.logits.keys() for face in evidence.faces]
        members = {name: each for name, each in spoke.items() if any(name in names for names in asked)}
        calibrations = {name: each.calibration for name, each in members.items()}
        fusion, reasons = self._shelf.fusion_for(members, asked)
        if evidence.cut:
            reasons.append(Reason.FACES_CUT)
        fused = [fuse(face.logits, calibrations, fusion) for face in evidence.faces]
        point = operating_point(info.options.confidence_threshold, fusion)
        if point.source == "request":
            reasons.append(Reason.CUSTOM_THRESHOLD)
        log_odds, label, why = self._label(evidence, fused, fusion, point)
        reasons.extend(why)
        if self._strange(evidence, fused, 1.0):
            reasons.append(Reason.OUT_OF_DISTRIBUTION)
            if self._strange(evidence, fused, abstention_ratio(list(spoke.values()))):
                label = Label.INCONCLUSIVE
        span = interval(log_odds, fusion.refits) if fusion and log_odds is not None else None
        done = time.monotonic_ns()
        return Verdict(
            medium=Medium.IMAGE,
            input=InputInfo(info.sha256, info.bytes, info.format, info.width, info.height),
            label=label,
            fake_probability=None if log_odds is None else sigmoid(log_odds),
            interval=None if span is None else Interval(*span),
            reasons=tuple(reasons),
            operating_point=point,
            evidence=_rows(evidence, calibrations, fusion),
            faces=tuple(_face(face, value) for face, value in zip(evidence.faces, fused)),
            decode=DecodeInfo(info.decoder, info.orientation, info.notes),
            models=models_of(spoke, self._shelf.own),
            timing_ms={
                "probe": info.probe_ms,
                "decode": evidence.decode_ms,
                "detect": evidence.detect_ms,
                "align": evidence.align_ms,
                "networks": evidence.networks_ms,
                "verdict": (done - start) / 1e6,
                "total": (done - info.started_ns) / 1e6,
            },
            request_id=info.options.request_id,
            provenance=info.provenance,
        )

    def _label(
        self, evidence: PhotoEvidence, fused: list[float], fusion: Fusion | None, point: OperatingPoint
    ) -> tuple[float | None, Label, list[Reason]]:
        """Photo log-odds, label and the reasons for it."""
        if not fused:
            return None, Label.INCONCLUSIVE, [Reason.NO_FACE]
        quantiles = fusion.real_quantiles if fusion else ()
        problems = [self._problem(face) for face in evidence.faces]
        good = [value for value, problem in zip(fused, problems) if problem is None]
        if not good:
            found = {problem for problem in problems if problem is not None}
            why: list[Reason] = [r for r in (Reason.FACE_TOO_SMALL, Reason.LOW_QUALITY) if r in found]
            return combine_faces(fused, quantiles), Label.INCONCLUSIVE, why
        log_odds = combine_faces(good, quantiles)
        probability = sigmoid(log_odds)
        if fusion and abs(probability - point.threshold) < fusion.abstain_below:
            return log_odds, Label.INCONCLUSIVE, [Reason.NEAR_THRESHOLD]
        return log_odds, Label.FAKE if probability >= point.threshold else Label.REAL, []

    def _strange(self, evidence: PhotoEvidence, fused: list[float], limit: float) -> bool:
        """Whether the face that decides is further than ``limit`` thresholds from what was trained on."""
        good = [place for place, face in enumerate(evidence.faces) if self._problem(face) is None]
        if not good:
            return False
        ratio = evidence.faces[max(good, key=lambda place: fused[place])].novelty
        return ratio is not None and ratio > limit

    def _problem(self, face: FaceEvidence) -> Reason | None:
        x0, y0, x1, y1 = face.box
        if max(x1 - x0, y1 - y0) < self._quality.min_face_px:
            return Reason.FACE_TOO_SMALL
        return Reason.LOW_QUALITY if face.sharpness < self._quality.min_sharpness else None


def _rows(
    evidence: PhotoEvidence, calibrations: dict[str, Calibration | None], fusion: Fusion | None
) -> tuple[Evidence, ...]:
    """Each network's strongest face, of those that it was asked about."""
    strongest = {name: max(f.logits[name] for f in evidence.faces if name in f.logits) for name in calibrations}
    note = f"strongest of {len(evidence.faces)} faces" if len(evidence.faces) > 1 else ""
    return evidence_rows(strongest, calibrations, fusion, note)


def _face(face: FaceEvidence, log_odds: float) -> Face:
    heatmap = None
    if face.heatmap is not None and face.to_photo is not None:
        heatmap = HeatMap(tuple(tuple(row) for row in face.heatmap), face.to_photo)
    return Face(
        box=face.box,
        score=face.score,
        landmarks=face.landmarks,
        fake_probability=sigmoid(log_odds),
        scores=face.logits,
        sharpness=face.sharpness,
        heatmap=heatmap,
    )
