"""Batches of pairs: a real crop and a fake crop that went through the same damage.

Batch ``k`` depends on the seed and ``k`` alone, so a run can be resumed and repeated.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from pipelines.image.align import align_faces, face_sizes, similarities
from training.augment import apply_damage, draw_damage
from training.data.cache import PhotoCache
from training.data.face_blends import face_swapped, landmark_blended
from training.data.sources import PAIRS, SourcePair
from training.data.style import partners
from training.data.traces import spectral_peaks, upsampled
from training.pseudofakes import cross_blended, part_replaced, self_blended

Pixels = npt.NDArray[np.uint8]
CANDIDATES = 12
"""Reals drawn beside a labelled fake; the one that is most alike in sharpness and size is taken."""
GIVERS = 40
"""Reals drawn beside one whose face is swapped; the one that is posed most alike gives its face."""
KINDS = (
    *("labelled", "reconstructed", "self_blended", "part_reconstructed", "cross_blended"),
    *("landmark_blended", "face_swapped", "upsampled", "spectral_peaks"),
)
"""Kinds of pairs by their number; all but the first are made from a real photo and have a share in ``Mixture``."""


@dataclass(frozen=True)
class Mixture:
    """Shares of the kinds of pairs; what is left goes to the labelled ones.

    ``clean`` is the share without damage, ``video_frames`` and ``screenshots`` are shares of the others with that
    damage (``training.augment.draw_damage``). The shipped networks' records name the defaults: a share that was added
    later is 0 there, and a share of 0 draws nothing.
    """

    reconstructed: float = 0.16
    self_blended: float = 0.11
    part_reconstructed: float = 0.06
    cross_blended: float = 0.05
    clean: float = 0.0
    landmark_blended: float = 0.0
    face_swapped: float = 0.0
    upsampled: float = 0.0
    spectral_peaks: float = 0.0
    video_frames: float = 0.0
    screenshots: float = 0.0

    @property
    def shares(self) -> list[float]:
        """Of each of ``KINDS``, the labelled first."""
        made = [float(getattr(self, kind)) for kind in KINDS[1:]]
        return [1 - sum(made), *made]


def crop_sharpness(cache: PhotoCache, size: int = 160, margin: float = 1.3) -> npt.NDArray[np.float64]:
    """Logarithm of the Laplacian's variance over each aligned crop, float64 [n]."""
    values = np.zeros(len(cache))
    for item in range(len(cache)):
        crop = align_faces(np.ascontiguousarray(cache.photo(item)), cache.landmarks[item][None], size, margin)[0]
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        values[item] = np.log(cv2.Laplacian(grey, cv2.CV_64F).var() + 1.0)
    return values


def recoloured(
    photo: Pixels, points: npt.NDArray[np.float32], like: Pixels, like_points: npt.NDArray[np.float32]
) -> Pixels:
    """A photo whose face takes the mean and spread of another's in L*a*b* (Reinhard et al., 2001), uint8 [h, w, 3].

    Light and colour grading are a gallery's manner, not a trace of its generator.
    """

    def face(pixels: Pixels, marks: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        crop = align_faces(np.ascontiguousarray(pixels), marks[None], 48, 1.0)[0]
        values = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float64)
        return np.stack([values.mean(axis=0), values.std(axis=0) + 1.0])

    (mean, spread), (wanted, width) = face(photo, points), face(like, like_points)
    gain = np.clip(width / spread, 0.6, 1.6)
    levels = np.arange(256)[:, None]
    table = np.clip((levels - mean) * gain + wanted, 0, 255).round().astype(np.uint8)
    changed = cv2.LUT(cv2.cvtColor(np.ascontiguousarray(photo), cv2.COLOR_RGB2LAB), table[None])
    return np.asarray(cv2.cvtColor(changed, cv2.COLOR_LAB2RGB), dtype=np.uint8)


