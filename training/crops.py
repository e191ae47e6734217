"""Crops of cached photos as serving cuts them, and what a network says of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pipelines.image.align import align_faces
from training.augment import recode
from training.data.cache import PhotoCache
from training.models.output import normalised


def crops_of(
    cache: PhotoCache, items: npt.NDArray[np.int64], size: int, margin: float, quality: int = 0
) -> npt.NDArray[np.uint8]:
    """Crops as serving cuts them, uint8 [n, size, size, 3]; recompressed first where a quality is given."""
    crops = np.empty((len(items), size, size, 3), np.uint8)
    for place, item in enumerate(items):
        photo = np.ascontiguousarray(cache.photo(item))
        if quality:
            photo = recode(photo, ".jpg", quality)
        crops[place] = align_faces(photo, cache.landmarks[item][None], size, margin)[0]
    return crops


@torch.inference_mode()
def logits_of(model: nn.Module, crops: npt.NDArray[np.uint8], batch: int = 64) -> npt.NDArray[np.float32]:
    """Raw logits, float32 [n]."""
    model.eval()
    device = next(model.parameters()).device
    parts = [
        model(normalised(torch.from_numpy(crops[start : start + batch]).to(device).permute(0, 3, 1, 2)))
        .logit[:, 0]
        .cpu()
        .numpy()
        for start in range(0, len(crops), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
