"""Train a sequence network on watched clips: ``python -m training.video.train sequence_rnn``.

First a model for each fold scores the clips that it has not seen; then one is trained on all of them. The run's folder
``.cache/video/runs/<name>`` gets ``last.pt`` (for ``export.onnx_export``), ``scores.json`` (path: raw logit, out of
fold), ``calibration.json`` and ``facts.json`` with the time that it took.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch

from cards.record import Calibration
from cards.repository import ModelRepository
from pipelines.metrics import auc
from training.fusion import calibrate, fit_fusion
from training.models.registry import network as entry_of
from training.prepare import data_folder
from training.report import Fit, sources_of
from training.video.clips import NETWORK
from training.video.folds import clip_folds
from training.video.sequence import SequenceSettings, out_of_fold, train_sequence
from training.video.table import labels_of, read_table

_LOG = logging.getLogger(__name__)


def fit_of(logits: np.ndarray, labels: np.ndarray, calibration: Calibration) -> Fit:  # type: ignore[type-arg]
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


def main(arguments: list[str] | None = None) -> int:
    """Train folds and the final model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", help="a network of the registry that takes embeddings")
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--folds-only", action="store_true", help="measure and stop")
    for field in fields(SequenceSettings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    settings = SequenceSettings(**{field.name: getattr(options, field.name) for field in fields(SequenceSettings)})
    entry = entry_of(options.network)
    clips, missing = read_table(options.data, options.cache, ModelRepository(), [NETWORK])
    folds = clip_folds([clip.row for clip in clips], [clip.identities for clip in clips])
    labels = labels_of(clips)
    logits, seconds = out_of_fold(clips, folds, NETWORK, entry.build, settings)
    area = auc(logits, labels)
    _LOG.info("%s: AUC %.4f, %d clips, %d missing, %.0f s", entry.name, area, len(clips), len(missing), seconds)
    run = options.cache / "video" / "runs" / entry.name
    run.mkdir(parents=True, exist_ok=True)
    scores = {clip.row.path: float(value) for clip, value in zip(clips, logits)}
    (run / "scores.json").write_text(json.dumps(scores, indent=0) + "\n", encoding="utf-8")
    text = f"{len(clips)} clips of train/videos, scored by fold models that saw neither source nor people"
    calibration = calibrate(logits, labels, text)
    (run / "calibration.json").write_text(fit_of(logits, labels, calibration).model_dump_json(indent=1) + "\n")
    facts = {"fold_seconds": round(seconds, 1), "folds": len(folds), "auc": round(auc(logits, labels), 4)}
    if not options.folds_only:
        model, spent = train_sequence(clips, NETWORK, entry.build, settings)
        facts["seconds"] = round(spent, 1)
        trained_on = [source.model_dump() for source in sources_of([clip.row for clip in clips])]
        state = {
            "network": entry.name,
            "average": model.state_dict(),
            "settings": json.dumps(asdict(settings)),
            "trained_on": json.dumps(trained_on),
            "result": json.dumps(facts),
        }
        torch.save(state, run / "last.pt")
    (run / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
