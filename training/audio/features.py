"""The fixed front end over the whole cache, once for each draw of damage: what heads are then trained on in seconds.

Both clips of a pair go through the same damage with the same random numbers, and are cut where the real one speaks, so
that neither may tell the class. ``.cache/voice/features/<draw>.npz`` holds one draw.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cards.repository import ModelRepository
from pipelines.audio import windows
from pipelines.audio.speech import speech_of
from pipelines.audio.windows import CELL, Windows, windows_of
from pipelines.onnx_infer import OnnxInfer
from training.audio import segments
from training.audio.cache import VoiceCache
from training.audio.damage import Damage as HowDamaged
from training.audio.damage import apply_damage, draw_damage
from training.audio.sounds import Sound
from training.models.voice_deviations import APART, FEATURES, FILTERS, FLOOR, PHASES, SIZES, Deviations

BATCH = 16
LOCAL = 6
"""Stretches of a second that are kept of each window."""
_LOG = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]
Front = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Damage = Callable[[Sound, np.random.Generator], Sound]


@dataclass(frozen=True)
class Described:
    """Windows of many clips.

    Attributes:
        clip: int64 [w], the clip's row; weight: float32 [w], seconds of speech.
        whole: float32 [w, f]; local: float32 [w, LOCAL, f].
    """

    clip: npt.NDArray[np.int64]
    weight: Floats
    whole: Floats
    local: Floats

    @staticmethod
    def join(parts: Sequence[Described]) -> Described:
        """All windows of the parts."""
        return Described(
            *(np.concatenate([getattr(p, n) for p in parts]) for n in ("clip", "weight", "whole", "local"))
        )

    def subset(self, chosen: npt.NDArray[Any]) -> Described:
        """Some windows, by a mask or in an order."""
        return Described(self.clip[chosen], self.weight[chosen], self.whole[chosen], self.local[chosen])


def describe(cut: Iterator[tuple[int, Windows]], front: Front, seed: int = 1) -> Described:
    """Features of the windows of clips, ``(row, its windows)``, in batches.

    Which stretches of a window are kept hangs on the seed, the clip's row and the window's number alone, not on what
    else is described.
    """
    clips: list[int] = []
    numbers: list[int] = []
    weights: list[float] = []
    whole: list[Floats] = []
    local: list[Floats] = []
    audio: list[Floats] = []
    mask: list[Floats] = []

    def flush() -> None:
        with torch.inference_mode():
            first, second = front(torch.from_numpy(np.stack(audio)), torch.from_numpy(np.stack(mask)))
        whole.append(first.numpy())
        mine = zip(clips[-len(mask) :], numbers[-len(mask) :], strict=True)
        for values, held, at in zip(second.numpy(), mask, mine, strict=True):
            # Places whose second lies in the recording.
            most = max(1, int(held.sum()) // 4 - 3)
            places = np.random.default_rng([seed, *at]).integers(min(3, most - 1), most, LOCAL)
            local.append(values[places])
        audio.clear()
        mask.clear()

    for clip, found in cut:
        for number in range(len(found)):
            audio.append(found.audio[number])
            mask.append(found.mask[number])
            clips.append(clip)
            numbers.append(number)
            weights.append(float(found.weight[number]))
            if len(audio) == BATCH:
                flush()
    if audio:
        flush()
    return Described(
        np.array(clips, np.int64),
        np.array(weights, np.float32),
        np.concatenate(whole),
        np.stack(local),
    )


def damaged_windows(
    cache: VoiceCache, speech: Sequence[Floats], damage: Damage | None, seed: int, rows: Sequence[int]
) -> Iterator[tuple[int, Windows]]:
    """Windows of clips after their damage; a copy is damaged and cut as the real clip that it was made of."""
    began, total = time.monotonic(), len(rows)
    for number, row in enumerate(rows, 1):
        partner = int(cache.partner[row]) if cache.partner[row] >= 0 else row
        samples = cache.samples(row)
        if damage is not None:
            samples = damage(samples, np.random.default_rng([seed, partner]))
        yield row, windows_of(samples, speech[partner][: len(samples) // CELL])
        if number % 250 == 0:
            _LOG.info("draw %d: %d of %d clips, %.0f s", seed, number, total, time.monotonic() - began)


def save(path: Path, described: Described, paths: Sequence[str], known: Sequence[bool]) -> None:
    """Write one draw, with the paths that its rows stand for, and which of them were described."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        clip=described.clip,
        weight=described.weight,
        whole=described.whole.astype(np.float32),
        local=described.local.astype(np.float16),
        paths=np.array(paths),
        known=np.array(known),
    )


def load(path: Path) -> tuple[Described, list[str], set[str]]:
    """One draw, the paths of its rows, and those that were described."""
    with np.load(path) as held:
        described = Described(held["clip"], held["weight"], held["whole"], held["local"].astype(np.float32))
        paths = held["paths"]
        known = held["known"] if "known" in held.files else np.ones(len(paths), np.bool_)
        return described, paths.tolist(), set(paths[known].tolist())


