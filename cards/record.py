"""The version record: measured facts of one model version, ``<model>/<version>/record.json``.

Commands write it; nobody edits it by hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from cards.card import Precision, Strict


class DataSource(Strict):
    """One source of training data."""

    source: str
    label: str
    items: int
    licence: str
    commercial: bool
    generator: str = ""


class Calibration(Strict):
    """Platt scaling of a network's raw logit: ``log-odds = slope * logit + intercept``."""

    slope: float = Field(gt=0)
    intercept: float
    fitted_on: str
    """What it was fitted on, in a sentence: which folds, how many items."""
    items: int
    ece: float | None = None
    """Expected calibration error on the same items, 15 equal-mass bins."""

    def log_odds(self, logit: float) -> float:
        """Calibrated log-odds of a raw logit."""
        return self.slope * logit + self.intercept


class OperatingPoint(Strict):
    """A threshold on the calibrated probability with what it does on the data it was fitted on."""

    target_fpr: float
    threshold: float = Field(ge=0, le=1)
    fpr: float
    tpr: float


class Novelty(Strict):
    """When a face is unlike all that the network was trained on, by the distance of its embedding.

    Centres, directions and variances lie in a file of the version folder, whose hash is in ``files``.
    """

    file: str
    threshold: float = Field(gt=0)
    """Distance from which a verdict says ``out_of_distribution``."""
    abstain_above: float = Field(gt=0)
    """Distance from which its label is inconclusive as well."""
    quantile: float = Field(gt=0, lt=1)
    """Share of the held-out faces that lie below the threshold."""
    items: int
    """Held-out faces."""
    fitted_on: str

    @model_validator(mode="after")
    def _in_order(self) -> Novelty:
        if self.abstain_above < self.threshold:
            raise ValueError("abstain_above must not lie below threshold")
        return self


class GroupResult(Strict):
    """Measured quality on one group of items, with 95 % bootstrap intervals."""

    group: str
    real: int
    fake: int
    unscored: int = 0
    auc: float | None = None
    auc_low: float | None = None
    auc_high: float | None = None
    eer: float | None = None
    tpr_at_fpr_1: float | None = None
    tpr_at_fpr_5: float | None = None
    accuracy: float | None = None
    """Share that is right where a calibrated probability above one half says fake."""
    false_positive_rate: float | None = None
    """Share of the reals labelled ``fake`` at the default operating point."""
    inconclusive_rate: float | None = None


class PrecisionResult(Strict):
    """How a lower precision compares with FP32, and whether it may be served."""

    max_abs_error: float | None = None
    auc_drop: float | None = None
    flip_rate: float | None = None
    speed_ratio: float | None = None
    """FP32 time divided by this precision's time, same machine, same run, one thread."""
    passed: bool
    note: str = ""


class Covariate(Strict):
    """One measure of an item's quality, and what it does to the log-odds.

    With ``z = (clip(value, low, high) - centre) / scale`` the fused log-odds are multiplied by ``1 + sum(slope * z)``
    and raised by ``sum(intercept * z)``.
    """

    name: str
    """Field of the medium's measured quality, such as ``snr_db``."""
    low: float
    high: float
    centre: float
    scale: float = Field(gt=0)
    slope: float = 0.0
    intercept: float = 0.0
    abstain_below: float | None = None
    """Below this value the cue is drowned: the label is inconclusive."""
    reason: str = ""
    """Code that a verdict gives then."""

    def units(self, value: float) -> float:
        """The clipped and standardised value; 0 where it is not finite."""
        if not math.isfinite(value):
            return 0.0
        return (min(max(value, self.low), self.high) - self.centre) / self.scale


