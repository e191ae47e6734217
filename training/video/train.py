"""Train a network over watched clips: ``python -m training.video.train sequence_rnn``.

First a model for each fold scores the clips that it has not seen; then one is trained on all of them. The run's folder
``.cache/video/runs/<name>`` gets ``last.pt`` (for ``export.onnx_export``), ``scores.json`` (path: raw logit, out of
fold), ``calibration.json`` and ``facts.json`` with the time that it took. ``--parcel`` takes the clips from a folder
that ``python -m training.video.parcel`` wrote, on a machine without the data, and a GPU is used where there is one.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cards.record import Calibration
from cards.repository import ModelRepository
from pipelines.metrics import auc
from training.checkpoints import save_state
from training.data.manifest import Row
from training.fusion import Floats, Ints, calibrate, fit_fusion
from training.memory import keep_memory
from training.models.registry import Network
from training.models.registry import network as entry_of
from training.prepare import data_folder
from training.report import Fit, sources_of
from training.video.folds import Fold, clip_folds
from training.video.material import Embedded, Material, Parcel, Pictures, read_parcel
from training.video.sequence import SequenceSettings, device, out_of_fold, train_sequence

_LOG = logging.getLogger(__name__)


def fit_of(logits: Floats, labels: Ints, calibration: Calibration) -> Fit:
    """The run's calibration with thresholds, as other runs leave it."""
    one = fit_fusion({"own": logits}, labels, {"own": calibration})
    return Fit(
        calibration=calibration,
        refits=one.refits,
        real_quantiles=one.real_quantiles,
        operating_points=one.operating_points,
        default_operating_point="fpr_5",
        fitted_on=calibration.fitted_on,
    )


def parcel_of(folder: Path | None, data: Path, cache: Path, entry: Network, embeddings: str) -> Parcel:
    """The clips of a parcel, or of the watched and scored clips of the training data."""
    if folder is not None:
        return read_parcel(folder)
    # Only here: see training.video.material.
    from training.video.table import read_table

    repository = ModelRepository()
    clips, _ = read_table(data, cache, repository, [embeddings])
    return Parcel.of(clips, weights_of(repository, [embeddings]), cache if entry.takes == "clip" else None)


def weights_of(repository: ModelRepository, networks: Sequence[str]) -> dict[str, str]:
    """sha256 of the weights of these networks."""
    return {name: repository.record(name).weights_sha256 or "" for name in networks}


def embedded_by(parcel: Parcel, entry: Network, settings: SequenceSettings) -> dict[str, str]:
    """What the facts say of the embeddings that a network takes."""
    if entry.takes != "embeddings":
        return {}
    name = settings.embeddings
    return {"embeddings_of": name, "embeddings_weights_sha256": parcel.weights[name]}


def material_of(parcel: Parcel, entry: Network, embeddings: str) -> Material:
    """What a network is fed with, on the device."""
    if entry.takes == "clip":
        return Pictures.of(parcel.pictures, device())
    return Embedded.of(parcel.embeddings[embeddings], device())


def folds_of(parcel: Parcel) -> list[Fold]:
    """The folds of its clips."""
    return clip_folds(parcel.rows, parcel.identities)


def write_scores(run: Path, rows: Sequence[Row], labels: Ints, logits: Floats, told: str) -> None:
    """``scores.json`` and ``calibration.json`` of a run, whose folder is made.

    Args:
        rows, labels, logits: of the clips, [n]; each logit by a model that had not seen its clip.
        told: what the scores are, for the calibration.
    """
    run.mkdir(parents=True, exist_ok=True)
    scores = {row.path: float(value) for row, value in zip(rows, logits, strict=True)}
    (run / "scores.json").write_text(json.dumps(scores, indent=0) + "\n", encoding="utf-8")
    fit = fit_of(logits, labels, calibrate(logits, labels, told))
    (run / "calibration.json").write_text(fit.model_dump_json(indent=1) + "\n", encoding="utf-8")


def write_run(
    run: Path, parcel: Parcel, entry: Network, logits: Floats, settings: SequenceSettings, facts: Mapping[str, Any]
) -> None:
    """Scores out of fold, their calibration, and facts."""
    text = f"{len(parcel.rows)} clips of train/videos, scored by fold models that saw neither source nor people"
    write_scores(run, parcel.rows, parcel.labels, logits, text)
    told = {"network": entry.name, "settings": asdict(settings), **facts}
    (run / "facts.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def write_weights(
    run: Path, parcel: Parcel, entry: Network, model: nn.Module, settings: SequenceSettings, facts: Mapping[str, Any]
) -> None:
    """``last.pt`` with what the record tells."""
    state = {
        "network": entry.name,
        "average": {name: value.cpu() for name, value in model.state_dict().items()},
        "settings": json.dumps(asdict(settings)),
        "trained_on": json.dumps([source.model_dump() for source in sources_of(parcel.rows)]),
        "result": json.dumps(dict(facts)),
    }
    save_state(run / "last.pt", state)


def fold_aucs(logits: Floats, labels: Ints, folds: Sequence[Fold]) -> list[float]:
    """AUC of the tested clips of each fold."""
    return [round(auc(logits[fold.test], labels[fold.test]), 4) for fold in folds]


def main(arguments: list[str] | None = None) -> int:
    """Train folds and the final model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", help="a network of the registry that takes embeddings or clips")
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--parcel", type=Path, help="folder with the clips, in place of data and cache")
    parser.add_argument("--folds-only", action="store_true", help="measure and stop")
    for field in fields(SequenceSettings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    keep_memory()
    settings = SequenceSettings(**{field.name: getattr(options, field.name) for field in fields(SequenceSettings)})
    entry = entry_of(options.network)
    parcel = parcel_of(options.parcel, options.data, options.cache, entry, settings.embeddings)
    material, folds = material_of(parcel, entry, settings.embeddings), folds_of(parcel)
    logits, seconds = out_of_fold(material, parcel.rows, folds, entry.build, settings)
    facts: dict[str, Any] = {
        "fold_seconds": round(seconds, 1),
        "folds": len(folds),
        "auc": round(auc(logits, parcel.labels), 4),
        "auc_by_fold": fold_aucs(logits, parcel.labels, folds),
        "device": device().type,
        **embedded_by(parcel, entry, settings),
    }
    _LOG.info("%s: AUC %.4f, %d clips, %.0f s", entry.name, facts["auc"], len(parcel.rows), seconds)
    run = options.cache / "video" / "runs" / entry.name
    run.mkdir(parents=True, exist_ok=True)
    if not options.folds_only:
        every = np.arange(len(parcel.rows))
        model, spent = train_sequence(material, parcel.rows, every, entry.build, settings)
        facts["seconds"] = round(spent, 1)
        write_weights(run, parcel, entry, model, settings, facts)
    write_run(run, parcel, entry, logits, settings, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
