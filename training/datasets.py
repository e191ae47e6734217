"""What Lightning is fed with: face crops, sequences of embeddings, and clips.

An item is drawn by (epoch, position), and everything random about it comes from a generator that is seeded with the
run's seed and these two. The sampler begins where the trainer's step stands, so a run that is resumed sees the very
batches that it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from pipelines.image.align import align_faces, template
from training.augment import Damage, apply_damage, draw_damage
from training.data.cache import PhotoCache
from training.settings import FitSettings

Ints = npt.NDArray[np.int64]
Item = dict[str, npt.NDArray[Any]]
#: Share of the items that are only moved and mirrored.
CLEAN = 0.2


class Items(Protocol):
    """Labelled items of one kind."""

    @property
    def labels(self) -> Ints:
        """1 fake, 0 real."""
        ...

    def item(self, place: int, rng: np.random.Generator | None) -> Item:
        """``x`` (and ``mask``) of one item: augmented by the generator, or as serving sees it without one."""
        ...

    def subset(self, places: Ints) -> Items:
        """Some of the items."""
        ...


@dataclass(frozen=True)
class FaceCrops:
    """Aligned crops of cached photos: ``x`` is uint8 [3, size, size].

    Attributes:
        cache: photos with landmarks; places: which of them.
    """

    cache: PhotoCache
    places: Ints
    labels: Ints
    size: int
    margin: float = 1.3

    @staticmethod
    def of(cache: PhotoCache, size: int, margin: float = 1.3) -> FaceCrops:
        """Every photo of a cache."""
        labels = np.array([row.label for row in cache.rows], dtype=np.int64)
        return FaceCrops(cache, np.arange(len(labels)), labels, size, margin)

    def item(self, place: int, rng: np.random.Generator | None) -> Item:
        """One crop; both classes are damaged alike."""
        photo = np.ascontiguousarray(self.cache.photo(int(self.places[place])))
        points = self.cache.landmarks[self.places[place]]
        if rng is None:
            crop = align_faces(photo, points[None], self.size, self.margin)[0]
        else:
            crop = apply_damage(photo, points, draw_damage(rng, CLEAN), self.size, self.margin)
        return {"x": np.ascontiguousarray(crop.transpose(2, 0, 1))}

    def subset(self, places: Ints) -> FaceCrops:
        """Some of the crops."""
        return replace(self, places=self.places[places], labels=self.labels[places])


@dataclass(frozen=True)
class Sequences:
    """Embeddings of the frames of tracks: ``x`` float32 [t, d], ``mask`` float32 [t] with 1 for a frame that is there.

    Augmented by hiding up to half of the frames and by playing backwards.
    """

    embeddings: npt.NDArray[np.float32]
    mask: npt.NDArray[np.float32]
    labels: Ints

    def item(self, place: int, rng: np.random.Generator | None) -> Item:
        """One sequence; at least two frames stay, where there are two."""
        x, mask = self.embeddings[place], self.mask[place]
        if rng is not None:
            if rng.random() < 0.5:
                x, mask = x[::-1], mask[::-1]
            hidden = (rng.random(len(mask)) < rng.uniform(0, 0.5)) & (rng.random() < 0.5)
            if (mask * ~hidden).sum() >= min(2, mask.sum()):
                mask = mask * ~hidden
            x = x * mask[:, None]
        return {"x": np.array(x, np.float32), "mask": np.array(mask, np.float32)}

    def subset(self, places: Ints) -> Sequences:
        """Some of the sequences."""
        return Sequences(self.embeddings[places], self.mask[places], self.labels[places])


@dataclass(frozen=True)
class Clips:
    """Aligned crops of tracks: ``x`` uint8 [t, 3, size, size], ``mask`` float32 [t].

    Attributes:
        crops: uint8 [n, t, s, s, 3] cut with ``margin``; they may be mapped from disk.
        frames: length of a clip; longer tracks are thinned out evenly.
    """

    crops: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.float32]
    labels: Ints
    places: Ints
    size: int
    frames: int
    margin: float = 1.3

    @staticmethod
    def of(crops: npt.NDArray[np.uint8], mask: npt.NDArray[Any], labels: Ints, size: int, frames: int) -> Clips:
        """Every track of a cache."""
        return Clips(crops, np.asarray(mask, np.float32), labels, np.arange(len(labels)), size, frames)

    def item(self, place: int, rng: np.random.Generator | None) -> Item:
        """One clip; all its frames are damaged alike, as one recording is."""
        track = int(self.places[place])
        length = self.crops.shape[1]
        chosen = np.linspace(0, length - 1, min(self.frames, length)).round().astype(int)
        mask = self.mask[track][chosen]
        damage = None if rng is None else replace(draw_damage(rng, CLEAN), box=())
        clip = np.zeros((len(chosen), self.size, self.size, 3), np.uint8)
        for number, frame in enumerate(chosen):
            if mask[number]:
                clip[number] = self._frame(np.ascontiguousarray(self.crops[track, frame]), damage)
        return {"x": np.ascontiguousarray(clip.transpose(0, 3, 1, 2)), "mask": mask}

    def _frame(self, crop: npt.NDArray[np.uint8], damage: Damage | None) -> npt.NDArray[np.uint8]:
        if damage is None:
            if crop.shape[0] == self.size:
                return crop
            kind = cv2.INTER_AREA if crop.shape[0] > self.size else cv2.INTER_LINEAR
            return np.asarray(cv2.resize(crop, (self.size, self.size), interpolation=kind), np.uint8)
        points = template(crop.shape[0], self.margin).astype(np.float32)
        return apply_damage(crop, points, damage, self.size, self.margin)

    def subset(self, places: Ints) -> Clips:
        """Some of the clips."""
        return replace(self, places=self.places[places], labels=self.labels[places])


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
