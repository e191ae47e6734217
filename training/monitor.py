"""How well a network tells photos apart that its run does not see, while it trains."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import nn

from pipelines.metrics import auc
from training.crops import crops_of, logits_of
from training.data.cache import PhotoCache
from training.data.sources import PAIRS, WATCHED
from training.settings import Settings


class Monitor:
    """AUC of each source pair on photos that the run does not see, and the watched kinds against all held-out reals."""

    def __init__(self, cache: PhotoCache, unseen: npt.NDArray[np.bool_], settings: Settings) -> None:
        sources = np.array([row.source for row in cache.rows])
        self.labels = np.array([row.label for row in cache.rows])
        items = np.flatnonzero(unseen)
        self.crops = crops_of(cache, items, settings.size, settings.margin)
        self.sources, self.labels = sources[items], self.labels[items]

    def measure(self, model: nn.Module) -> dict[str, float]:
        """AUC by the name of a pair, or ``watched:`` and the source; left out where one class is missing."""
        scores = logits_of(model, self.crops)
        result = {}
        for group in PAIRS:
            fakes = (self.labels == 1) & np.isin(self.sources, [s for s in group.fakes if s not in WATCHED])
            chosen = fakes | ((self.labels == 0) & np.isin(self.sources, group.reals))
            result[group.name] = auc(scores[chosen], self.labels[chosen])
        for name in WATCHED:
            chosen = (self.labels == 0) | (self.sources == name)
            result[f"watched:{name}"] = auc(scores[chosen], self.labels[chosen])
        return {name: round(value, 4) for name, value in result.items() if np.isfinite(value)}
