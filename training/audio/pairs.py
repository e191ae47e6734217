"""Windows of real clips and of their copies, held on the device that trains, and drawn as pairs.

Nothing here decodes sound: the windows come from ``training.audio.cuts``, either cut from the cache or read from a
pack, so that a machine with an accelerator and bare Python can train. One split stands aside for good: the families
``HELD`` and the speakers of share ``HELD_SPEAKERS`` are never trained on, so that what is shipped is what was measured.
"""

from __future__ import annotations

import itertools
import json
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.audio.windows import CELL, CELLS, SAMPLES
from training.audio.cache import VoiceCache, cache_of
from training.audio.manifest import read_rows

AGAINST = ("world", "griffin_lim", "own_flow")
"""Families that train lines of their own alone (``training.audio.kinds``), or nothing: phases from noise (Griffin-Lim,
the flow's early steps) and WORLD lie on the other side of real speech than what neural vocoders smooth, so that a head
fitted on the ones scores the others *below* the reals, and one linear head cannot hold both. With them the mean AUC
over left-out neural families falls by 0.08."""
HELD, HELD_SPEAKERS = ("lpc", "own_source_filter", "cargan", "hifigan_16k"), 5
"""CARGAN and a HiFi-GAN of 16 kHz stand for good vocoders, which the other two do not: trained long by others, the one
of a kind of its own, the other of a kind that trains, by other hands."""
STEP = 1.0 / 16_384
"""Of a stored sample: 16 bits over -2 to 2."""
LEAST_CELLS = 16
"""Cells (0.5 s) that a drawn part of a window has at least, where the window has as many."""
ROWS, BLOB, TOLD = "index.csv", "windows.xz", "windows.json"
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """Windows of a cache.

    Attributes:
        audio: int16 [w, SAMPLES], in units of ``STEP``; cells: int64 [w] that hold recording.
        clip: int64 [w]; number: int64 [w], place of the window in its clip; weight: float32 [w], seconds of speech.
    """

    audio: npt.NDArray[np.int16]
    cells: npt.NDArray[np.int64]
    clip: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]


def packed(audio: npt.NDArray[np.int16]) -> bytes:
    """One window without loss, smaller than FLAC makes it: second differences, low and high bytes apart, LZMA."""
    steps = np.diff(audio.astype(np.int64), 2, prepend=[0, 0])
    folded = ((steps << 1) ^ (steps >> 63)).astype("<u4")
    planes = [((folded >> shift) & 255).astype(np.uint8).tobytes() for shift in (0, 8, 16)]
    return lzma.compress(b"".join(planes), preset=6)


def unpacked(code: bytes) -> npt.NDArray[np.int16]:
    """The window that :func:`packed` took, [n]."""
    planes = np.frombuffer(lzma.decompress(code), np.uint8).reshape(3, -1).astype(np.int64)
    folded = planes[0] | planes[1] << 8 | planes[2] << 16
    steps = (folded >> 1) ^ -(folded & 1)
    return np.asarray(np.cumsum(np.cumsum(steps)), np.int16)


def read_packs(folders: Sequence[Path]) -> tuple[VoiceCache, Cut]:
    """The rows and windows that ``training.audio.cuts`` packed; each folder holds whole windows and all rows."""
    cache = cache_of(folders[0], read_rows(folders[0] / ROWS))
    told: dict[str, list[float]] = {"cells": [], "clip": [], "number": [], "weight": []}
    audio = []
    for folder in folders:
        columns = json.loads((folder / TOLD).read_text(encoding="utf-8"))
        blob = (folder / BLOB).read_bytes()
        bounds = np.cumsum([0, *columns["bytes"]])
        for start, end in itertools.pairwise(bounds):
            window = np.zeros(SAMPLES, np.int16)
            found = unpacked(blob[start:end])
            window[: len(found)] = found
            audio.append(window)
        for name, values in told.items():
            values += columns[name]
    whole = {name: np.array(told[name], np.int64) for name in ("cells", "clip", "number")}
    return cache, Cut(np.stack(audio), **whole, weight=np.array(told["weight"], np.float32))


def aside(cache: VoiceCache) -> Mask:
    """Clips that no network may be trained on: of the families and of the speakers that stand aside."""
    share = np.array([row.fold == HELD_SPEAKERS for row in cache.rows])
    return np.asarray(share | np.isin(cache.column("family"), HELD))


