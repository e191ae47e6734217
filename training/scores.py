"""Scores that a calibration may rest on: of photos, kinds and pseudo-fakes that their network has not seen."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from pipelines.image.align import align_faces
from pipelines.metrics import auc
from training.crops import crops_of, logits_of
from training.data.cache import PhotoCache
from training.data.pairs import Reconstructions
from training.data.photo_split import barred_photos, held_out_photos
from training.data.sources import PAIRS, WATCHED
from training.data.splits import read_folds
from training.models.registry import read_checkpoint
from training.pseudofakes import cross_blended, self_blended
from training.report import settings_of
from training.settings import Settings

PSEUDO = 60
"""Pseudo-fakes of each kind among the held-out items."""
PEERS, FEWEST_PEERS = 12, 12
"""Reals that a fake is compared with, and how many of its own pipeline there must be."""
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
    peers: Ints | None = None
    """[n, k] positions of the reals that a fake is compared with (:func:`peers_of`); -1 in the rows of reals."""
    items: Ints | None = None
    """[n] photos of the cache; of a pseudo-fake the one that it was made of."""


def averaged(checkpoint: Path) -> nn.Module:
    """The averaged weights of a run, ready to score."""
    return read_checkpoint(checkpoint)[1]


def to_scale(values: Floats, own: Floats, final: Floats) -> Floats:
    """Values of a fold model on the final model's scale, by mean and spread of both on common photos."""
    return np.asarray((values - own.mean()) * (final.std() / max(float(own.std()), 1e-6)) + final.mean())


def peers_of(
    styles: npt.NDArray[np.float16], fakes: Ints, sources: Sequence[str], reals: Ints, real_sources: Sequence[str]
) -> Ints:
    """For each fake the reals that it is fair to compare it with, int64 [n, k] as places in ``reals``.

    They are those that look most like it (``training.data.style``), among the reals of its own pipeline where it has
    some: against all reals a network is praised for knowing a gallery's manner.

    Args:
        styles: of the whole cache; fakes, reals: items of the cache; sources, real_sources: their sources.
    """
    likeness = styles[fakes].astype(np.float32) @ styles[reals].astype(np.float32).T
    known = np.array(real_sources)
    for place, source in enumerate(sources):
        partners = [name for group in PAIRS if group.matched and source in group.fakes for name in group.reals]
        own = np.isin(known, partners)
        if own.sum() >= FEWEST_PEERS:
            likeness[place, ~own] = -np.inf
    return np.asarray(np.argsort(-likeness, axis=1)[:, :PEERS], dtype=np.int64)


def pseudo_fakes(
    cache: PhotoCache, rebuilt: Reconstructions, reals: Ints, size: int, margin: float, each: int = PSEUDO
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_], Ints]:
    """Crops of pseudo-fakes of held-out reals, their kinds (``each`` self-blended, cross-blended, reconstructed) and
    the items that they were made from.

    The same for every network, but for the geometry of the crop.
    """
    rng = np.random.default_rng(7)
    crops, kinds, origins = [], [], []

    def add(kind: str, item: int, photo: npt.NDArray[np.uint8]) -> None:
        crops.append(align_faces(np.ascontiguousarray(photo), cache.landmarks[item][None], size, margin)[0])
        kinds.append(f"pseudo:{kind}")
        origins.append(int(item))

    for item in rng.choice(reals, min(each, len(reals)), replace=False):
        add("self_blended", item, self_blended(cache.photo(item), cache.landmarks[item], rng))
    for item, other in zip(rng.choice(reals, min(each, len(reals)), replace=False), rng.permutation(reals)):
        blended = cross_blended(
            cache.photo(item), cache.landmarks[item], cache.photo(other), cache.landmarks[other], rng
        )
        add("cross_blended", item, blended)
    known = np.array([item for item in reals if int(item) in rebuilt.positions], dtype=np.int64)
    for item in rng.choice(known, min(each, len(known)), replace=False) if len(known) else known:
        add("reconstructed", item, rebuilt.photo(int(item), cache.photo(item).shape))
    return np.stack(crops), np.array(kinds), np.array(origins, dtype=np.int64)


def out_of_fold(
    run: Path,
    cache: PhotoCache,
    settings: Settings,
    folds: Path | None,
    rebuilt: Reconstructions | None = None,
    styles: npt.NDArray[np.float16] | None = None,
) -> Scores:
    """Score every photo by a model that has not seen its kind.

    Args:
        folds: folder of the fold models; without it the held-out photos alone are scored, by the final model.
        rebuilt: reconstructions; without folds, pseudo-fakes of held-out reals are scored too.
        styles: of the cache; with it and without folds, the scores name the peers of each fake.
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
            return Scores(final, labels[common], sources[common], text, None, items=common)
        reals_held = common[labels[common] == 0]
        crops, kinds, origins = pseudo_fakes(cache, rebuilt, reals_held, settings.size, settings.margin)
        logits = np.append(final, logits_of(trained, crops).astype(float))
        truth = np.append(labels[common], np.ones(len(kinds), dtype=labels.dtype))
        text += f"; {len(kinds)} pseudo-fakes of held-out reals"
        named = np.append(sources[common], kinds)
        peers, items = None, np.append(common, origins)
        if styles is not None:
            fake, real = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
            peers = np.full((len(truth), PEERS), -1, dtype=np.int64)
            peers[fake] = real[peers_of(styles, items[fake], named[fake].tolist(), items[real], named[real].tolist())]
        return Scores(logits, truth, named, text, None, peers, items)
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


def kinds_of(scores: Scores) -> list[Ints]:
    """Positions of the fakes of each kind of at least five; some sources hold both classes."""
    fake = scores.labels == 1
    kinds = [np.flatnonzero(fake & (scores.sources == name)) for name in np.unique(scores.sources[fake])]
    return [kind for kind in kinds if len(kind) >= 5]


def rivals_of(scores: Scores) -> Ints:
    """[n, k] positions of the reals that each item is compared with: its peers, or where they are not known all."""
    if scores.peers is not None:
        return scores.peers
    reals = np.flatnonzero(scores.labels == 0)
    return np.broadcast_to(reals, (len(scores.labels), len(reals)))


def mean_kind_auc(values: Floats, kinds: Sequence[Ints], peers: Ints) -> float:
    """Mean over the kinds of fakes of how often one is ranked above the reals that it is compared with.

    Args:
        values: [n]; kinds: positions of the fakes of each kind; peers: [n, k] positions of reals (``Scores.peers``).
    """
    wins = wins_of(values, peers)
    return float(np.mean([wins[kind].mean() for kind in kinds]))


def wins_of(values: Floats, peers: Ints) -> Floats:
    """How often each item is ranked above those that it is compared with, [n]; a tie is half a win."""
    rivals = values[peers]
    return np.asarray((values[:, None] > rivals).mean(axis=1) + 0.5 * (values[:, None] == rivals).mean(axis=1))
