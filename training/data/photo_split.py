"""Which photos a run is trained on, and which only watch it.

Watching are the photos of ``training/held_out.json`` and the kinds of fakes that no run may see. The list is what the
first run held out: whole clusters of near-duplicates, a tenth of them. It is committed because everything that is
shipped was calibrated on these photos, while the numbers of clusters move when a detector or a relation does. Photos
that the list does not know, of other folders, are drawn by name.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from functools import cache as once
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.cache import PhotoCache
from training.data.photos import PREFIX
from training.data.sources import WATCHED
from training.settings import Settings

HELD_OUT = Path(__file__).parents[1] / "held_out.json"
"""Names of files by ``real/<source>`` and ``fake/<source>``, in ``train/images``."""


@once
def listed_photos() -> frozenset[str]:
    """Paths of the photos that no run is trained on."""
    told: dict[str, list[str]] = json.loads(HELD_OUT.read_text(encoding="utf-8"))
    return frozenset(f"train/images/{folder}/{name}" for folder, names in told.items() for name in names)


def drawn_clusters(cache: PhotoCache, share: float) -> npt.NDArray[np.bool_]:
    """Mask of the photos whose cluster is drawn: by the first name in it, that of a photo before that of a still."""
    first: dict[int, tuple[bool, str]] = {}
    for row, number in zip(cache.rows, cache.clusters.tolist()):
        name = (row.source.startswith(PREFIX), row.path)
        first[number] = min(first.get(number, name), name)
    drawn = {number: zlib.crc32(name.encode()) < share * 2**32 for number, (_, name) in first.items()}
    return np.array([drawn[number] for number in cache.clusters.tolist()], dtype=np.bool_)


def held_out_photos(cache: PhotoCache, share: float = 0.1) -> npt.NDArray[np.bool_]:
    """Mask of the photos that only watch: those of the list, or a ``share`` of the clusters where it knows none.

    The watched kinds are among them. A still is held out with the photos of its cluster, else drawn by its clip's name.
    """
    sources = np.array([row.source for row in cache.rows])
    held, listed = drawn_clusters(cache, share), np.array([row.path in listed_photos() for row in cache.rows])
    if listed.any():
        stills = np.char.startswith(sources, PREFIX)
        beside = np.isin(cache.clusters, cache.clusters[~stills])
        related = np.isin(cache.clusters, cache.clusters[listed])
        held = listed | (stills & np.where(beside, related, held))
    return np.asarray(held | np.isin(sources, WATCHED))


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
    allowed = np.array([settings.licences == "all" or row.commercial == "yes" for row in cache.rows], dtype=np.bool_)
    if fold is not None:
        barred |= fold
    related = np.isin(cache.clusters, cache.clusters[barred])
    return ~held_out_photos(cache, settings.held_out) & ~related & allowed
