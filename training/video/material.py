"""Clips as training material on a device: embeddings or crops of the main face of each, drawn as augmented batches.

Everything lies on the device in half precision or as bytes (a few hundred clips are some hundred megabytes), and what
happens to a clip happens there, so that training costs a processor next to nothing. A folder holds one for machines
without the data: ``clips.npz`` with the embeddings and ``crops.npz`` with WebP pictures (``write_parcel``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.video.sequences import stretched
from training.data.manifest import Row
from training.models.output import CLIP_FRAMES, normalised

if TYPE_CHECKING:
    from training.video.table import Clip

PICTURE = 128
"""Side of a picture as ``hybrid`` takes it."""
QUALITY = 92
"""Of WebP in a parcel."""
Half = npt.NDArray[np.float16]
Bytes = npt.NDArray[np.uint8]


class Disturbance(Protocol):
    """What :class:`training.video.sequence.SequenceSettings` says of augmentation."""

    @property
    def left_out(self) -> float: ...
    @property
    def tremble(self) -> float: ...
    @property
    def flicker(self) -> float: ...


class Material(Protocol):
    """Clips of which a network can be fed."""

    def batch(
        self, chosen: Tensor, truth: Tensor, told: Disturbance, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Disturbed inputs of the chosen clips, their mask float [n, t], and their labels (some reals become fakes)."""
        ...

    def whole(self, place: int) -> tuple[Tensor, Tensor]:
        """A clip as serving would feed it: inputs of its stretches and their mask."""
        ...


def hidden_frames(there: Tensor, left_out: float, rng: torch.Generator) -> Tensor:
    """Mask float [n, t] in which frames that are there were left out, never all; the share differs by clip."""
    count, frames = there.shape
    share = torch.rand(count, 1, generator=rng, device=there.device) * left_out
    drawn = torch.rand(count, frames, generator=rng, device=there.device)
    # The frame that drew the most stays in any case.
    best = torch.where(there, drawn, -1.0).argmax(dim=1, keepdim=True)
    kept = (drawn >= share).scatter(1, best, True)
    return (kept & there).float()


