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
    ModelInfo,
    OperatingPoint,
    Verdict,
)
from pipelines.fusion import combine_faces, fuse, interval, sigmoid
from pipelines.image.evidence import FaceEvidence, PhotoEvidence
from pipelines.image.probe import ProbeInfo

MODEL = "image_verdict"


class PhotoJudge:
    """Turns evidence into verdicts with the records of a repository.

    Args:
        repository: cards and records; a record is found by the weights that ran, so a roll-back of a
            network rolls its calibration back too.
        profile: names the precision that each network runs in.
    """

    def __init__(self, repository: ModelRepository, profile: Profile = "cpu") -> None:
        self._repository = repository
        self._profile = profile
        self._quality = repository.card(MODEL).quality or Quality()
        self._fusion: Fusion | None = None
        self._own: tuple[ModelInfo, ...] = ()
        if repository.has_record(MODEL):
            self._fusion = repository.record(MODEL).fusion
            version, digest = str(repository.latest(MODEL)), repository.record_hash(MODEL)
            self._own = (ModelInfo(MODEL, version, digest[:12], "none"),)
        self._known: dict[tuple[str, str], tuple[ModelInfo, Calibration | None, str]] = {}
        # By network and weights: from how many thresholds on a strange face makes the label inconclusive.
        self._far: dict[tuple[str, str], float] = {}

    def verdict(self, info: ProbeInfo, evidence: PhotoEvidence) -> Verdict:
        """The verdict on one photo."""
        start = time.monotonic_ns()
        spoke = {name: self._record_of(name, digest) for name, digest in evidence.weights.items()}
        members = [name for name in spoke if evidence.faces and name in evidence.faces[0].logits]
        calibrations = {name: spoke[name][1] for name in members}
        fusion = self._fusion
        reasons: list[Reason] = []
        if fusion is not None and members and fusion.members != {name: spoke[name][2] for name in members}:
            fusion = None
            reasons.append(Reason.FUSION_MISMATCH)
        if any(calibration is None for calibration in calibrations.values()):
            reasons.append(Reason.UNCALIBRATED)
        if evidence.cut:
            reasons.append(Reason.FACES_CUT)
        fused = [fuse(face.logits, calibrations, fusion) for face in evidence.faces]
        point = self._operating_point(info.options.confidence_threshold, fusion)
        if point.source == "request":
            reasons.append(Reason.CUSTOM_THRESHOLD)
        log_odds, label, why = self._label(evidence, fused, fusion, point)
        reasons.extend(why)
        if self._strange(evidence, fused, 1.0):
            reasons.append(Reason.OUT_OF_DISTRIBUTION)
            limits = [self._far[key] for key in evidence.weights.items() if key in self._far]
            if self._strange(evidence, fused, max(limits, default=1.0)):
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
            evidence=self._evidence(evidence, calibrations, fusion),
            faces=tuple(_face(face, value) for face, value in zip(evidence.faces, fused)),
            decode=DecodeInfo(info.decoder, info.orientation, info.notes),
            models=(*(spoke[name][0] for name in sorted(spoke)), *self._own),
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

    def _operating_point(self, asked: float | None, fusion: Fusion | None) -> OperatingPoint:
        if asked is not None:
            return OperatingPoint(asked, None, "request")
        if fusion is None:
            return OperatingPoint(0.5, None, "default")
        chosen = fusion.operating_points[fusion.default_operating_point]
        return OperatingPoint(chosen.threshold, chosen.target_fpr, "record")

    def _evidence(
        self, evidence: PhotoEvidence, calibrations: dict[str, Calibration | None], fusion: Fusion | None
    ) -> tuple[Evidence, ...]:
        """Each network's strongest face, as calibrated log-odds."""
        rows = []
        for name, calibration in sorted(calibrations.items()):
            logit = max(face.logits[name] for face in evidence.faces)
            score = logit if calibration is None else calibration.log_odds(logit)
            weight = fusion.weights[name] if fusion else 1.0 / len(calibrations)
            unit = "logit" if calibration is None else "log-odds"
            note = f"strongest of {len(evidence.faces)} faces" if len(evidence.faces) > 1 else ""
            rows.append(Evidence(name, score, unit, weight, note))
        return tuple(rows)

    def _record_of(self, name: str, digest: str) -> tuple[ModelInfo, Calibration | None, str]:
        """Version, calibration and record hash of the weights that ran, remembered."""
        key = (name, digest)
        if key not in self._known:
            precision = self._repository.card(name).serve[self._profile]
            for version in reversed(self._repository.versions(name)):
                if not self._repository.has_record(name, version):
                    continue
                record = self._repository.record(name, version)
                if record.weights_sha256 == digest:
                    whole = self._repository.record_hash(name, version)
                    model = ModelInfo(name, str(version), whole[:12], precision)
                    self._known[key] = (model, record.calibration, whole)
                    if record.novelty is not None:
                        self._far[key] = record.novelty.abstain_above / record.novelty.threshold
                    break
            else:
                return ModelInfo(name, "unknown", digest[:12], precision), None, ""
        return self._known[key]


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
