"""Try settings of a network over clips within a time: ``python -m training.video.sweep sequence_rnn --minutes 8``.

Each variant is one change to the usual settings; they are tried in turn, then the best again with
other seeds, and what was chosen is trained on all clips. Chosen is the best mean over the folds' AUCs. The choice looks
at the same folds that measure it, so that its figure is a little optimistic: ``facts.json`` tells all of them. A run's
folder gets the files of ``training.video.train`` and ``sweep.json``; its scores are the mean over the seeds.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.metrics import auc
from training.fusion import Floats
from training.memory import keep_memory
from training.models.recurrent import Cell
from training.models.registry import Network
from training.models.registry import network as entry_of
from training.models.sequence_rnn import SequenceRnn
from training.video.folds import Fold
from training.video.material import Material, Parcel, read_parcel
from training.video.sequence import SequenceSettings, device, out_of_fold, train_sequence
from training.video.train import embedded_by, fold_aucs, folds_of, material_of, write_run, write_weights

USUAL = SequenceSettings()
PORTRAIT = replace(USUAL, embeddings="portrait_cnn")
#: What is tried of networks over embeddings, the most telling first.
OF_EMBEDDINGS: dict[str, SequenceSettings] = {
    "portrait": PORTRAIT,
    "frame": USUAL,
    "portrait_short": replace(PORTRAIT, steps=100),
    "portrait_flicker": replace(PORTRAIT, flicker=0.3),
    "portrait_dropout": replace(PORTRAIT, dropout=0.5),
    "portrait_decay": replace(PORTRAIT, decay=0.3),
    "portrait_tremble": replace(PORTRAIT, tremble=0.4),
    "portrait_long": replace(PORTRAIT, steps=480),
    "portrait_slow": replace(PORTRAIT, rate=1e-4),
    "frame_short": replace(USUAL, steps=100),
    "frame_flicker": replace(USUAL, flicker=0.3),
    "portrait_all": replace(PORTRAIT, dropout=0.5, decay=0.3, tremble=0.4, flicker=0.3),
    "projected_64": replace(USUAL, embeddings="portrait_cnn"),
    "projected_192": replace(USUAL, embeddings="portrait_cnn"),
    "raw": replace(USUAL, embeddings="portrait_cnn"),
}
OF_CLIPS: dict[str, SequenceSettings] = {
    "usual": replace(USUAL, rate=6e-4),
    "long": replace(USUAL, rate=6e-4, steps=480),
    "dropout": replace(USUAL, rate=6e-4, dropout=0.5),
    "fast": replace(USUAL, rate=1.5e-3),
    "slow": replace(USUAL, rate=2e-4),
}
#: Variants with another layout than the registry's, for information: none of them is kept.
OTHER_LAYOUTS: dict[str, dict[str, int | bool]] = {
    "projected_64": {"projected": 64},
    "projected_192": {"projected": 192},
    "raw": {"roots": False},
}
LAST_PART = 0.7
"""Share of the time after which nothing new is tried."""
LATEST = 0.93
"""Share of the time until which other seeds are tried; what was chosen is then trained on all clips."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tried:
    """One variant under one seed: logits out of fold [n], and seconds of training."""

    name: str
    settings: SequenceSettings
    logits: Floats
    folds: tuple[float, ...]
    area: float
    seconds: float

    @property
    def mean(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.folds))


class Sweep:
    """Everything that was tried of one network.

    Args:
        start: weights of the network that training begins with, where its package is missing.
    """

    def __init__(self, entry: Network, parcel: Parcel, start: Path | None = None) -> None:
        self.entry, self.parcel = entry, parcel
        self.folds: Sequence[Fold] = folds_of(parcel)
        self.start: dict[str, Tensor] | None = None
        if start is not None:
            self.start = torch.load(start, map_location="cpu", weights_only=True)
        self.tried: list[Tried] = []
        self._materials: dict[str, Material] = {}

    def material(self, settings: SequenceSettings) -> Material:
        """Of these embeddings; kept on the device."""
        key = settings.embeddings if self.entry.takes == "embeddings" else ""
        if key not in self._materials:
            self._materials[key] = material_of(self.parcel, self.entry, settings.embeddings)
        return self._materials[key]

    def build(self, name: str) -> Callable[[], nn.Module]:
        """The network of a variant."""
        if name in OTHER_LAYOUTS:
            cell: Cell = "gru" if self.entry.name == "sequence_gru" else "lstm"
            return lambda: SequenceRnn(cell=cell, **OTHER_LAYOUTS[name])  # type: ignore[arg-type]
        start = self.start
        if start is None:
            return self.entry.build

        def begun() -> nn.Module:
            model = self.entry.empty()
            model.load_state_dict(start)
            return model

        return begun

    def try_one(self, name: str, settings: SequenceSettings) -> Tried:
        """Train the folds of a variant."""
        logits, seconds = out_of_fold(self.material(settings), self.parcel.rows, self.folds, self.build(name), settings)
        labels = self.parcel.labels
        folds = tuple(fold_aucs(logits, labels, self.folds))
        found = Tried(name, settings, logits, folds, round(auc(logits, labels), 4), round(seconds, 2))
        self.tried.append(found)
        _LOG.info(
            "%s %s seed %d: AUC %.4f, mean over folds %.4f (%s), %.1f s",
            self.entry.name, name, settings.seed, found.area, found.mean, " ".join(map(str, folds)), seconds,
        )  # fmt: skip
        return found

    def best(self) -> str:
        """The variant with the best mean over folds and seeds; those for information do not stand."""
        names = {tried.name for tried in self.tried if tried.name not in OTHER_LAYOUTS}
        means = {name: np.mean([each.mean for each in self.tried if each.name == name]) for name in sorted(names)}
        return max(means, key=lambda name: float(means[name]))

    def told(self) -> list[dict[str, Any]]:
        """All that was tried, as JSON."""
        return [
            {
                "variant": each.name,
                "seed": each.settings.seed,
                "auc": each.area,
                "mean_over_folds": round(each.mean, 4),
                "auc_by_fold": list(each.folds),
                "fold_seconds": each.seconds,
                "seconds_per_step": round(each.seconds / each.settings.steps / len(self.folds), 5),
            }
            for each in self.tried
        ]


