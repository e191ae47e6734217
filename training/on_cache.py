"""Train a crop network with Lightning on the photos of the cache: ``python -m training.on_cache deepscan_cnn``.

For networks that learn from single crops, damaged alike in both classes, and from no pairs: the founding document's
``deepscan_cnn``, and the autoencoders, which see reals alone. The partition is that of ``training.train``: whole
clusters are held out and choose the epoch; watched kinds of fakes are neither trained on nor asked about the epoch. The
folder ``.cache/runs/<network>`` gets ``model.pt`` for ``export.onnx_export``, ``calibration.json`` and ``facts.json``.

Several GPUs: ``torchrun --nproc-per-node N -m training.on_cache deepscan_cnn``; the first process measures.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.metrics import auc, bootstrap_interval, eer, tpr_at_fpr
from training.data.cache import PhotoCache, load_cache
from training.data.photo_split import held_out_photos, training_photos
from training.data.sources import WATCHED
from training.datasets import TrainingData
from training.fit import fit, scores
from training.fusion import calibrate
from training.items import FaceCrops
from training.models.registry import Network, read_checkpoint
from training.models.registry import network as entry_of
from training.report import sources_of
from training.settings import FitSettings, Settings
from training.video.train import fit_of

USUAL = FitSettings(
    epochs=1000,
    patience=1000,
    batch_size=64,
    learning_rate=5e-4,
    decay=0.02,
    warm_up=200,
    schedule="constant",
    ranking=0.5,
    gamma=0.0,
    smoothing=0.02,
    average=0.998,
    minutes=9.0,
    every_steps=500,
)
AUTOENCODER_RATE = 1e-3
_LOG = logging.getLogger(__name__)
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """Positions of photos: trained on; held out of known kinds, which choose the epoch; and fakes of watched kinds."""

    train: Places
    held: Places
    watched: Places


def parts_of(photos: PhotoCache, entry: Network) -> Parts:
    """The partition that every photo network shares; an autoencoder trains on the reals."""
    labels = np.array([row.label for row in photos.rows])
    watched = np.isin([row.source for row in photos.rows], WATCHED)
    train = training_photos(photos, Settings())
    if entry.family == "autoencoder":
        train &= labels == 0
    held = held_out_photos(photos) & ~watched
    return Parts(np.flatnonzero(train), np.flatnonzero(held), np.flatnonzero(watched))


def settings_for(entry: Network, minutes: float, workers: int, seed: int) -> FitSettings:
    """Settings of a network; an autoencoder learns with its own loss, at a rate that a classifier would not stand."""
    rate = AUTOENCODER_RATE if entry.family == "autoencoder" else USUAL.learning_rate
    return replace(USUAL, minutes=minutes, workers=workers, seed=seed, learning_rate=rate)


def measured(logits: npt.NDArray[np.float64], labels: Places, sources: Sequence[str]) -> dict[str, Any]:
    """AUC of the held-out photos with its interval, of the watched kinds against the held-out reals, and by source."""
    watched = np.isin(sources, WATCHED)
    known, truth = logits[~watched], labels[~watched]
    low, high = bootstrap_interval(auc, known, truth)
    reals = known[truth == 0]

    def against_reals(chosen: npt.NDArray[np.bool_]) -> float:
        fakes = logits[chosen]
        return round(auc(np.concatenate([reals, fakes]), np.repeat([0, 1], [len(reals), len(fakes)])), 4)

    by_source = {
        str(name): against_reals((labels == 1) & (np.asarray(sources) == name))
        for name in np.unique(np.asarray(sources)[labels == 1])
    }
    told = {
        "held_out_real": len(reals),
        "held_out_fake": int(truth.sum()),
        "auc": round(auc(known, truth), 4),
        "auc_low": round(low, 4),
        "auc_high": round(high, 4),
        "eer": round(eer(known, truth), 4),
        "tpr_at_fpr_5": round(tpr_at_fpr(known, truth, 0.05), 4),
        "auc_by_source": by_source,
    }
    if watched.any():
        told["auc_of_watched_kinds"] = against_reals(watched)
    return told


def train_on_cache(entry: Network, photos: PhotoCache, run: Path, settings: FitSettings) -> dict[str, Any]:
    """Train (or go on), measure, and write the run's files; returns the facts (of several processes, the first's)."""
    began = time.monotonic()
    parts, crops = parts_of(photos, entry), FaceCrops.of(photos, entry.size)
    sources = sources_of([photos.rows[place] for place in parts.train])
    told = {"trained_on": json.dumps([source.model_dump() for source in sources])}
    data = TrainingData(crops.subset(parts.train), crops.subset(parts.held), settings)
    result = fit(entry, data, settings, run, told)
    if int(os.environ.get("RANK") or 0):
        return {}
    _, model, _ = read_checkpoint(result.model, entry.name)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    asked = np.concatenate([parts.held, parts.watched])
    logits, labels = scores(model, crops.subset(asked), entry.takes, 64), crops.labels[asked]
    held = slice(0, len(parts.held))
    facts = {
        "network": entry.name,
        "trained_on": len(parts.train),
        "epochs": result.epochs,
        "epoch": result.epoch,
        "steps": result.steps,
        "seconds": round(time.monotonic() - began, 1),
        "precision": result.precision,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        **measured(logits, labels, [photos.rows[place].source for place in asked]),
    }
    text = f"{len(parts.held)} held-out photos of train/images, of known kinds; they also chose the epoch"
    calibration = calibrate(logits[held], labels[held], text)
    (run / "calibration.json").write_text(
        fit_of(logits[held], labels[held], calibration).model_dump_json(indent=1) + "\n", encoding="utf-8"
    )
    (run / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    paths = np.array([photos.rows[place].path for place in asked])
    np.savez_compressed(run / "logits.npz", paths=paths, logits=logits.astype(np.float32), labels=labels)
    return facts


def main(arguments: list[str] | None = None) -> int:
    """Train networks one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", help="crop networks of the registry")
    parser.add_argument("--photos", type=Path, default=Path(".cache/photos"), help="what training.prepare wrote")
    parser.add_argument("--runs", type=Path, default=Path(".cache/runs"))
    parser.add_argument("--minutes", type=float, default=USUAL.minutes, help="for each network")
    parser.add_argument("--workers", type=int, default=1, help="processes that make crops")
    parser.add_argument("--batch-size", type=int, default=USUAL.batch_size, help="items at once, in each process")
    parser.add_argument("--accumulate", type=int, default=USUAL.accumulate, help="batches in one step")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    photos = load_cache(options.photos)
    for name in options.networks:
        entry = entry_of(name)
        settings = replace(
            settings_for(entry, options.minutes, options.workers, options.seed),
            batch_size=options.batch_size,
            accumulate=options.accumulate,
        )
        facts = train_on_cache(entry, photos, options.runs / name, settings)
        if facts:
            _LOG.info("%s: %s", name, {key: value for key, value in facts.items() if key != "auc_by_source"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
