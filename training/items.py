"""What a network takes as labelled items: face crops, sequences of embeddings, and clips.

Everything random about an item comes from the generator that it is drawn with; without one it is what serving sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.image.align import align_faces, template
from training.augment import Damage, apply_damage, draw_damage
from training.data.cache import PhotoCache

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