def run_sweep(sweep: Sweep, run: Path, variants: dict[str, SequenceSettings], minutes: float, seeds: int) -> None:
    """Try, choose, try again with other seeds, train on all clips, and write the run."""
    began = time.monotonic()

    def spent() -> float:
        return (time.monotonic() - began) / 60 / minutes

    longest = 0.0
    for name, settings in variants.items():
        before = spent()
        if before + longest > LAST_PART:
            _LOG.info("no time for %s", name)
            continue
        sweep.try_one(name, settings)
        longest = max(longest, spent() - before)
        if len(sweep.tried) == 1:  # a run that is cut off leaves something
            write_sweep(sweep, run, variants)
    for seed in range(1, seeds):
        if spent() + 1.5 * longest < LATEST:
            chosen = sweep.best()
            sweep.try_one(chosen, replace(variants[chosen], seed=seed))
    write_sweep(sweep, run, variants)


def write_sweep(sweep: Sweep, run: Path, variants: dict[str, SequenceSettings]) -> None:
    """Train the best so far on all clips and write the run."""
    name = sweep.best()
    settings, parcel = variants[name], sweep.parcel
    own = [each for each in sweep.tried if each.name == name]
    logits = np.mean([each.logits for each in own], axis=0)
    every = np.arange(len(parcel.rows))
    model, seconds = train_sequence(sweep.material(settings), parcel.rows, every, sweep.build(name), settings)
    facts = {
        "variant": name,
        "variants_tried": len({each.name for each in sweep.tried}),
        "auc": round(auc(logits, parcel.labels), 4),
        "auc_by_seed": [each.area for each in own],
        "auc_by_fold": fold_aucs(logits, parcel.labels, sweep.folds),
        "folds": len(sweep.folds),
        "seconds": round(seconds, 1),
        "seconds_per_step": round(seconds / settings.steps, 5),
        "device": torch.cuda.get_device_name() if device().type == "cuda" else "cpu",
        **embedded_by(parcel, sweep.entry, settings),
    }
    run.mkdir(parents=True, exist_ok=True)
    write_weights(run, parcel, sweep.entry, model, settings, facts)
    write_run(run, parcel, sweep.entry, logits, settings, facts)
    (run / "sweep.json").write_text(json.dumps(sweep.told(), indent=1) + "\n", encoding="utf-8")
    np.savez_compressed(
        run / "sweep.npz",
        logits=np.stack([each.logits for each in sweep.tried]).astype(np.float32),
        paths=np.array([row.path for row in parcel.rows]),
    )
    _LOG.info("%s: %s chosen, %s", sweep.entry.name, name, facts)


def main(arguments: list[str] | None = None) -> int:
    """Run a sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", help="a network of the registry that takes embeddings or clips")
    parser.add_argument("--parcel", type=Path, default=Path(".cache/gpu/families"), help="folder with the clips")
    parser.add_argument("--runs", type=Path, default=Path(".cache/video/runs"))
    parser.add_argument("--start", type=Path, help="state dict that training begins with")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="steps of every variant, for a trial")
    parser.add_argument("--batch", type=int, help="clips in a step of every variant; fewer where memory is short")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    keep_memory()
    entry = entry_of(options.network)
    variants = OF_CLIPS if entry.takes == "clip" else OF_EMBEDDINGS
    changes = {name: value for name in ("steps", "batch") if (value := getattr(options, name)) is not None}
    variants = {name: replace(each, **changes) for name, each in variants.items()}
    sweep = Sweep(entry, read_parcel(options.parcel), options.start)
    run_sweep(sweep, options.runs / entry.name, variants, options.minutes, options.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
