"""The windows that serving would cut from clips under the named conditions, kept so that any network may hear them.

``.cache/voice/features/<mark>-heard.f32`` holds the windows one after another (66 KB of float32 a second of sound), and
``.jsonl`` beside it one line for each clip and condition: what was measured of it and where its windows lie. A call
that was cut off goes on where it stood.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cards.repository import ModelRepository
from pipelines.audio.quality import measure_quality
from pipelines.audio.speech import speech_of
from pipelines.audio.windows import SAMPLES, windows_of
from pipelines.onnx_infer import OnnxInfer
from training.audio.cache import VoiceCache
from training.audio.conditions import CONDITIONS, MEASURES, damage_of
from training.audio.damage import apply_damage
from training.audio.features import front_mark
from training.audio.pairs import masks

BYTES, BATCH = 4 * SAMPLES, 16
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A clip under a condition, as serving would hear it.

    Attributes:
        path: of the clip in the cache; quality: the ``MEASURES``.
        first: place of its first window in the file; cells: of recording of each window; weight: seconds of speech.
    """

    path: str
    condition: str
    quality: tuple[float, ...]
    first: int
    cells: tuple[int, ...]
    weight: tuple[float, ...]


class HeardWindows:
    """The kept windows of a cache."""

    def __init__(self, cache: VoiceCache) -> None:
        self._cache = cache
        self._audio = cache.folder / "features" / f"{front_mark()}-heard.f32"
        self._index = self._audio.with_suffix(".jsonl")
        self._known: dict[tuple[str, str], Entry] = {}
        if self._index.is_file():
            for line in self._index.read_text(encoding="utf-8").splitlines():
                told: dict[str, Any] = json.loads(line)
                lists = {name: tuple(told[name]) for name in ("quality", "cells", "weight")}
                entry = Entry(**{**told, **lists})
                self._known[entry.path, entry.condition] = entry

    def entries(self, rows: Sequence[int], conditions: Sequence[str] = CONDITIONS) -> list[Entry]:
        """What is heard of clips under conditions, clip by clip; only what was not heard before takes time (0.2 s)."""
        paths = [self._cache.rows[row].path for row in rows]
        missing = [row for row, path in zip(rows, paths) if any((path, each) not in self._known for each in conditions)]
        if missing:
            self._hear(missing, conditions)
        return [self._known[path, each] for path in paths for each in conditions]

    def _hear(self, rows: Sequence[int], conditions: Sequence[str]) -> None:
        infer = OnnxInfer(ModelRepository(), threads=1)
        voices = [self._cache.samples(int(row)) for row in np.flatnonzero(self._cache.labels == 0)[::9]]
        self._audio.parent.mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(rows, 1):
            path, samples = self._cache.rows[row].path, self._cache.samples(row)
            partner = int(self._cache.partner[row]) if self._cache.partner[row] >= 0 else row
            seed = zlib.crc32(self._cache.rows[partner].path.encode())
            for condition in conditions:
                if (path, condition) in self._known:
                    continue
                sound = apply_damage(samples, damage_of(condition, seed), voices)
                speech = speech_of(sound, infer)
                quality, cut = measure_quality(sound, speech), windows_of(sound, speech)
                with self._audio.open("ab") as audio:
                    first = -(-audio.tell() // BYTES)
                    audio.truncate(first * BYTES)  # whole windows, whatever a call that was cut off left
                    audio.seek(first * BYTES)
                    audio.write(cut.audio.astype("<f4").tobytes())
                entry = Entry(
                    path,
                    condition,
                    tuple(float(getattr(quality, name)) for name in MEASURES),
                    first,
                    tuple(cut.mask.sum(axis=1).astype(int).tolist()),
                    tuple(cut.weight.tolist()),
                )
                with self._index.open("a", encoding="utf-8") as index:
                    index.write(json.dumps(asdict(entry)) + "\n")
                self._known[path, condition] = entry
            if number % 25 == 0:
                _LOG.info("heard %d of %d clips", number, len(rows))

    def logits(self, model: nn.Module, entries: Sequence[Entry]) -> npt.NDArray[np.float64]:
        """Raw logit of each entry, the mean over its windows by their speech, [e]; NaN where it has no window."""
        places = np.array([entry.first + n for entry in entries for n in range(len(entry.cells))], np.int64)
        cells = torch.tensor([count for entry in entries for count in entry.cells])
        owner = np.array([place for place, entry in enumerate(entries) for _ in entry.cells], np.int64)
        weight = np.maximum([seconds for entry in entries for seconds in entry.weight], 1e-3)
        sound = np.memmap(self._audio, "<f4", "r").reshape(-1, SAMPLES)
        told = []
        with torch.inference_mode():
            for start in range(0, len(places), BATCH):
                some = slice(start, start + BATCH)
                audio = torch.from_numpy(np.ascontiguousarray(sound[places[some]]))
                told.append(model(audio, masks(cells[some])).logit[:, 0].double().numpy())
        total = np.bincount(owner, weight, minlength=len(entries))
        summed = np.bincount(owner, weight * np.concatenate(told), minlength=len(entries))
        return np.asarray(summed / np.where(total > 0, total, np.nan))