@dataclass(frozen=True)
class Embedded:
    """Embeddings of clips.

    Attributes:
        rows: float16 [n, longest, d], zeros behind a clip's end; counts: int64 [n]; spread: [n], their deviation.
    """

    rows: Tensor
    counts: Tensor
    spread: Tensor

    @staticmethod
    def of(embeddings: Sequence[Half], device: torch.device | str = "cpu") -> Embedded:
        """From float16 [k, d] of each clip."""
        counts = [len(each) for each in embeddings]
        rows = torch.zeros(len(counts), max(counts), embeddings[0].shape[1], dtype=torch.float16)
        for place, each in enumerate(embeddings):
            rows[place, : len(each)] = torch.from_numpy(np.asarray(each, np.float16))
        spread = torch.tensor([float(each.astype(np.float32).std()) for each in embeddings])
        return Embedded(rows.to(device), torch.tensor(counts, device=device), spread.to(device))

    def batch(
        self, chosen: Tensor, truth: Tensor, told: Disturbance, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A stretch of each clip, forwards or backwards; frames are left out and features tremble.

        A share ``flicker`` of the reals gets, in some frames, part of another real clip's face: a fake whose identity
        does not hold still.
        """
        device = self.rows.device
        room = (self.counts[chosen] - CLIP_FRAMES + 1).clamp(min=1)
        starts = (torch.rand(len(chosen), generator=rng, device=device) * room).long()
        steps = torch.arange(CLIP_FRAMES, device=device)
        places = starts[:, None] + steps
        there = places < self.counts[chosen][:, None]
        x = self.rows[chosen[:, None], places.clamp(max=self.rows.shape[1] - 1)].float()
        if told.flicker:
            x, truth = self._flickering(x, truth, told.flicker, rng)
        noise = torch.randn(x.shape, generator=rng, device=device)
        x = x + told.tremble * self.spread[chosen][:, None, None] * noise
        mask = hidden_frames(there, told.left_out, rng)
        backwards = torch.rand(len(chosen), generator=rng, device=device) < 0.5
        x = torch.where(backwards[:, None, None], x.flip(1), x)
        mask = torch.where(backwards[:, None], mask.flip(1), mask)
        return x * mask[:, :, None], mask, truth

    @staticmethod
    def _flickering(x: Tensor, truth: Tensor, share: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        reals = (truth < 0.5).nonzero()[:, 0]
        if len(reals) < 2:
            return x, truth
        picked = torch.rand(len(reals), generator=rng, device=x.device) < share
        others, own = reals.roll(1)[picked], reals[picked]
        mixed = torch.rand(len(own), x.shape[1], 1, generator=rng, device=x.device)
        mixed = torch.where(torch.rand(mixed.shape, generator=rng, device=x.device) < 0.5, mixed, 0.0)
        x, truth, before = x.clone(), truth.clone(), x
        x[own] = (1 - mixed) * before[own] + mixed * before[others]
        truth[own] = 1.0
        return x, truth

    def whole(self, place: int) -> tuple[Tensor, Tensor]:
        """All stretches."""
        told, mask = stretched(self.rows[place, : int(self.counts[place])].cpu().numpy(), CLIP_FRAMES)
        return torch.from_numpy(told).to(self.rows.device), torch.from_numpy(mask).to(self.rows.device)


@dataclass(frozen=True)
class Pictures:
    """Crops of clips, frames evenly chosen: uint8 [n, t, 3, s, s], and which are there, bool [n, t]."""

    crops: Tensor
    there: Tensor

    @staticmethod
    def of(clips: Sequence[Bytes], device: torch.device | str = "cpu") -> Pictures:
        """From uint8 [k, s, s, 3] of each clip; k is at most ``CLIP_FRAMES``."""
        side = clips[0].shape[1]
        crops = torch.zeros(len(clips), CLIP_FRAMES, 3, side, side, dtype=torch.uint8)
        there = torch.zeros(len(clips), CLIP_FRAMES, dtype=torch.bool)
        for place, each in enumerate(clips):
            crops[place, : len(each)] = torch.from_numpy(np.ascontiguousarray(each.transpose(0, 3, 1, 2)))
            there[place, : len(each)] = True
        return Pictures(crops.to(device), there.to(device))

    def batch(
        self, chosen: Tensor, truth: Tensor, told: Disturbance, rng: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Clips that were moved, mirrored, coloured, made coarser and noisy, each as one recording is."""
        device = self.crops.device
        x = self.crops[chosen].float() / 255
        count, frames, _, side, _ = x.shape

        def drawn(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(count, generator=rng, device=device)

        angle, zoom, mirror = drawn(-0.1, 0.1), drawn(0.92, 1.08), torch.where(drawn(0, 1) < 0.5, -1.0, 1.0)
        sine, cosine = zoom * torch.sin(angle), zoom * torch.cos(angle)
        upper = torch.stack([cosine * mirror, -sine, drawn(-0.06, 0.06)], dim=1)
        lower = torch.stack([sine * mirror, cosine, drawn(-0.06, 0.06)], dim=1)
        grid = functional.affine_grid(torch.stack([upper, lower], dim=1), [count, 3, side, side], align_corners=False)
        flat = functional.grid_sample(
            x.flatten(1, 2), grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )
        x = flat.reshape(count, frames, 3, side, side)
        coarse = drawn(0.45, 1.6).clamp(max=1.0).tolist()
        x = torch.stack([_coarser(clip, share) for clip, share in zip(x, coarse, strict=True)])
        gains = 1 + 0.06 * torch.randn(count, 1, 3, 1, 1, generator=rng, device=device)
        x = x.clamp(min=1e-4) ** drawn(0.75, 1.33).reshape(-1, 1, 1, 1, 1) * gains
        grain = drawn(-0.04, 0.03).clamp(min=0).reshape(-1, 1, 1, 1, 1)
        x = (x + grain * torch.randn(x.shape, generator=rng, device=device)).clamp(0, 1)
        mask = hidden_frames(self.there[chosen], told.left_out, rng)
        return normalised(x * 255), mask, truth

    def whole(self, place: int) -> tuple[Tensor, Tensor]:
        """The one stretch that there is."""
        return normalised(self.crops[place][None]), self.there[place][None].float()


def _coarser(clip: Tensor, share: float) -> Tensor:
    """Shrunk to a share of its side and enlarged again, [t, 3, s, s]."""
    if share >= 0.98:
        return clip
    side = clip.shape[-1]
    small = functional.interpolate(clip, size=max(16, round(side * share)), mode="area")
    return functional.interpolate(small, size=side, mode="bilinear", align_corners=False)


def pictures_of(clips: Sequence[Clip], cache: Path) -> list[Bytes]:
    """Evenly chosen crops of the main face of each clip, uint8 [k, 128, 128, 3]."""
    # Only here: watching clips needs a video decoder, which a machine that trains on a parcel may lack.
    from training.video.clips import clip_file, read_clip
    from training.video.table import main_track

    found = []
    for clip in clips:
        watched = read_clip(clip_file(cache / "video" / "clips", clip.row))
        crops = watched.crops[main_track(watched.tracks)]
        chosen = np.linspace(0, len(crops) - 1, min(CLIP_FRAMES, len(crops))).round().astype(int)
        sized = [cv2.resize(crops[place], (PICTURE, PICTURE), interpolation=cv2.INTER_AREA) for place in chosen]
        found.append(np.asarray(np.stack(sized), np.uint8))
    return found


@dataclass(frozen=True)
class Parcel:
    """What training needs of the clips.

    Attributes:
        rows: of the manifest; identities: what each must stay together with.
        embeddings: float16 [k, d] of each clip, by the network that they are of; pictures: uint8 of each clip.
        weights: sha256 of the weights of these networks.
    """

    rows: tuple[Row, ...]
    identities: tuple[frozenset[str], ...]
    embeddings: dict[str, list[Half]]
    pictures: list[Bytes]
    weights: dict[str, str]

    @staticmethod
    def of(clips: Sequence[Clip], weights: Mapping[str, str], cache: Path | None = None) -> Parcel:
        """Of watched and scored clips; with their pictures where the cache is named."""
        return Parcel(
            tuple(clip.row for clip in clips),
            tuple(clip.identities for clip in clips),
            {name: [clip.embeddings[name] for clip in clips] for name in clips[0].embeddings},
            pictures_of(clips, cache) if cache else [],
            dict(weights),
        )

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """1 for a fake, [n]."""
        return np.array([row.label for row in self.rows], dtype=np.int64)


def write_parcel(folder: Path, parcel: Parcel) -> None:
    """Write ``clips.npz`` and, where there are pictures, ``crops.npz``."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {**asdict(row), "identities": sorted(row.identities), "together": sorted(together)}
        for row, together in zip(parcel.rows, parcel.identities, strict=True)
    ]
    columns = {f"of_{name}": np.concatenate(each) for name, each in parcel.embeddings.items()}
    first = next(iter(parcel.embeddings.values()))
    np.savez_compressed(
        folder / "clips.npz",
        rows=np.frombuffer(json.dumps(rows).encode(), np.uint8),
        weights=np.frombuffer(json.dumps(parcel.weights).encode(), np.uint8),
        counts=np.array([len(each) for each in first]),
        **columns,
    )
    if parcel.pictures:
        coded = [_coded(picture) for clip in parcel.pictures for picture in clip]
        np.savez(
            folder / "crops.npz",
            counts=np.array([len(clip) for clip in parcel.pictures]),
            sizes=np.array([len(each) for each in coded]),
            coded=np.concatenate(coded),
        )


def _coded(picture: Bytes) -> Bytes:
    done, coded = cv2.imencode(".webp", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    if not done:
        raise ValueError("OpenCV cannot encode WebP")
    return np.asarray(coded, np.uint8).reshape(-1)


def read_parcel(folder: Path) -> Parcel:
    """Read what :func:`write_parcel` wrote."""
    with np.load(folder / "clips.npz") as told:
        rows, weights = json.loads(told["rows"].tobytes()), json.loads(told["weights"].tobytes())
        ends = np.cumsum(told["counts"])[:-1]
        embeddings = {
            name.removeprefix("of_"): np.split(told[name], ends) for name in told.files if name.startswith("of_")
        }
    pictures: list[Bytes] = []
    if (folder / "crops.npz").is_file():
        with np.load(folder / "crops.npz") as told:
            parts = np.split(told["coded"], np.cumsum(told["sizes"])[:-1])
            decoded = [cv2.cvtColor(cv2.imdecode(part, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) for part in parts]
            pictures = [
                np.asarray(clip, np.uint8) for clip in np.split(np.stack(decoded), np.cumsum(told["counts"])[:-1])
            ]
    identities = tuple(frozenset(row.pop("together")) for row in rows)
    kept = tuple(Row(**{**row, "identities": tuple(row["identities"])}) for row in rows)
    return Parcel(kept, identities, embeddings, pictures, weights)
