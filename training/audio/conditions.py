"""The named conditions that a recording may arrive in, and what serving would measure and hear under each.

``.cache/voice/features/<mark>-conditions.npz`` keeps, for every chosen clip and condition, the features of its windows
and the measured quality, exactly as serving takes them: with the voice activity of the damaged recording itself.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cards.repository import ModelRepository
from pipelines.audio.quality import measure_quality
from pipelines.audio.speech import speech_of
from pipelines.audio.windows import windows_of
from pipelines.onnx_infer import OnnxInfer
from training.audio.cache import VoiceCache
from training.audio.damage import Damage, apply_damage, draw_damage
from training.audio.features import front_mark
from training.audio.sounds import Sound
from training.models.voice_deviations import Deviations

MEASURES = ("snr_db", "bandwidth_hz", "holes", "speech_s", "clipped_share", "music", "noise_db", "level_db")
CONDITIONS = ("clean", "mp3_64", "opus_16", "telephone", "white_20", "white_10", "babble_20", "babble_10", "random")
FAMILIES = (
    "hifigan",
    "own_istft",
    "own_codec",
    "own_upsampling",
    "own_source_filter",
    "lpc",
    "own_flow",
    "own_autoregressive",
)
"""Whose copies the verdict is fitted on, by turns: the kinds that the networks are trained on."""
_LOG = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]


def damage_of(condition: str, seed: int) -> Damage:
    """The damage of a named condition."""
    kind, _, level = condition.partition("_")
    if kind in ("white", "babble"):
        return Damage(seed=seed, noise=kind, snr_db=float(level))
    if condition == "random":
        return draw_damage(np.random.default_rng([77, seed]), clean=0.0, keep_time=True)
    return {
        "clean": Damage(seed=seed),
        "mp3_64": Damage(seed=seed, codecs=(("mp3", 16_000, 64_000),)),
        "opus_16": Damage(seed=seed, codecs=(("opus", 16_000, 16_000),)),
        "telephone": Damage(seed=seed, band=(300.0, 3400.0), codecs=(("mulaw", 8_000, 64_000),)),
    }[condition]


@dataclass(frozen=True)
class Heard:
    """Clips under conditions: one entry for each (clip, condition), and one for each of their windows.

    Attributes:
        row: int64 [e], the clip; condition: int64 [e], place in ``CONDITIONS``; quality: float64 [e, MEASURES].
        entry: int64 [w]; weight: float32 [w], seconds of speech; whole: float32 [w, f].
    """

    row: npt.NDArray[np.int64]
    condition: npt.NDArray[np.int64]
    quality: npt.NDArray[np.float64]
    entry: npt.NDArray[np.int64]
    weight: Floats
    whole: Floats

    def clip_mean(self, logits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Mean of window values for each entry, by seconds of speech; NaN where there is no window. [e]"""
        weight = np.maximum(self.weight.astype(np.float64), 1e-3)
        total = np.bincount(self.entry, weight, minlength=len(self.row))
        summed = np.bincount(self.entry, weight * logits, minlength=len(self.row))
        return np.asarray(summed / np.where(total > 0, total, np.nan))


class Listener:
    """Hears clips as serving does, with the fixed front end for a network."""

    def __init__(self) -> None:
        self._infer = OnnxInfer(ModelRepository(), threads=1)
        self._front = Deviations().eval()

    def hear(self, samples: Sound) -> tuple[Floats, Floats, list[float]]:
        """Features of the windows [w, f], their seconds of speech [w], and the measures of the sound."""
        speech = speech_of(samples, self._infer)
        quality = measure_quality(samples, speech)
        found = windows_of(samples, speech)
        measured = [float(getattr(quality, name)) for name in MEASURES]
        if not len(found):
            return np.zeros((0, 1), np.float32), np.zeros(0, np.float32), measured
        with torch.inference_mode():
            whole, _ = self._front(torch.from_numpy(found.audio), torch.from_numpy(found.mask))
        return whole.numpy(), found.weight, measured