class Reconstructions:
    """Photos that went through an autoencoder, by the position of their original in the cache."""

    def __init__(self, folder: Path) -> None:
        self._pixels: list[Pixels] = []
        self.positions: dict[int, list[tuple[int, int]]] = {}
        for file in sorted(folder.glob("[0-9][0-9][0-9].npz")):
            with np.load(file) as shard:
                for place, index in enumerate(shard["index"]):
                    self.positions.setdefault(int(index), []).append((len(self._pixels), place))
                self._pixels.append(shard["pixels"])

    def photo(self, index: int, shape: Sequence[int], rng: np.random.Generator | None = None) -> Pixels:
        """A reconstruction of the photo at ``index`` of the cache, which has this shape; without ``rng`` the first."""
        known = self.positions[index]
        shard, place = known[0 if rng is None else int(rng.integers(len(known)))]
        return self._pixels[shard][place, : shape[0], : shape[1]]


class PairBatches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Item ``k`` is batch ``k``: uint8 [2p, 3, s, s] (p reals, then their p fakes) and the kind of each pair [p]."""

    def __init__(
        self,
        cache: PhotoCache,
        chosen: npt.NDArray[np.bool_],
        reconstructions: Reconstructions,
        size: int,
        margin: float,
        pairs: int,
        batches: int,
        seed: int,
        mixture: Mixture | None = None,
        groups: Sequence[SourcePair] = PAIRS,
        styles: npt.NDArray[np.float16] | None = None,
    ) -> None:
        self.cache, self.size, self.margin = cache, size, margin
        self.pairs, self.batches, self.seed = pairs, batches, seed
        self.mixture = mixture or Mixture()
        self.reconstructions = reconstructions
        self.face_sizes = face_sizes(cache.landmarks)
        aligned = similarities(cache.landmarks, 1, 1.0)
        #: Landmarks in the aligned unit square, [n, 5, 2]: what is left is pose and proportions.
        self.poses = cache.landmarks @ aligned[:, :, :2].transpose(0, 2, 1) + aligned[:, None, :, 2]
        self.clarity = np.column_stack([crop_sharpness(cache), 0.5 * np.log(np.maximum(self.face_sizes, 1.0))])
        labels = np.array([row.label for row in cache.rows])
        sources = np.array([row.source for row in cache.rows])

        def members(names: Sequence[str], label: int) -> list[npt.NDArray[np.int64]]:
            found = [np.flatnonzero(chosen & (labels == label) & (sources == name)) for name in names]
            return [items for items in found if len(items)]

        self.groups = []
        #: For fakes without an original: the reals that look most like each.
        self.partners: dict[int, npt.NDArray[np.int64]] = {}
        shares = []
        for group in groups:
            fakes, reals = members(group.fakes, 1), members(group.reals, 0)
            if fakes and reals:
                self.groups.append((fakes, reals))
                shares.append(group.share)
                if styles is not None and not group.matched:
                    self.partners |= partners(styles, np.concatenate(fakes), np.concatenate(reals))
        self.shares = np.array(shares) / np.sum(shares)
        self.reals = members(sorted(set(sources[labels == 0])), 0)
        self.rebuilt = [
            kept
            for items in self.reals
            if len(kept := np.array([i for i in items if i in reconstructions.positions], dtype=np.int64))
        ]

    def __len__(self) -> int:
        return self.batches

    def counts(self) -> tuple[int, int]:
        """How many fakes, and how many reals, the pairs are drawn from."""
        fakes = {int(item) for group, _ in self.groups for items in group for item in items}
        return len(fakes), sum(len(items) for items in self.reals)

    def only(self, fakes: npt.NDArray[np.int64]) -> PairBatches:
        """Labelled pairs of these fakes alone, beside the reals of their group.

        Raises:
            ValueError: no group has them.
        """
        result = copy.copy(self)
        result.groups = [
            ([fakes], reals) for sets, reals in self.groups if any(np.isin(fakes, items).all() for items in sets)
        ]
        if not result.groups:
            raise ValueError("no group of these pairs has the fakes")
        result.shares = np.ones(len(result.groups)) / len(result.groups)
        result.mixture = Mixture(0, 0, 0, 0, self.mixture.clean)
        return result

    @staticmethod
    def _pick(sets: list[npt.NDArray[np.int64]], rng: np.random.Generator) -> int:
        """One item; a set's chance grows with the square root of its size, so that small sources are heard."""
        weights = np.sqrt([len(items) for items in sets])
        items = sets[int(rng.choice(len(sets), p=weights / weights.sum()))]
        return int(rng.choice(items))

    def _giver(self, real: int, rng: np.random.Generator) -> int:
        """Of some drawn reals of other clusters the one whose face is posed most like this one's."""
        drawn = np.array([self._pick(self.reals, rng) for _ in range(GIVERS)])
        strangers = drawn[self.cache.clusters[drawn] != self.cache.clusters[real]]
        drawn = strangers if len(strangers) else drawn
        return int(drawn[np.abs(self.poses[drawn] - self.poses[real]).sum(axis=(1, 2)).argmin()])

    def _pseudo_fake(self, kind: str, real: int, rng: np.random.Generator) -> Pixels:
        """The photo at ``real`` as a fake of one of ``KINDS[1:]``."""
        original, points = self.cache.photo(real), self.cache.landmarks[real]
        if kind == "reconstructed":
            return self.reconstructions.photo(real, original.shape, rng)
        if kind == "part_reconstructed":
            rebuilt = self.reconstructions.photo(real, original.shape, rng)
            return part_replaced(original, rebuilt, points, rng)
        if kind == "self_blended":
            return self_blended(original, points, rng)
        if kind == "landmark_blended":
            return landmark_blended(original, points, rng)
        if kind == "upsampled":
            return upsampled(original, rng)
        if kind == "spectral_peaks":
            return spectral_peaks(original, rng)
        if kind == "cross_blended":
            other = self._pick(self.reals, rng)
            return cross_blended(original, points, self.cache.photo(other), self.cache.landmarks[other], rng)
        other = self._giver(real, rng)
        return face_swapped(original, points, self.cache.photo(other), self.cache.landmarks[other], rng)

    def pair(self, rng: np.random.Generator) -> tuple[Pixels, Pixels, int]:
        """One pair of crops and its kind, a place in ``KINDS``."""
        mix = self.mixture
        kind = int(rng.choice(len(KINDS), p=mix.shares))
        if "reconstructed" in KINDS[kind] and not self.rebuilt:
            kind = KINDS.index("self_blended")
        damage = draw_damage(rng, mix.clean, mix.video_frames, mix.screenshots)
        if kind == 0:
            fakes, reals = self.groups[int(rng.choice(len(self.groups), p=self.shares))]
            fake = self._pick(fakes, rng)
            alike = self.partners.get(fake)  # None where the fakes have originals of the same manner
            drawn = [self._pick(reals, rng) if alike is None else int(rng.choice(alike)) for _ in range(CANDIDATES)]
            # In some sets the fakes are blurrier than the reals, in others sharper: neither may tell the class.
            apart = np.abs(self.clarity[drawn] - self.clarity[fake]).sum(axis=1)
            real = drawn[int(np.argmin(apart))]
            photo, points = self.cache.photo(fake), self.cache.landmarks[fake]
            smaller = float(min(self.face_sizes[real], self.face_sizes[fake]))
        else:
            real = self._pick(self.rebuilt if "reconstructed" in KINDS[kind] else self.reals, rng)
            points, smaller = self.cache.landmarks[real], float(self.face_sizes[real])
            photo = self._pseudo_fake(KINDS[kind], real, rng)
        genuine_photo = self.cache.photo(real)
        if kind == 0 and alike is not None:
            # One of the two takes the other's colours, either way round, or both keep theirs.
            turn = int(rng.integers(3))
            if turn == 0:
                photo = recoloured(photo, points, genuine_photo, self.cache.landmarks[real])
            elif turn == 1:
                genuine_photo = recoloured(genuine_photo, self.cache.landmarks[real], photo, points)
        genuine = apply_damage(genuine_photo, self.cache.landmarks[real], damage, self.size, self.margin, smaller)
        forged = apply_damage(photo, points, damage, self.size, self.margin, smaller)
        return genuine, forged, kind

    def __getitem__(self, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, batch])
        drawn = [self.pair(rng) for _ in range(self.pairs)]
        crops = np.stack([pair[0] for pair in drawn] + [pair[1] for pair in drawn])
        return torch.from_numpy(crops).permute(0, 3, 1, 2), torch.tensor([pair[2] for pair in drawn])
