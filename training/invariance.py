"""Take out of a photo network what damage does to its scores: ``python -m training.invariance OUT RUN``.

Compression, blur and small pictures move the scores of real photos up, so that one threshold for all is strict where
nothing happened. How far a score was moved is told by the embedding, in part, by ridge regression; that line is taken
away from the last layer, which costs nothing when it is served. That it tells the damage and not the class is a matter
of its examples: every real photo goes through a damage, some fake goes through the same, and both are to tell how far
the *real* one's score was moved.

RUN is a folder with ``last.pt`` (``training.train``, or ``training.unfold`` for shipped weights); OUT gets its
``last.pt`` with another last layer, and the heat-map head as it is.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from training.augment import apply_damage, draw_damage
from training.checkpoints import save_state
from training.crops import crops_of
from training.data.cache import PhotoCache, load_cache
from training.data.photo_split import training_photos
from training.memory import keep_memory
from training.models.localising import FILE
from training.models.output import normalised
from training.models.registry import read_checkpoint
from training.report import settings_of
from training.settings import Settings

PHOTOS, RIDGE, BATCH = 6000, 1.0, 64
_LOG = logging.getLogger(__name__)
Floats = npt.NDArray[np.float64]
Embedded = tuple[npt.NDArray[np.float32], Floats]


def shift_line(
    x: npt.NDArray[np.float32], moved: Floats, labels: npt.NDArray[np.int64], ridge: float = RIDGE
) -> tuple[Floats, float]:
    """Weight [f] and bias of the line that tells how far damage moved a score.

    Args:
        x: [n, f], embeddings of damaged items, real and fake.
        moved: [n], how far the damage moved the score of the real item that went the same way.
        labels: [n], 1 fake; each class counts alike.
        ridge: penalty on the squared weights of standardised features.

    Raises:
        ValueError: one class is missing.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("real and fake items are needed: of one class the line would tell the class")
    mass = np.where(labels == 1, 0.5 / (labels == 1).sum(), 0.5 / (labels == 0).sum())
    middle = mass @ x
    scale = 1 / np.sqrt(mass @ (x - middle) ** 2 + 1e-6)
    z = (x - middle) * scale
    pull = (z * mass[:, None]).T
    slope = np.linalg.solve(pull @ z + ridge * np.eye(z.shape[1]), pull @ (moved - mass @ moved)) * scale
    return slope, float(mass @ moved - middle @ slope)


@torch.inference_mode()
def embedded(model: nn.Module, crops: npt.NDArray[np.uint8]) -> Embedded:
    """Embeddings float32 [n, f] and raw logits [n] of crops uint8 [n, s, s, 3]."""
    embeddings, logits = [], []
    for start in range(0, len(crops), BATCH):
        told = model(normalised(torch.from_numpy(crops[start : start + BATCH]).permute(0, 3, 1, 2)))
        embeddings.append(told.embedding.numpy())
        logits.append(told.logit[:, 0].double().numpy())
    return np.concatenate(embeddings), np.concatenate(logits)


def drawn_photos(
    cache: PhotoCache, settings: Settings, label: int, count: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Photos of a class that the run may be trained on, sources by the square root of their size."""
    labels, sources = np.array([row.label for row in cache.rows]), np.array([row.source for row in cache.rows])
    some = np.flatnonzero((labels == label) & training_photos(cache, settings))
    sizes = {name: np.sqrt((sources[some] == name).sum()) for name in np.unique(sources[some])}
    mass = np.array([1 / sizes[name] for name in sources[some]])
    return rng.choice(some, count, replace=len(some) < count, p=mass / mass.sum())


def damaged(
    cache: PhotoCache, items: npt.NDArray[np.int64], first: int, size: int, margin: float
) -> npt.NDArray[np.uint8]:
    """Crops of photos, each through a damage of its own: that of its place, counted from ``first``."""
    return np.stack(
        [
            apply_damage(
                np.ascontiguousarray(cache.photo(item)),
                cache.landmarks[item],
                draw_damage(np.random.default_rng([9, first + place])),
                size,
                margin,
            )
            for place, item in enumerate(items.tolist())
        ]
    )


def line_of_damage(model: nn.Module, cache: PhotoCache, settings: Settings, photos: int) -> tuple[Floats, float]:
    """The line for the network of a run with these settings."""
    rng, size, margin = np.random.default_rng(5), settings.size, settings.margin
    reals, fakes = (drawn_photos(cache, settings, label, photos, rng) for label in (0, 1))
    xs, moved, labels, began = [], [], [], time.monotonic()
    for start in range(0, photos, 500):
        some = slice(start, start + 500)
        _, clean = embedded(model, crops_of(cache, reals[some], size, margin))
        x, logits = embedded(model, damaged(cache, reals[some], start, size, margin))
        others, _ = embedded(model, damaged(cache, fakes[some], start, size, margin))
        xs += [x, others]
        moved += [logits - clean] * 2
        labels += [np.zeros(len(x), np.int64), np.ones(len(x), np.int64)]
        done = min(photos, start + 500)
        left = (time.monotonic() - began) * (photos - done) / done
        _LOG.info("%d of %d pairs, %.0f s left", done, photos, left)
    told = np.concatenate(moved)
    _LOG.info("damage moves a real photo by %.2f, give or take %.2f", told.mean(), told.std())
    return shift_line(np.concatenate(xs), told, np.concatenate(labels))


def main(arguments: list[str] | None = None) -> int:
    """Fit the line and write the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--photos", type=int, default=PHOTOS, help="of each class")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    keep_memory()
    checkpoint = options.run / "last.pt"
    _, model, _ = read_checkpoint(checkpoint)
    settings, _ = settings_of(checkpoint)
    photos = load_cache(options.cache / "photos")
    slope, bias = line_of_damage(model, photos, settings, options.photos)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    average = state["average"]
    average["classifier.weight"] -= torch.from_numpy(slope)[None].to(average["classifier.weight"])
    average["classifier.bias"] -= bias
    options.out.mkdir(parents=True, exist_ok=True)
    save_state(options.out / "last.pt", state)
    if (options.run / FILE).is_file():
        shutil.copy2(options.run / FILE, options.out / FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
