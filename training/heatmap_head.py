"""Train the head that draws heat maps on a frozen backbone: ``python -m training.heatmap_head RUN``.

Real training photos are self-blended with masks that are known (whole faces, halves, single parts, patches anywhere);
the head learns the mask from the backbone's features. The backbone is not touched, so that logits, calibration and
thresholds stay. Writes ``heatmap.pt`` beside the checkpoint; ``deepscan export`` puts it into the graph.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from pipelines.image.align import align_faces
from training.augment import recode
from training.checkpoints import save_state
from training.data.cache import PhotoCache, load_cache
from training.data.photo_split import training_photos
from training.evaluation.masked import blended_with, draw_mask, mask_in_crop, training_kind
from training.memory import keep_memory
from training.models.efficientnet_lite import EfficientNetLite0
from training.models.localising import FILE, LocalisingEfficientNetLite0, with_map_head
from training.models.output import normalised
from training.report import settings_of
from training.scores import averaged

BATCH = 24
RATE = 2e-3
#: Share of the photos that stay as they are: their map must be low everywhere.
UNTOUCHED = 0.2
#: Share of the photos that are compressed after the blend.
COMPRESSED = 0.4
Batch = tuple[Tensor, Tensor]
_LOG = logging.getLogger(__name__)


class Blends(IterableDataset[Batch]):
    """Endless batches: crops uint8 [n, 3, s, s] and masks float32 [n, s/8, s/8], 0..1 with the largest at 1."""

    def __init__(self, cache: PhotoCache, items: npt.NDArray[np.int64], size: int, margin: float, seed: int) -> None:
        super().__init__()
        self._cache, self._items, self._size, self._margin, self._seed = cache, items, size, margin, seed

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self._seed, worker.id if worker else 0])
        while True:
            pairs = [self._one(int(rng.choice(self._items)), rng) for _ in range(BATCH)]
            crops = np.stack([crop for crop, _ in pairs]).transpose(0, 3, 1, 2)
            yield torch.from_numpy(np.ascontiguousarray(crops)), torch.from_numpy(np.stack([mask for _, mask in pairs]))

    def _one(self, item: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        photo, points = np.ascontiguousarray(self._cache.photo(item)), self._cache.landmarks[item]
        mask = np.zeros((self._size // 8, self._size // 8), np.float32)
        if rng.random() >= UNTOUCHED:
            drawn = draw_mask(training_kind(rng), rng)
            photo = blended_with(photo, points, drawn, rng)
            mask = mask_in_crop(drawn, self._size // 8, self._margin)
            mask = mask / max(float(mask.max()), 1e-6)
        if rng.random() < COMPRESSED:
            photo = recode(photo, ".jpg", int(rng.integers(50, 96)))
        return align_faces(photo, points[None], self._size, self._margin)[0], mask


def map_loss(answer: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of each cell, the changed and the unchanged cells of a face weighing alike.

    Args:
        answer: log-odds [n, h, w]; masks: [n, h, w] in 0..1. A face without a mask counts by its unchanged cells.
    """
    entropy = functional.binary_cross_entropy_with_logits(answer, masks, reduction="none")
    changed = masks.mean(dim=(1, 2), keepdim=True)
    weight = masks / changed.clamp_min(0.01) + (1 - masks) / (1 - changed).clamp_min(0.01)
    return (entropy * weight).mean() / 2


def train_head(
    backbone: EfficientNetLite0,
    cache: PhotoCache,
    items: npt.NDArray[np.int64],
    size: int,
    margin: float,
    minutes: float,
    seed: int = 1,
    loaders: int = 1,
    start: Mapping[str, Tensor] | None = None,
) -> LocalisingEfficientNetLite0:
    """Train the head on the photos ``items`` for some minutes and return the network with it.

    ``start`` holds weights of an earlier head (of the same backbone or one near it) to go on from.
    """
    torch.manual_seed(seed)
    model = LocalisingEfficientNetLite0()
    model.load_state_dict(backbone.state_dict(), strict=False)
    if start is not None:
        model.map_head.load_state_dict(start)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.map_head.requires_grad_(True).train()
    optimiser = torch.optim.AdamW(model.map_head.parameters(), lr=RATE, weight_decay=0.01)
    loader = DataLoader(Blends(cache, items, size, margin, seed), batch_size=None, num_workers=loaders)
    began, limit, recent = time.monotonic(), minutes * 60, 0.0
    for step, (crops, masks) in enumerate(loader):
        progress = min(1.0, (time.monotonic() - began) / limit)
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * progress))
        with torch.no_grad():
            x = normalised(crops.to(device))
            _, maps = model.maps(x)
        loss = map_loss(model.map_head(x, maps), masks.to(device))
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        recent += loss.item()
        if step % 50 == 49:
            _LOG.info("step %d, %.0f %%, loss %.4f", step + 1, 100 * progress, recent / 50)
            recent = 0.0
        if progress >= 1.0:
            break
    return with_map_head(backbone, model.map_head.cpu().state_dict())


def main(arguments: list[str] | None = None) -> int:
    """Train the head of a run and write it beside the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, with last.pt in it")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--loaders", type=int, default=1, help="processes that make blends")
    parser.add_argument("--start", type=Path, help="heatmap.pt of an earlier run to go on from")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(0)
    keep_memory()
    cache = load_cache(options.cache / "photos")
    settings, _ = settings_of(options.run / "last.pt")
    reals = np.array([row.label for row in cache.rows]) == 0
    items = np.flatnonzero(training_photos(cache, settings) & reals)
    backbone = averaged(options.run / "last.pt")
    if not isinstance(backbone, EfficientNetLite0):
        raise SystemExit(f"{options.run.name} holds a {type(backbone).__name__}: only frame_cnn has such a head")
    start = torch.load(options.start, map_location="cpu", weights_only=True) if options.start else None
    geometry = (settings.size, settings.margin)
    model = train_head(backbone, cache, items, *geometry, options.minutes, loaders=options.loaders, start=start)
    save_state(options.run / FILE, model.map_head.state_dict())
    return 0


if __name__ == "__main__":
    sys.exit(main())
