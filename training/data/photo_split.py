"""Which photos a run is trained on, and which only watch it.

Watching are whole clusters of near-duplicates, the same for every run, and the kinds of fakes that no run may see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.data.cache import PhotoCache
from training.data.sources import WATCHED
from training.settings import Settings


def held_out_clusters(clusters: npt.NDArray[np.int32], share: float, seed: int = 20) -> npt.NDArray[np.bool_]:
    """Mask of the photos whose cluster is held out; the same for every run."""
    drawn = np.random.default_rng(seed).random(int(clusters.max(initial=-1)) + 1)
    return np.asarray(drawn[clusters] < share)


def held_out_photos(cache: PhotoCache, share: float = 0.1) -> npt.NDArray[np.bool_]:
    """Mask of the photos that only watch: the held-out clusters and the watched kinds."""
    sources = np.array([row.source for row in cache.rows])
    return held_out_clusters(cache.clusters, share) | np.isin(sources, WATCHED)


def barred_photos(cache: PhotoCache, without: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Mask of the photos whose source, as ``real/<name>`` or ``fake/<name>``, a run must not see."""
    names = [f"{'fake' if row.label else 'real'}/{row.source}" for row in cache.rows]
    return np.isin(np.array(names), list(without))


def training_photos(
    cache: PhotoCache, settings: Settings, fold: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.bool_]:
    """Mask of the photos that a run is trained on: no near-duplicate and no clip of a barred photo is among them.

    ``fold`` is the mask of what a fold of clips bars besides (``training.data.photos.fold_barred``).
    """
    barred = barred_photos(cache, settings.without)
    if fold is not None:
        barred |= fold
    related = np.isin(cache.clusters, cache.clusters[barred])
    return ~held_out_photos(cache, settings.held_out) & ~related
