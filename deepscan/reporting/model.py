"""What a report holds."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from deepscan_client.codes import Medium
from pipelines.assessment.crowds import CrowdRow
from pipelines.assessment.curves import ReliabilityBin, RiskCoverage, Share, ThresholdRow
from pipelines.assessment.robustness import DetectorRow
from pipelines.assessment.voices import SoundRow
from pipelines.evaluation import Quality

#: What the founding document claimed for each family: accuracy on data of its own, in per cent.
CLAIMS = {
    "cnn": "96–98",
    "rnn": "94–97",
    "autoencoder": "92–95",
    "hybrid": "97–99",
    "audio": "90–95",
    "ensemble": "99+",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class FamilyRow(_Frozen):
    """A family of detectors: what the founding document claimed, and what was measured here."""

    family: str
    claimed: str
    """Accuracy in per cent."""
    detector: str | None = None
    accuracy: float | None = None
    """At the shipped threshold, both classes weighing alike; None where no such detector spoke."""
    auc: float | None = None


class ToneRow(_Frozen):
    """False alarms on the reals of one bin of skin tone."""

    tone: str
    flagged: Share


class Mistake(_Frozen):
    """A photo or a recording on the wrong side of the threshold."""

    path: str
    group: str
    fake: bool
    probability: float
    picture: str = ""
    """``data:`` address of a small JPEG (of a recording: its spectrogram); empty where pictures are left out."""


class Curve(_Frozen):
    """ROC of one group."""

    group: str
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


class FullReport(_Frozen):
    """What ``deepscan report --json`` writes."""

    created: str
    """ISO date and time, UTC."""
    data: str
    models: tuple[dict[str, Any], ...]
    threshold: float | None
    failed: int
    """Files that could not be judged at all; they are in no measure."""
    quality: Quality
    curves: tuple[Curve, ...]
    thresholds: tuple[ThresholdRow, ...]
    """What the data at hand would ask for. The shipped threshold never comes from data that is reported on."""
    reliability: tuple[ReliabilityBin, ...]
    risk_coverage: RiskCoverage | None
    robustness: tuple[DetectorRow, ...]
    robustness_items: int
    skin_tone: tuple[ToneRow, ...]
    without_tone: int
    """Reals that have no face or no colour."""
    crowds: tuple[CrowdRow, ...]
    families: tuple[FamilyRow, ...]
    mistakes: tuple[Mistake, ...]
    medium: Medium = Medium.IMAGE
    """What was judged; photo and recording never share a number."""
    sounds: tuple[SoundRow, ...] = ()
    """The robustness sweep over recordings."""
    voices: FullReport | None = None
    """The recordings of the same data, where it holds both."""

    @property
    def item(self) -> str:
        """What one item is called."""
        return "recording" if self.medium is Medium.AUDIO else "photo"
