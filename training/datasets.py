"""What Lightning is fed with: batches of items (``training.items``) in an order that a resumed run goes on with.

An item is drawn by (epoch, position), and everything random about it comes from a generator that is seeded with the
run's seed and these two. The sampler begins where the trainer's step stands, so a run that is resumed sees the very
batches that it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from training.items import Item, Items
from training.settings import FitSettings


class Drawn(Dataset[Item]):
    """Items by (epoch, place)."""

    def __init__(self, items: Items, seed: int, augment: bool) -> None:
        self.items, self.seed, self.augment = items, seed, augment

    def __len__(self) -> int:
        return len(self.items.labels)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, place = key
        rng = np.random.default_rng([self.seed, epoch, place]) if self.augment else None
        return {**self.items.item(place, rng), "label": np.asarray(self.items.labels[place])}

    def batch(self, places: Iterable[int], device: torch.device) -> dict[str, torch.Tensor]:
        """Items of the first epoch, each name stacked along a first axis."""
        drawn = [self[(0, place)] for place in places]
        return {name: torch.from_numpy(np.stack([each[name] for each in drawn])).to(device) for name in drawn[0]}


class StepBatches(Sampler[list[tuple[int, int]]]):
    """Batches of one epoch as (epoch, place), from the step on which the trainer stands to the epoch's end.

    Args:
        count: items; size: items in a batch of all processes together; an epoch is cut into near-equal batches.
        step: steps done so far in the whole run.
        rank, world: this process takes every ``world``-th item of a batch.
    """

    def __init__(
        self, count: int, size: int, seed: int, step: Callable[[], int], rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.seed, self.step, self.rank, self.world = count, seed, step, rank, world
        self.batches = max(1, round(count / size))

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, first = divmod(self.step(), self.batches)
        order = np.random.default_rng([self.seed, epoch]).permutation(self.count)
        for batch in np.array_split(order, self.batches)[first:]:
            mine = batch[self.rank :: self.world]
            yield [(epoch, int(place)) for place in (mine if len(mine) > 1 else batch)]


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)  # its thread pool does not survive the fork of a loader
    torch.set_num_threads(1)


class TrainingData(LightningDataModule):
    """Training and validation items of one network.

    Args:
        train: items to learn from; val: items that choose the epoch.
        settings: batch size, seed, augmentation, workers.
    """

    def __init__(self, train: Items, val: Items, settings: FitSettings) -> None:
        super().__init__()
        if not len(train.labels):
            raise ValueError("there is nothing to train on")
        if len(np.unique(val.labels)) < 2:
            raise ValueError("validation needs real and fake items")
        self.train, self.val, self.settings = train, val, settings

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimiser in an epoch."""
        return len(self._sampler())

    def _sampler(self) -> StepBatches:
        trainer = self.trainer
        world = 1 if trainer is None else trainer.world_size
        return StepBatches(
            len(self.train.labels),
            self.settings.step_items * world,
            self.settings.seed,
            (lambda: 0) if trainer is None else (lambda: trainer.global_step),
            0 if trainer is None else trainer.global_rank,
            world,
        )

    def plain_batches(self, most: int = 256) -> Iterator[torch.Tensor]:
        """``x`` of at most so many training items, evenly chosen, as serving would see them."""
        dataset, count = Drawn(self.train, 0, False), len(self.train.labels)
        places = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
        for start in range(0, len(places), 32):
            drawn = [dataset[(0, int(place))]["x"] for place in places[start : start + 32]]
            yield torch.from_numpy(np.stack(drawn))

    def train_dataloader(self) -> DataLoader[Item]:
        """Augmented training items."""
        dataset = Drawn(self.train, self.settings.seed, self.settings.use_augmentation)
        return self._loader(dataset, self._sampler())

    def val_dataloader(self) -> DataLoader[Item]:
        """Validation items as serving would see them; each process takes its share."""
        rank, world = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        count, size = len(self.val.labels), self.settings.batch_size
        mine = range(rank, count, world) if count >= world else range(count)
        batches = [[(0, place) for place in mine[start : start + size]] for start in range(0, len(mine), size)]
        return self._loader(Drawn(self.val, 0, False), batches)

    def _loader(self, dataset: Drawn, batches: Any) -> DataLoader[Item]:
        workers = self.settings.workers
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            worker_init_fn=_one_thread,
            collate_fn=default_collate,
            persistent_workers=False,
            pin_memory=torch.cuda.is_available(),
        )
