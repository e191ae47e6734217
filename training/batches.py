"""What a run on pairs of crops learns from, by its settings."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.cache import PhotoCache
from training.data.pairs import Mixture, PairBatches, Reconstructions
from training.data.photo_split import training_photos
from training.data.photos import fold_barred
from training.data.sources import PAIRS
from training.settings import Settings


def pair_batches(photos: PhotoCache, styles: npt.NDArray[np.float16], settings: Settings, cache: Path) -> PairBatches:
    """The endless batches that a run with these settings learns from.

    Args:
        photos, styles: what ``load_photos`` gave; cache: folder with ``recon``.
    """
    fold = fold_barred(photos.rows, cache, settings.fold) if settings.fold >= 0 else None
    return PairBatches(
        photos,
        training_photos(photos, settings, fold),
        Reconstructions(cache / "recon"),
        settings.size,
        settings.margin,
        settings.pairs,
        10**6,
        settings.seed,
        Mixture(**{field.name: getattr(settings, field.name) for field in fields(Mixture)}),
        groups=[group for group in PAIRS if not settings.groups or group.name in settings.groups],
        styles=styles,
    )
