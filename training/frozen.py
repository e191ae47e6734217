"""Fit ``imagenet_photos``: ``python -m training.frozen RUN``, a line through ImageNet's features on pairs of crops.

The pairs are those of ``training.train``: each fake beside its real, damaged alike. The line is ridge regression on
standardised features, solved once from sums over the crops, so that nothing is kept of a batch and no epoch is chosen.
``RUN/last.pt`` has the keys of ``training.train``.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, SequentialSampler, Subset

from training.checkpoints import save_state
from training.data.batches import batches_of
from training.data.photos import load_photos
from training.fusion import Floats
from training.memory import keep_memory
from training.models.imagenet_cnn import PHOTO_BLOCKS, pretrained
from training.models.output import normalised
from training.settings import Settings

NETWORK = "imagenet_photos"
SETTINGS = Settings(
    network=NETWORK,
    pairs=24,
    clean=0.25,
    reconstructed=0.2,
    self_blended=0.08,
    part_reconstructed=0.04,
    cross_blended=0.04,
    seed=3,
)
BATCHES = 300
RIDGE = 0.03
"""Of the features' correlations. On held-out photos 0.003 to 0.3 give the same."""
_LOG = logging.getLogger(__name__)


@dataclass
class Sums:
    """What a line needs of features [n, d] and classes: nothing else of them is kept."""

    width: int
    count: int = 0
    first: Floats = field(init=False)
    second: Floats = field(init=False)
    told: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.told = np.zeros(self.width), np.zeros(self.width)
        self.second = np.zeros((self.width, self.width))

    def add(self, features: Floats, classes: npt.NDArray[np.float64]) -> None:
        """Add features [n, d] with their classes [n], -1 for real and 1 for fake."""
        self.count += len(features)
        self.first += features.sum(axis=0)
        self.second += features.T @ features
        self.told += classes @ features

    def line(self, ridge: float = RIDGE) -> tuple[Floats, float]:
        """Weights [d] and bias of the line that is -1 at reals and 1 at fakes, which are equal in number."""
        mean = self.first / self.count
        covariance = self.second / self.count - np.outer(mean, mean)
        spread = np.sqrt(np.diag(covariance)) + 1e-9
        correlation = covariance / np.outer(spread, spread)
        answer = np.linalg.solve(correlation + ridge * np.eye(self.width), self.told / self.count / spread)
        return answer / spread, float(-(mean / spread) @ answer)


def fit_line(run: Path, settings: Settings, cache: Path, batches: int) -> Path:
    """Fit the line on so many batches and return its checkpoint."""
    keep_memory()
    cv2.setNumThreads(0)  # its thread pool does not survive the fork of the loader
    torch.set_num_threads(settings.threads)
    photos, styles = load_photos(cache, settings.stills)
    pairs = Subset(batches_of(photos, styles, cache, settings), range(batches))
    loader = DataLoader(pairs, batch_size=None, sampler=SequentialSampler(pairs), num_workers=settings.loaders)
    model = pretrained(PHOTO_BLOCKS).eval()
    sums, start = Sums(model.head.classifier.in_features), time.monotonic()
    classes = np.repeat([-1.0, 1.0], settings.pairs)
    for number, (crops, _kinds) in enumerate(loader, 1):
        with torch.inference_mode():
            sums.add(model(normalised(crops)).embedding.double().numpy(), classes)
        if number % 50 == 0:
            left = (time.monotonic() - start) / number * (batches - number)
            _LOG.info("batch %d of %d, %.0f s left", number, batches, left)
    model.set_line(*sums.line())
    run.mkdir(parents=True, exist_ok=True)
    state = {
        "average": model.state_dict(),
        "network": settings.network,
        "step": batches,
        "spent": time.monotonic() - start,
        "settings": json.dumps(asdict(settings)),
    }
    save_state(run / "last.pt", state)
    return run / "last.pt"


def main(arguments: list[str] | None = None) -> int:
    """Fit the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="what training.prepare wrote")
    parser.add_argument("--batches", type=int, default=BATCHES, help=f"of {SETTINGS.pairs} pairs")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _LOG.info("%s", fit_line(options.run, SETTINGS, options.cache, options.batches))
    return 0


if __name__ == "__main__":
    sys.exit(main())