def chosen_rows(cache: VoiceCache, each: int = 45, seed: int = 3) -> list[int]:
    """All real clips of 1.5 s and more, at most ``each`` of a source, and one copy of each, its family by turns."""
    rng = np.random.default_rng(seed)
    sources = cache.column("source")
    long = np.array([row.seconds >= 1.5 for row in cache.rows])
    rows: list[int] = []
    for source in np.unique(sources[cache.labels == 0]):
        members = np.flatnonzero((cache.labels == 0) & (sources == source) & long)
        rows += rng.permutation(members)[:each].tolist()
    families = cache.column("family")
    for place, real in enumerate(list(rows)):
        own = {str(families[row]): int(row) for row in np.flatnonzero(cache.partner == real)}
        turn = [FAMILIES[(place + step) % len(FAMILIES)] for step in range(len(FAMILIES))]
        rows += [own[name] for name in turn if name in own][:1]
    return rows


def hear_all(cache: VoiceCache, rows: Sequence[int], conditions: Sequence[str] = CONDITIONS) -> Heard:
    """Hear clips under conditions; what an earlier call heard is read."""
    file = cache.folder / "features" / f"{front_mark()}-conditions.npz"
    known: dict[tuple[str, str], tuple[Floats, Floats, list[float]]] = _read(file)
    voices = [cache.samples(int(row)) for row in np.flatnonzero(cache.labels == 0)[::9]]
    listener, began, fresh = Listener(), time.monotonic(), 0
    for number, row in enumerate(rows, 1):
        partner = int(cache.partner[row]) if cache.partner[row] >= 0 else row
        seed = zlib.crc32(cache.rows[partner].path.encode())
        samples = None
        for condition in conditions:
            key = (cache.rows[row].path, condition)
            if key in known:
                continue
            samples = cache.samples(row) if samples is None else samples
            known[key] = listener.hear(apply_damage(samples, damage_of(condition, seed), voices))
            fresh += 1
        if fresh and number % 100 == 0:
            _LOG.info("conditions: %d of %d clips, %.0f s", number, len(rows), time.monotonic() - began)
            _write(file, known)
    if fresh:
        _write(file, known)
    entries = [(row, place, known[cache.rows[row].path, name]) for row in rows for place, name in enumerate(conditions)]
    kept = [(number, heard) for number, (_, _, heard) in enumerate(entries) if len(heard[1])]
    return Heard(
        np.array([row for row, _, _ in entries], np.int64),
        np.array([CONDITIONS.index(conditions[place]) for _, place, _ in entries], np.int64),
        np.array([heard[2] for _, _, heard in entries], np.float64),
        np.concatenate([np.full(len(heard[1]), number, np.int64) for number, heard in kept]),
        np.concatenate([heard[1] for _, heard in kept]),
        np.concatenate([heard[0] for _, heard in kept]),
    )


def _read(file: Path) -> dict[tuple[str, str], tuple[Floats, Floats, list[float]]]:
    if not file.is_file():
        return {}
    with np.load(file) as held:
        bounds = held["bounds"]
        return {
            (str(path), str(condition)): (held_whole, held_weight, quality.tolist())
            for path, condition, held_whole, held_weight, quality in zip(
                held["paths"],
                held["conditions"],
                np.split(held["whole"], bounds),
                np.split(held["weight"], bounds),
                held["quality"],
                strict=True,
            )
        }


def _write(file: Path, known: dict[tuple[str, str], tuple[Floats, Floats, list[float]]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    values = list(known.values())
    width = max(value[0].shape[1] for value in values)
    partial = file.with_name(f".{file.name}.partial.npz")
    np.savez(
        partial,
        paths=np.array([path for path, _ in known]),
        conditions=np.array([condition for _, condition in known]),
        bounds=np.cumsum([len(value[1]) for value in values])[:-1],
        whole=np.concatenate([value[0].reshape(-1, width) for value in values]),
        weight=np.concatenate([value[1] for value in values]),
        quality=np.array([value[2] for value in values]),
    )
    partial.rename(file)
