"""How often the offset is right, and what the confidence says of real and fake: each clip by a model that has not seen
its source.

Real talking clips are shifted by known numbers of frames (lips and sound are cut, so nothing but the shift changes),
and the offset of every two-second window in which somebody speaks at least half of the time is estimated.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipelines.analyzers.lip_sync import LEAST_SEEN, LEAST_SPEECH, WINDOW, agreement_by_offset, peak, window_curves
from pipelines.metrics import auc, bootstrap_interval
from training.models.lip_sync import LipSync
from training.sync.batches import Talk
from training.sync.train import OWN, read_run

Floats = npt.NDArray[np.float32]
HOP = 5
SHIFTS = (0, 2, -2, 5, -5, 10, -10)


@dataclass(frozen=True)
class Guess:
    """One window: the clip, its group, the applied shift, the estimated offset, and the confidence."""

    clip: str
    group: str
    shift: int
    offset: int
    confidence: float

    @property
    def error(self) -> int:
        """Frames."""
        return self.offset - self.shift


def embeddings(networks: Sequence[LipSync], talk: Talk) -> tuple[Floats, Floats]:
    """Of lips and sound, [t, d] each: those of several networks side by side, as they are served."""
    with torch.inference_mode():
        seen = [network.see(torch.from_numpy(talk.lips[None]))[0].numpy() for network in networks]
        heard = [network.hear(torch.from_numpy(talk.mels[:1]))[0].numpy() for network in networks]
    factor = np.float32(len(networks) ** -0.5)
    return np.concatenate(seen, axis=1) * factor, np.concatenate(heard, axis=1) * factor


def guesses(
    talk: Talk, mouth: Floats, sound: Floats, shifts: Iterable[int] = SHIFTS, length: int = WINDOW, hop: int = HOP
) -> list[Guess]:
    """Windows of one clip at each shift: so many frames by which the sound comes after the lips."""
    found = []
    for shift in shifts:
        early, late = max(0, shift), max(0, -shift)
        m, s = mouth[early : len(mouth) - late], sound[late : len(sound) - early]
        spoken, there = talk.speech[late : len(sound) - early], talk.seen[early : len(mouth) - late]
        starts, curves = window_curves(agreement_by_offset(m, s), length, hop)
        for start, curve in zip(starts, curves):
            part = slice(start, start + length)
            if spoken[part].mean() >= LEAST_SPEECH and there[part].mean() >= LEAST_SEEN:
                found.append(Guess(talk.name, talk.group, shift, *peak(curve)))
    return found


def held_out(run: Path, talks: Sequence[Talk], all_talks: Sequence[Talk]) -> list[Guess]:
    """The windows of clips, each by the networks of a fold that learnt from no clip of its group.

    Args:
        talks: the clips to judge; all_talks: every clip, so that groups are those of all.

    Raises:
        LookupError: every fold has learnt from a clip's group.
    """
    groups = {talk.name: talk.group for talk in all_talks}
    folds: list[tuple[list[LipSync], set[str]]] = []
    for file in sorted(run.glob("[0-9].pt")):
        networks, state = read_run(run, file.stem)
        folds.append((networks, {groups.get(path, path) for path in json.loads(state["own_offsets"])}))
    found = []
    for talk in talks:
        free = [networks for networks, taught in folds if talk.group not in taught]
        if not free:
            raise LookupError(f"every fold of {run} has learnt from {talk.group}")
        networks = free[zlib.crc32(talk.name.encode()) % len(free)]
        found += guesses(talk, *embeddings(networks, talk))
    return found


def summary(found: Sequence[Guess]) -> dict[str, Any]:
    """Shares of windows that are right within one frame, counted in four ways.

    ``right``: as it stands: the offset is the applied shift, as if every clip were in step by itself.
    ``right_of_own``: the offset is the applied shift plus the clip's own offset, the median over its windows.
    ``right_of_own_within_3``: the same, but a clip is taken to be out of step by at most three frames by itself.
    ``change_right``: the clip's median offset, by which a whole clip would be told to be shifted, moves by the applied
    shift against the clip as it is.
    """
    by_clip: dict[str, list[Guess]] = defaultdict(list)
    for guess in found:
        by_clip[guess.clip].append(guess)
    own = {clip: float(np.median([g.error for g in some])) for clip, some in by_clip.items()}
    plain = [abs(guess.error) <= 1 for guess in found]
    mine = [abs(guess.error - own[guess.clip]) <= 1 for guess in found]
    near = [abs(guess.error - float(np.clip(own[guess.clip], -OWN, OWN))) <= 1 for guess in found]
    medians = {
        (clip, shift): float(np.median([g.offset for g in some if g.shift == shift]))
        for clip, some in by_clip.items()
        for shift in {g.shift for g in some}
    }
    moved = [
        abs(value - medians[clip, 0] - shift) <= 1
        for (clip, shift), value in medians.items()
        if shift and (clip, 0) in medians
    ]

    def shares(flags: Sequence[bool], keys: Sequence[str]) -> dict[str, float]:
        return {
            key: round(float(np.mean([flag for flag, k in zip(flags, keys) if k == key])), 3)
            for key in sorted(set(keys), key=lambda name: (len(name), name))
        }

    shifts, groups = [str(abs(guess.shift)) for guess in found], [guess.group for guess in found]
    return {
        "windows": len(found),
        "clips": len(by_clip),
        "right": round(float(np.mean(plain)), 4),
        "right_by_shift": shares(plain, shifts),
        "right_by_group": shares(plain, groups),
        "right_of_own": round(float(np.mean(mine)), 4),
        "right_of_own_within_3": round(float(np.mean(near)), 4),
        "right_of_own_by_shift": shares(mine, shifts),
        "right_of_own_by_group": shares(mine, groups),
        "right_of_own_mean_over_clips": round(
            float(np.mean([np.mean([abs(g.error - own[c]) <= 1 for g in some]) for c, some in by_clip.items()])), 4
        ),
        "change_right": round(float(np.mean(moved)), 4) if moved else None,
        "by_clip": {
            clip: {
                "windows": len(some),
                "own_offset": own[clip],
                "right": round(float(np.mean([abs(g.error) <= 1 for g in some])), 3),
                "right_of_own": round(float(np.mean([abs(g.error - own[clip]) <= 1 for g in some])), 3),
            }
            for clip, some in sorted(by_clip.items())
        },
    }


def confidence_of(found: Sequence[Guess]) -> dict[str, float]:
    """Mean confidence of each clip's windows as they are (shift 0)."""
    values: dict[str, list[float]] = defaultdict(list)
    for guess in found:
        if guess.shift == 0:
            values[guess.clip].append(guess.confidence)
    return {clip: float(np.mean(some)) for clip, some in values.items()}


def against_fakes(
    real: Mapping[str, float], fake: Mapping[str, float], generators: Mapping[str, str]
) -> dict[str, Any]:
    """AUC of low confidence as a sign of fakes, pooled and by generator (above 0.5: fakes are less in step)."""

    def row(chosen: Sequence[float]) -> dict[str, Any]:
        scores = -np.array([*real.values(), *chosen])
        labels = np.array([0] * len(real) + [1] * len(chosen))
        low, high = bootstrap_interval(auc, scores, labels)
        return {
            "fakes": len(chosen),
            "auc": round(auc(scores, labels), 4),
            "low": round(low, 4),
            "high": round(high, 4),
        }

    by: dict[str, list[float]] = defaultdict(list)
    for clip, value in fake.items():
        by[generators[clip]].append(value)
    return {
        "real": len(real),
        "real_median": round(float(np.median(list(real.values()))), 4),
        "fake_median": round(float(np.median(list(fake.values()))), 4),
        "all": row(list(fake.values())),
        "by_generator": {name: row(some) for name, some in sorted(by.items())},
    }