def front_mark() -> str:
    """Short name of the preprocessing, the front end and the pairing: features of another one are not read."""
    front = (windows.LEVEL, windows.DITHER, windows.HOP, windows.BOX, FILTERS, FLOOR, SIZES, PHASES, APART, FEATURES)
    told = (*front, segments.LOUDNESS_DB, segments.STEP, segments.SMOOTH)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:8]


def speech_of_cache(cache: VoiceCache) -> list[Floats]:
    """Speech probability of every real and every unpaired clip, by row (copies: of their real clip), remembered."""
    file = cache.folder / "features" / "speech.npz"
    known: dict[str, Floats] = {}
    if file.is_file():
        with np.load(file) as held:
            known = {path: held[path] for path in held.files}
    infer = OnnxInfer(ModelRepository(), threads=1)
    fresh = False
    for row in np.flatnonzero(cache.partner < 0):
        path = cache.rows[row].path
        if path not in known:
            known[path] = speech_of(cache.samples(int(row)), infer).astype(np.float32)
            fresh = True
    if fresh:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as handle:
            np.savez(handle, **known)
    source = np.where(cache.partner >= 0, cache.partner, np.arange(len(cache)))
    return [known[cache.rows[int(place)].path] for place in source]


def damage_in(draw: int, rng: np.random.Generator) -> HowDamaged:
    """Damage of a draw: 1 anything, 4 white noise at 14 to 28 dB, 5 a studio (gate, colour, a quiet noise).

    Of the others noise alone in even ones, one codec alone in odd ones.
    """
    if draw == 1:
        return draw_damage(rng, clean=0.0, keep_time=True)
    seed = int(rng.integers(2**31))
    if draw == 4:
        return HowDamaged(seed=seed, noise="white", snr_db=float(rng.uniform(14, 28)))
    if draw == 5:
        return HowDamaged(
            seed=seed,
            equaliser_db=float(rng.uniform(1, 8)),
            gate_db=float(rng.uniform(10, 35)),
            second_noise_db=float(rng.uniform(50, 75)),
        )
    if draw % 2 == 0:
        noise = str(rng.choice(["white", "pink", "brown", "babble"], p=(0.4, 0.15, 0.1, 0.35)))
        return HowDamaged(seed=seed, noise=noise, snr_db=float(rng.uniform(5, 28)))
    kind = rng.random()
    if kind < 0.25:
        return HowDamaged(
            seed=seed, band=(300.0, 3400.0), codecs=((str(rng.choice(["mulaw", "alaw"])), 8_000, 64_000),)
        )
    name = "opus" if kind < 0.6 else "mp3" if kind < 0.85 else "aac"
    bits = {"opus": (12_000, 16_000, 24_000), "mp3": (32_000, 64_000, 96_000), "aac": (32_000, 48_000, 64_000)}[name]
    return HowDamaged(seed=seed, codecs=((name, 16_000, int(rng.choice(bits))),))


def draws_of(
    cache: VoiceCache,
    speech: Sequence[Floats],
    draws: Sequence[int],
    wanted: npt.NDArray[np.bool_],
    front: Front | None = None,
    mark: str = "",
) -> list[Described]:
    """Draws of the wanted clips alone, 0 the clean one. The file keeps what every call described, so that a later one
    adds what is missing and what a caller gets hangs on what it wants, not on the cache's history.

    Args:
        front: in place of the deviations; mark: its short name, for the files.
    """
    front = front or Deviations().eval()
    voices = [cache.samples(int(row)) for row in np.flatnonzero(cache.labels == 0)[::9]]

    result = []
    for draw in draws:

        def damage(samples: Sound, rng: np.random.Generator, draw: int = draw) -> Sound:
            return apply_damage(samples, damage_in(draw, rng), voices)

        file = cache.folder / "features" / f"{front_mark()}{mark}-{draw}.npz"
        rows = {each.path: number for number, each in enumerate(cache.rows)}
        parts, done = [], set[str]()
        if file.is_file():
            held, paths, done = load(file)
            place = np.array([rows.get(path, -1) for path in paths])
            here = replace(held, clip=place[held.clip])
            parts.append(here.subset(here.clip >= 0))
        missing = [number for number, each in enumerate(cache.rows) if wanted[number] and each.path not in done]
        if missing:
            cut = damaged_windows(cache, speech, damage if draw else None, draw, missing)
            parts.append(describe(cut, front, draw))
            whole = Described.join(parts)
            parts = [whole.subset(np.argsort(whole.clip, kind="stable"))]
            told = [each.path in done or bool(wanted[number]) for number, each in enumerate(cache.rows)]
            save(file, parts[0], [each.path for each in cache.rows], told)
        result.append(parts[0].subset(wanted[parts[0].clip]))
    return result
