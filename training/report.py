"""What a run leaves for the record: its settings, its data with licences, and the fit of its calibration."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict

from cards.record import Calibration, DataSource, OperatingPoint
from pipelines.fusion import combine
from training.data.pairs import KINDS
from training.data.photo_split import training_photos
from training.data.photos import load_photos
from training.data.sources import PAIRS
from training.models.registry import Base
from training.settings import Settings

RESEARCH = "Research and evaluation only: some training sources forbid commercial use or state no licence"
BUILT_ON = "Research and evaluation only: it builds on {}, whose terms forbid commercial use or are not known"
COMMERCIAL = "Proprietary: every training source allows commercial use (our reading, no legal advice)"


class Fit(BaseModel):
    """``calibration.json`` of a run: what ``training.calibrate`` fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calibration: Calibration
    refits: tuple[tuple[float, float], ...]
    """Bootstrap refits as (slope, intercept) on the calibrated log-odds: (1, 0) is the fit itself."""
    real_quantiles: tuple[float, ...]
    """Evenly spaced quantiles of the calibrated log-odds of real faces."""
    operating_points: dict[str, OperatingPoint]
    default_operating_point: str
    fitted_on: str
    shift: float | None = None
    """Mean of the final model's logits minus the fold models', on held-out reals: it was taken out of the fit."""
    by_kind: dict[str, float] = {}
    """AUC of each held-out kind under the model that had not seen it."""

    @staticmethod
    def read(path: Path) -> Fit | None:
        """The fit of a run, or None where it has none yet."""
        return Fit.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else None


class FusedFit(BaseModel):
    """What ``training.fuse`` writes: how calibrated members become the verdict's log-odds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: dict[str, float]
    """Of each member's calibrated log-odds."""
    bias: float
    rule: Literal["sum", "any"] = "sum"
    slope: float = 1.0
    instead: dict[str, str] = {}
    """Member: the one that is asked in its place about photos that end at the face (``cards.card.Tight``)."""
    fit: Fit
    """Of the fused log-odds; its own calibration is part of the weights and the bias already."""

    def log_odds(self, asked: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Of the verdict, [n], from those of its members in the order of ``weights``, [n, m]."""
        return np.asarray(self.slope * combine(asked, list(self.weights.values()), self.rule) + self.bias)

    @staticmethod
    def read(path: Path) -> FusedFit:
        """The fit in a file."""
        return FusedFit.model_validate_json(path.read_text(encoding="utf-8"))


def settings_of(checkpoint: Path) -> tuple[Settings, dict[str, Any]]:
    """The settings of a run and its progress (steps, minutes), of a mean of runs that of all (``training.soup``)."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    told = json.loads(state["settings"])
    told |= {name: tuple(told.get(name, ())) for name in ("without", "groups")}
    progress = {"steps": int(state["step"]), "minutes_spent": round(float(state["spent"]) / 60, 1)}
    return Settings(**told), progress | ({"mean_of_runs": state["runs"]} if state.get("runs", 1) > 1 else {})


def run_settings(checkpoint: Path) -> dict[str, Any]:
    """Settings and progress of a run, as JSON values for the record."""
    settings, progress = settings_of(checkpoint)
    return {
        **{name: list(v) if isinstance(v, tuple) else v for name, v in vars(settings).items()},
        "start": Path(settings.start).parent.name,  # the run's name, no path of a machine
        **progress,
        "crops_seen": progress["steps"] * settings.pairs * 2,
        "loss": "binary cross-entropy + pairwise ranking",
        "optimiser": "AdamW, cosine, averaged weights",
        "pseudo_fakes": [kind.replace("_", " ") for kind in KINDS[1:] if getattr(settings, kind) > 0],
        "autoencoder": "TAESD, FLUX.2 variant (MIT), used in training only",
    }


class Sourced(Protocol):
    """An item of training data with its terms: a photo's row or a voice's."""

    @property
    def label(self) -> int:
        """1 fake, 0 real."""

    @property
    def source(self) -> str:
        """Collection."""

    @property
    def licence(self) -> str:
        """Of the collection."""

    @property
    def commercial(self) -> str:
        """``yes`` where its terms allow commercial use."""

    @property
    def generator(self) -> str:
        """What made a fake; empty for reals."""


def with_sources(before: Sequence[DataSource], fresh: Sequence[DataSource]) -> tuple[DataSource, ...]:
    """What a network has seen that went on from another one: the sources of before, and those that are new."""
    known = {(each.source, each.label, each.generator) for each in before}
    return (*before, *(each for each in fresh if (each.source, each.label, each.generator) not in known))


def sources_of(rows: Sequence[Sourced]) -> tuple[DataSource, ...]:
    """The sources of training items with their licences, for a record."""
    counts = Counter((row.label, row.source, row.licence, row.commercial, row.generator) for row in rows)
    return tuple(
        DataSource(
            source=source,
            label="fake" if label else "real",
            items=items,
            licence=licence,
            commercial=commercial == "yes",
            generator=generator,
        )
        for (label, source, licence, commercial, generator), items in sorted(counts.items())
    )


def data_sources(cache: Path, checkpoint: Path) -> tuple[DataSource, ...]:
    """The sources that a run was trained on, with the number of photos (frames, of clips) and the licence of each.

    They are all reals, since pseudo-fakes are made of any, and the fakes of the run's pairs.
    """
    settings, _ = settings_of(checkpoint)
    photos, _ = load_photos(cache, settings.stills)
    fakes = {name for pair in PAIRS if not settings.groups or pair.name in settings.groups for name in pair.fakes}
    chosen = [photos.rows[item] for item in np.flatnonzero(training_photos(photos, settings))]
    chosen = [row for row in chosen if not row.label or row.source in fakes]
    return sources_of([replace(row, generator=row.source if row.label else "") for row in chosen])


def licence_of(sources: tuple[DataSource, ...], bases: Sequence[Base] = ()) -> dict[str, Any]:
    """``licence`` and ``commercial`` of weights that were trained on these sources and built on these weights."""
    if not sources or not all(source.commercial for source in sources):
        return {"licence": RESEARCH, "commercial": False}
    forbidding = dict.fromkeys(base.name for base in bases if not base.commercial)
    if forbidding:
        return {"licence": BUILT_ON.format(", ".join(forbidding)), "commercial": False}
    return {"licence": COMMERCIAL, "commercial": True}
