"""Which records spoke, and what they say together: shared by the judges of every medium.

A record is found by the weights that ran (every network answers with the sha256 of its weights), so a roll-back of a
network rolls its calibration back too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cards.card import Profile
from cards.record import Calibration, Fusion, Novelty
from cards.repository import ModelRepository
from deepscan_client.codes import Reason
from deepscan_client.verdict import Evidence, ModelInfo, OperatingPoint
from pipelines.fusion import shares


@dataclass(frozen=True)
class Spoke:
    """A network that took part in a verdict."""

    model: ModelInfo
    calibration: Calibration | None = None
    record: str = ""
    """sha256 of its ``record.json``; empty where no record of the repository has these weights."""
    novelty: Novelty | None = None


class Shelf:
    """The records of a repository, for one verdict model.

    Args:
        repository: cards and records.
        model: the verdict model, whose record holds the fusion.
        profile: names the precision that each network runs in.
    """

    def __init__(self, repository: ModelRepository, model: str, profile: Profile = "cpu") -> None:
        self._repository = repository
        self._profile = profile
        self._known: dict[tuple[str, str], Spoke] = {}
        self.fusion: Fusion | None = None
        self.own: tuple[ModelInfo, ...] = ()
        if repository.has_record(model):
            self.fusion = repository.record(model).fusion
            version, digest = str(repository.latest(model)), repository.record_hash(model)
            self.own = (ModelInfo(model, version, digest[:12], "none"),)

    def of(self, name: str, digest: str) -> Spoke:
        """The record of the weights with this sha256, remembered once it was found."""
        key = (name, digest)
        if key in self._known:
            return self._known[key]
        precision = self._repository.card(name).serve[self._profile]
        for version in reversed(self._repository.versions(name)):
            if not self._repository.has_record(name, version):
                continue
            record = self._repository.record(name, version)
            if record.weights_sha256 == digest:
                whole = self._repository.record_hash(name, version)
                model = ModelInfo(name, str(version), whole[:12], precision)
                self._known[key] = Spoke(model, record.calibration, whole, record.novelty)
                return self._known[key]
        return Spoke(ModelInfo(name, "unknown", digest[:12], precision))

    def all_of(self, weights: Mapping[str, str]) -> dict[str, Spoke]:
        """The records of all networks that ran, by name."""
        return {name: self.of(name, digest) for name, digest in weights.items()}

    def fusion_for(
        self, members: Mapping[str, Spoke], asked: Sequence[Iterable[str]] = ()
    ) -> tuple[Fusion | None, list[Reason]]:
        """The fusion where it was fitted with exactly these members, and what a reader should know.

        Args:
            asked: the members that were asked about each item, where they are not all of them about every item.
        """
        fusion, reasons = self.fusion, []
        if fusion is not None and members:
            known = all(fusion.members.get(name) == each.record for name, each in members.items())
            if not known or not all(map(fusion.fits, asked or [members])):
                fusion = None
                reasons.append(Reason.FUSION_MISMATCH)
        if any(each.calibration is None for each in members.values()):
            reasons.append(Reason.UNCALIBRATED)
        return fusion, reasons


def operating_point(asked: float | None, fusion: Fusion | None) -> OperatingPoint:
    """The caller's threshold, else the record's default, else one half."""
    if asked is not None:
        return OperatingPoint(asked, None, "request")
    if fusion is None:
        return OperatingPoint(0.5, None, "default")
    chosen = fusion.operating_points[fusion.default_operating_point]
    return OperatingPoint(chosen.threshold, chosen.target_fpr, "record")


def evidence_rows(
    logits: Mapping[str, float], calibrations: Mapping[str, Calibration | None], fusion: Fusion | None, note: str = ""
) -> tuple[Evidence, ...]:
    """One row for each network: its raw logit as calibrated log-odds, with its weight in the fusion."""
    scores = {}
    for name, logit in sorted(logits.items()):
        calibration = calibrations.get(name)
        scores[name] = logit if calibration is None else calibration.log_odds(logit)
    weights = shares(scores, fusion)
    return tuple(
        Evidence(name, score, "logit" if calibrations.get(name) is None else "log-odds", weights[name], note)
        for name, score in scores.items()
    )


def models_of(spoke: Mapping[str, Spoke], own: Iterable[ModelInfo]) -> tuple[ModelInfo, ...]:
    """The networks by name, then the verdict model itself."""
    return (*(spoke[name].model for name in sorted(spoke)), *own)


def abstention_ratio(spoke: Sequence[Spoke]) -> float:
    """From how many novelty thresholds on a label is inconclusive; 1 where no record says."""
    known = [each.novelty.abstain_above / each.novelty.threshold for each in spoke if each.novelty is not None]
    return max(known, default=1.0)