class Conditions(Strict):
    """How the fused log-odds depend on the measured quality of an item, fitted through damage of both classes."""

    covariates: tuple[Covariate, ...]
    least_slope: float = Field(gt=0)
    """The factor never falls below this."""
    fitted_on: str

    def slope(self, values: Mapping[str, float]) -> float:
        """Factor of the log-odds under these measures."""
        change = sum(each.slope * each.units(values.get(each.name, math.nan)) for each in self.covariates)
        return max(self.least_slope, 1.0 + change)

    def log_odds(self, fused: float, values: Mapping[str, float]) -> float:
        """Log-odds under these measures."""
        change = sum(each.intercept * each.units(values.get(each.name, math.nan)) for each in self.covariates)
        return self.slope(values) * fused + change

    def drowned(self, values: Mapping[str, float]) -> str | None:
        """Reason of the first measure that lies under its limit; None where none does."""
        for each in self.covariates:
            if each.abstain_below is not None and values.get(each.name, math.inf) < each.abstain_below:
                return each.reason
        return None


class Fusion(Strict):
    """How a verdict model turns members' calibrated log-odds into one probability and a label."""

    members: dict[str, str]
    """Member model: sha256 of the record that this was fitted with."""
    weights: dict[str, float]
    bias: float = 0.0
    rule: Literal["sum", "any"] = "sum"
    """``sum``: the weighted sum of the members' log-odds. ``any``: each member knows another manner of faking and one
    of them is enough, so their odds add up (a soft maximum of the log-odds)."""
    slope: float = Field(default=1.0, gt=0)
    """Factor of what the rule gives, before the bias."""
    instead: dict[str, str] = {}
    """Member: the one that is asked in its place about faces whose photo ends there (``cards.card.Tight``)."""
    refits: tuple[tuple[float, float], ...]
    """Bootstrap refits (slope, intercept) on the fused log-odds, for the interval."""
    real_quantiles: tuple[float, ...]
    """Evenly spaced quantiles (0 to 1) of the fused log-odds of single real faces, for many faces."""
    operating_points: dict[str, OperatingPoint]
    default_operating_point: str
    conditions: Conditions | None = None
    """Where the threshold depends on the measured quality of an item."""
    abstain_below: float = 0.0
    """Half-width in probability of the band around the threshold where the label is inconclusive."""
    fitted_on: str

    @model_validator(mode="after")
    def _consistent(self) -> Fusion:
        if set(self.members) != set(self.weights):
            raise ValueError("members and weights name different models")
        if not {*self.instead, *self.instead.values()} <= set(self.members):
            raise ValueError("instead names models that are no members")
        if self.default_operating_point not in self.operating_points:
            raise ValueError(f"no operating point {self.default_operating_point!r}")
        if list(self.real_quantiles) != sorted(self.real_quantiles):
            raise ValueError("real_quantiles must not fall")
        if not all(map(math.isfinite, self.real_quantiles)):
            raise ValueError("real_quantiles must be finite")
        return self

    def fits(self, asked: Iterable[str]) -> bool:
        """Whether this was fitted for items that exactly these members were asked about."""
        usual = set(self.members) - set(self.instead.values())
        return set(asked) in (usual, {self.instead.get(name, name) for name in usual})


class VersionRecord(Strict):
    """Measured facts of one version of a model."""

    model: str
    version: int = Field(ge=1)
    created: str
    """ISO date and time, UTC."""
    git_revision: str
    files: dict[str, str] = {}
    """File of the version folder: sha256. A file that differs is refused."""
    weights_sha256: str | None = None
    """sha256 of ``weights.safetensors``: the RECORD output of the graph repeats it."""
    origin: str = ""
    """Package and version that the weights were converted from."""
    licence: str = ""
    commercial: bool | None = None
    """Whether every training source allows commercial use (our reading, no legal advice)."""
    trained_on: tuple[DataSource, ...] = ()
    training: dict[str, Any] = {}
    """Settings of the run: steps, size, seed, loss, machine, minutes."""
    parity: dict[str, float] = {}
    """Largest absolute difference between PyTorch and ONNX Runtime, by batch size."""
    calibration: Calibration | None = None
    novelty: Novelty | None = None
    fusion: Fusion | None = None
    evaluation: tuple[GroupResult, ...] = ()
    evaluated_on: str = ""
    precisions: dict[Precision, PrecisionResult] = {}
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _vouched_for(self) -> VersionRecord:
        if self.novelty is not None and self.novelty.file not in self.files:
            raise ValueError(f"novelty names {self.novelty.file}, of which files has no hash")
        return self
