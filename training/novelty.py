"""Fit what ``out_of_distribution`` is measured with: ``python -m training.novelty RUN``.

Embeddings of training photos (reals and fakes of every source) give centres and covariance; held-out photos of the same
sources give the threshold: one in a hundred of them lies beyond it. Writes ``novelty.npz`` and ``novelty.json`` beside
the checkpoint; ``python -m export.novelty RUN`` puts them into the exported version.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cards.record import Novelty
from pipelines.novelty import FILE, Space, profile
from training.crops import crops_of
from training.data.cache import PhotoCache, load_cache
from training.data.photo_split import held_out_photos, training_photos
from training.data.sources import WATCHED
from training.memory import keep_memory
from training.models.output import normalised
from training.report import settings_of
from training.scores import averaged

QUANTILE = 0.99
#: Photos of one source at most: large sources would own the covariance.
MOST = 150
TOLD = "novelty.json"
_LOG = logging.getLogger(__name__)


@torch.inference_mode()
def profiles_of(model: nn.Module, crops: npt.NDArray[np.uint8], batch: int = 32) -> npt.NDArray[np.float64]:
    """Profiles of the embeddings of crops uint8 [n, s, s, 3], float64 [n, d]."""
    parts = [
        model(normalised(torch.from_numpy(crops[start : start + batch]).permute(0, 3, 1, 2))).embedding.numpy()
        for start in range(0, len(crops), batch)
    ]
    return profile(np.concatenate(parts))


def limits(distances: npt.NDArray[np.float64], quantile: float = QUANTILE) -> tuple[float, float]:
    """Threshold, and the distance from which the label is inconclusive: a tenth of the share of the threshold.

    Above the largest distance seen the tail is taken to fall exponentially, as it falls over its last twentieth.
    """
    threshold = float(np.quantile(distances, quantile))
    inner = float(np.quantile(distances, 0.95))
    fall = (threshold - inner) / np.log(0.05 / (1 - quantile))
    return threshold, threshold + float(fall * np.log(10))


def fit(
    model: nn.Module, cache: PhotoCache, seen: npt.NDArray[np.bool_], size: int, margin: float
) -> tuple[Space, Novelty, dict[str, float]]:
    """The space, its record, and the share of each watched (never seen) kind that lies beyond the threshold.

    Args:
        seen: mask of the photos that the model was trained on.
    """
    sources = np.array([f"{row.label}/{row.source}" for row in cache.rows])
    _, classes = np.unique(sources, return_inverse=True)
    rng = np.random.default_rng(6)
    some = np.concatenate(
        [rng.permutation(np.flatnonzero(seen & (classes == c)))[:MOST] for c in np.unique(classes[seen])]
    )
    space = Space.fit(profiles_of(model, crops_of(cache, some, size, margin)), classes[some])
    watched = np.isin(np.array([row.source for row in cache.rows]), WATCHED)
    held_out = np.flatnonzero(held_out_photos(cache) & ~watched)
    distances = space.distances(profiles_of(model, crops_of(cache, held_out, size, margin)))
    threshold, far = limits(distances)
    shares = {}
    for name in WATCHED:
        items = np.flatnonzero(np.array([row.source == name for row in cache.rows]))
        if len(items):
            apart = space.distances(profiles_of(model, crops_of(cache, items, size, margin)))
            shares[name] = float((apart > threshold).mean())
    return (
        space,
        Novelty(
            file=FILE,
            threshold=threshold,
            abstain_above=far,
            quantile=QUANTILE,
            items=len(held_out),
            fitted_on=f"centres and covariance of {len(some)} training photos of {len(np.unique(classes[some]))} "
            "sources; threshold on held-out photos of the same sources",
        ),
        shares,
    )


def main(arguments: list[str] | None = None) -> int:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, with last.pt in it")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    keep_memory()
    cache = load_cache(options.cache / "photos")
    settings, _ = settings_of(options.run / "last.pt")
    model = averaged(options.run / "last.pt")
    space, novelty, shares = fit(model, cache, training_photos(cache, settings), settings.size, settings.margin)
    space.write(options.run / FILE)
    (options.run / TOLD).write_text(novelty.model_dump_json(indent=1) + "\n", encoding="utf-8")
    _LOG.info("%s", novelty.model_dump_json(indent=1))
    for name, share in shares.items():
        _LOG.info("%s, which no run saw: %.1f %% out of distribution", name, 100 * share)
    return 0


if __name__ == "__main__":
    sys.exit(main())
