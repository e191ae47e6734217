"""Folds of the voice data: each leaves out a family of vocoders, a share of the speakers, and perhaps a real source."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.audio.manifest import SPEAKER_FOLDS, VoiceRow
from training.data.splits import Split

VOICE_FOLDS = Path(__file__).parents[1] / "voice_folds.json"


@dataclass(frozen=True)
class VoiceFold:
    """What one fold leaves out.

    Attributes:
        families: of generators (column ``family``).
        reals: real sources, with every copy of their clips.
        speakers: numbers of the speakers' shares (column ``fold``).
        measures: what the fold is kept for beside choosing and calibrating; empty for nothing else.
    """

    name: str
    families: tuple[str, ...]
    reals: tuple[str, ...]
    speakers: tuple[int, ...]
    reason: str = ""
    measures: str = ""


def read_voice_folds(path: Path = VOICE_FOLDS) -> list[VoiceFold]:
    """The committed folds.

    Raises:
        ValueError: a family or a real source stands in two folds, or a share of speakers does not exist.
    """
    told = json.loads(path.read_text(encoding="utf-8"))
    folds = []
    for each in told:
        kinds: dict[str, list[str]] = {"fake": [], "real": []}
        for source in each["sources"]:
            label, name = source.split("/", 1)
            kinds[label].append(name)
        folds.append(
            VoiceFold(
                each["name"],
                tuple(kinds["fake"]),
                tuple(kinds["real"]),
                tuple(each["speakers"]),
                each.get("reason", ""),
                each.get("measures", ""),
            )
        )
    names = [f"fake/{name}" for fold in folds for name in fold.families]
    names += [f"real/{name}" for fold in folds for name in fold.reals]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path.name}: {', '.join(twice)} stands in more than one fold")
    if any(not 0 <= number < SPEAKER_FOLDS for fold in folds for number in fold.speakers):
        raise ValueError(f"{path.name}: shares of speakers are numbered 0 to {SPEAKER_FOLDS - 1}")
    return folds


def voice_splits(rows: Sequence[VoiceRow], folds: Sequence[VoiceFold]) -> list[Split]:
    """Masks of each fold over the rows.

    ``held`` are the left-out families' fakes and the real clips, both of left-out speakers or sources alone;
    ``train`` are all other families' fakes and the real clips of all other speakers and sources. What is left (left-out
    families of kept speakers, kept families of left-out speakers) stands on neither side. Fakes without a real partner
    are held whole with their family: their voices have no real clips.
    """
    splits = []
    spoken = {row.speaker for row in rows if row.label == 0}
    for fold in folds:
        away = np.array(
            [row.fold in fold.speakers or (bool(row.pair) and row.source in fold.reals) for row in rows], dtype=np.bool_
        )
        kind = np.array([row.family in fold.families and row.label == 1 for row in rows], dtype=np.bool_)
        real = np.array([row.label == 0 for row in rows], dtype=np.bool_)
        free = np.array([row.speaker not in spoken for row in rows], dtype=np.bool_)
        # Of one speaker's source that is left out, other sources' clips stay out of training too.
        taken = {row.speaker for row, gone in zip(rows, away, strict=True) if gone and row.label == 0}
        away |= np.array([row.speaker in taken for row in rows], dtype=np.bool_)
        splits.append(Split(fold.name, ~away & ~kind & (real | ~kind), (away & (kind | real)) | (kind & free)))
    return splits


def alike_groups(sources: npt.NDArray[np.str_], count: int) -> npt.NDArray[np.int64]:
    """Number of the group of each item [n]: whole sources, the largest first, each where the fewest items are."""
    names, place, sizes = np.unique(sources, return_inverse=True, return_counts=True)
    group, filled = np.zeros(len(names), np.int64), np.zeros(count)
    for name in np.argsort(-sizes, kind="stable"):
        group[name] = int(np.argmin(filled))
        filled[group[name]] += sizes[name]
    return np.asarray(group[place])