def held_out(cache: VoiceCache) -> tuple[Mask, Mask]:
    """What trains, and what is held: the families and the speakers that stand aside."""
    families = cache.column("family")
    share = np.array([row.fold == HELD_SPEAKERS for row in cache.rows])
    paired = (cache.labels == 0) | (cache.partner >= 0)
    held = paired & share & (np.isin(families, HELD) | (cache.labels == 0))
    return paired & ~aside(cache) & ~np.isin(families, AGAINST), held


def rehearsal(cache: VoiceCache, families: Sequence[str], speakers: int) -> tuple[Mask, Mask]:
    """The same once more inside what trains, so that settings are chosen without what stands aside: what then trains,
    and what is measured on, copies by these families and reals of the speakers of a share."""
    chosen, _ = held_out(cache)
    share = np.array([row.fold == speakers for row in cache.rows])
    kind = np.isin(cache.column("family"), families)
    return chosen & ~share & ~kind, chosen & share & (kind | (cache.labels == 0))


class Pairs:
    """Draws pairs of windows: reals by the square root of their source's size, copies by family.

    All windows stay on the device, as the 16 bits that they were stored with (0.13 MB each).

    Args:
        chosen: clips that may be seen.
    """

    def __init__(self, cache: VoiceCache, cut: Cut, chosen: Mask, seed: int, device: torch.device) -> None:
        self._cut, self._rng = cut, np.random.default_rng(seed)
        place = {(int(c), int(n)): w for w, (c, n) in enumerate(zip(cut.clip, cut.number))}
        families = cache.column("family")
        self._copies: dict[int, dict[str, list[int]]] = {}
        for window, (clip, number) in enumerate(zip(cut.clip, cut.number)):
            partner = (int(cache.partner[clip]), int(number))
            if chosen[clip] and partner in place and chosen[partner[0]]:
                self._copies.setdefault(place[partner], {}).setdefault(str(families[clip]), []).append(window)
        self._reals = np.array(sorted(self._copies), np.int64)
        sources = cache.column("source")[cut.clip[self._reals]]
        counts = {name: (sources == name).sum() for name in np.unique(sources)}
        mass = np.array([counts[name] ** -0.5 for name in sources]) * cut.weight[self._reals]
        self._mass = mass / mass.sum()
        used = sorted({*self._reals.tolist(), *(w for k in self._copies.values() for each in k.values() for w in each)})
        self._place = {window: number for number, window in enumerate(used)}
        self._audio = torch.from_numpy(np.ascontiguousarray(cut.audio[used])).to(device)
        self._device = device

    def __len__(self) -> int:
        """Real windows that have a copy."""
        return len(self._reals)

    def batch(self, pairs: int) -> tuple[Tensor, Tensor]:
        """Audio [p, 2, SAMPLES] (the real first) and cells [p] of a part of each: half of the time all of a window,
        else a stretch of it, which begins at 0."""
        places, starts, lengths = [], [], []
        for real in self._rng.choice(self._reals, pairs, p=self._mass).tolist():
            kinds = self._copies[real]
            copy = int(self._rng.choice(kinds[str(self._rng.choice(list(kinds)))]))
            cells = int(min(self._cut.cells[real], self._cut.cells[copy]))
            length = cells
            if cells > LEAST_CELLS and self._rng.random() < 0.5:
                length = int(self._rng.integers(max(LEAST_CELLS, cells // 2), cells))
            places.append((self._place[real], self._place[copy]))
            starts.append(int(self._rng.integers(cells - length + 1)))
            lengths.append(length)
        start, length_of = (torch.tensor(each, device=self._device) for each in (starts, lengths))
        sample = torch.arange(SAMPLES, device=self._device)
        there = (sample < length_of[:, None] * CELL)[:, None]
        index = (sample + start[:, None] * CELL).clamp(max=SAMPLES - 1)
        rows = self._audio[torch.tensor(places, device=self._device)]
        audio = torch.gather(rows, 2, index[:, None].expand(-1, 2, -1)).float() * (STEP * there)
        return audio, length_of


def masks(cells: Tensor) -> Tensor:
    """Mask [n, CELLS] of windows with so many cells of recording [n]."""
    return (torch.arange(CELLS, device=cells.device) < cells[:, None]).float()
