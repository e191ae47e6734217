"""Scores that a calibration may rest on: of photos, kinds and pseudo-fakes that their network has not seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from pipelines.image.align import align_faces
from pipelines.metrics import auc
from training.data.cache import PhotoCache
from training.data.pairs import Reconstructions
from training.data.sources import WATCHED
from training.data.splits import read_folds
from training.models.registry import read_checkpoint
from training.pseudofakes import cross_blended, self_blended
from training.report import settings_of
from training.train import Settings, barred_photos, crops_of, held_out_photos, logits_of

PSEUDO = 60
"""Pseudo-fakes of each kind among the held-out items."""
_LOG = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """Logits on the final model's scale of photos that their model had not seen."""

    logits: Floats
    labels: Ints
    sources: npt.NDArray[np.str_]
    fitted_on: str
    shift: float | None


def averaged(checkpoint: Path) -> nn.Module:
    """The averaged weights of a run, ready to score."""
    return read_checkpoint(checkpoint)[1]


def to_scale(values: Floats, own: Floats, final: Floats) -> Floats:
    """Values of a fold model on the final model's scale, by mean and spread of both on common photos."""
    return np.asarray((values - own.mean()) * (final.std() / max(float(own.std()), 1e-6)) + final.mean())


def pseudo_fakes(
    cache: PhotoCache, rebuilt: Reconstructions, reals: Ints, size: int, margin: float, each: int = PSEUDO
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]]:
    """Crops of pseudo-fakes of held-out reals and their kinds: ``each`` self-blended, cross-blended, reconstructed.

    The same for every network, but for the geometry of the crop.
    """
    rng = np.random.default_rng(7)
    crops, kinds = [], []

    def add(kind: str, item: int, photo: npt.NDArray[np.uint8]) -> None:
        crops.append(align_faces(np.ascontiguousarray(photo), cache.landmarks[item][None], size, margin)[0])
        kinds.append(f"pseudo:{kind}")

    for item in rng.choice(reals, min(each, len(reals)), replace=False):
        add("self_blended", item, self_blended(cache.photo(item), cache.landmarks[item], rng))
    for item, other in zip(rng.choice(reals, min(each, len(reals)), replace=False), rng.permutation(reals)):
        blended = cross_blended(
            cache.photo(item), cache.landmarks[item], cache.photo(other), cache.landmarks[other], rng
        )
        add("cross_blended", item, blended)
    known = np.array([item for item in reals if int(item) in rebuilt.position], dtype=np.int64)
    for item in rng.choice(known, min(each, len(known)), replace=False) if len(known) else known:
        add("reconstructed", item, rebuilt.photo(int(item), *cache.photo(item).shape[:2]))
    return np.stack(crops), np.array(kinds)


def out_of_fold(
    run: Path, cache: PhotoCache, settings: Settings, folds: Path | None, rebuilt: Reconstructions | None = None
) -> Scores:
    """Score every photo by a model that has not seen its kind.

    Args:
        folds: folder of the fold models; without it the held-out photos alone are scored, by the final model.
        rebuilt: reconstructions; without folds, pseudo-fakes of held-out reals are scored too.
    """
    labels = np.array([row.label for row in cache.rows])
    sources = np.array([row.source for row in cache.rows])
    watching = held_out_photos(cache, settings.held_out)
    common = np.flatnonzero(watching)
    trained = averaged(run / "last.pt")
    final = logits_of(trained, crops_of(cache, common, settings.size, settings.margin)).astype(float)
    if folds is None:
        text = (
            f"{len(common)} held-out photos, scored by the final model: no near-duplicate or clip of theirs was "
            f"trained on; half of the fakes are of kinds that no run saw ({', '.join(WATCHED)})"
        )
        if rebuilt is None:
            return Scores(final, labels[common], sources[common], text, None)
        reals_held = common[labels[common] == 0]
        crops, kinds = pseudo_fakes(cache, rebuilt, reals_held, settings.size, settings.margin)
        logits = np.append(final, logits_of(trained, crops).astype(float))
        truth = np.append(labels[common], np.ones(len(kinds), dtype=labels.dtype))
        text += f"; {len(kinds)} pseudo-fakes of held-out reals"
        return Scores(logits, truth, np.append(sources[common], kinds), text, None)
    parts: list[tuple[Floats, Ints]] = []
    for fold in read_folds():
        path = folds / fold.name / "last.pt"
        model, told = averaged(path), settings_of(path)[0]
        left_out = barred_photos(cache, fold.sources)
        unseen = common[~left_out[common]]
        own = logits_of(model, crops_of(cache, unseen, told.size, told.margin)).astype(float)
        items = np.flatnonzero(left_out)
        scored = logits_of(model, crops_of(cache, items, told.size, told.margin)).astype(float)
        parts.append((to_scale(scored, own, final[~left_out[common]]), items))
        _LOG.info("%s: AUC %.3f on its %d left-out photos", fold.name, auc(scored, labels[items]), len(items))
    logits, items = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    by_item = dict(zip(items.tolist(), logits.tolist(), strict=True))
    reals = [(place, item) for place, item in enumerate(common) if labels[item] == 0 and int(item) in by_item]
    shift = float(np.mean([final[place] - by_item[int(item)] for place, item in reals]))
    text = f"{len(items)} photos, each by one of {len(parts)} fold models that never saw its family of generators"
    return Scores(logits, labels[items], sources[items], text, shift)
