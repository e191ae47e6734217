"""Cut the cache into windows, and pack some for a machine without decoders: ``python -m training.audio.cuts A B``.

A pack holds the first window of every real clip that trains, copies of it by the families in turn, some of both after a
codec (the same one for all copies of a clip), and all windows that stand aside. Folders get whole windows each, up to
``--megabytes``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.audio.windows import CELL, SAMPLES, windows_of
from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.damage import Damage, apply_damage
from training.audio.features import front_mark, speech_of_cache
from training.audio.manifest import VoiceRow, write_rows
from training.audio.networks import CODED
from training.audio.pairs import BLOB, ROWS, STEP, TOLD, Cut, held_out, packed

TURNS = ("hifigan", "own_istft", "hifigan", "own_codec", "hifigan", "own_upsampling")
"""Families of the packed copies, by turns."""
CODES = (
    *(("mp3", 16_000, bits) for bits in (32_000, 48_000, 64_000, 64_000, 96_000)),
    *(("opus", 16_000, bits) for bits in (12_000, 16_000, 16_000, 24_000)),
    *(("aac", 16_000, bits) for bits in (32_000, 48_000)),
    ("mp3", 44_100, 64_000),
    ("opus", 48_000, 32_000),
    ("amr", 8_000, 12_200),
)
_LOG = logging.getLogger(__name__)
Whole = npt.NDArray[np.int16]


def stored(audio: npt.NDArray[np.float32]) -> Whole:
    """A window in steps of 16 bits over -2 to 2."""
    return np.asarray(np.round(audio / STEP).clip(-32768, 32767), np.int16)


def cut_cache(cache: VoiceCache) -> Cut:
    """Cut every paired clip, or read what an earlier call cut of the same clips; the windows stay on disk."""
    folder, paths = cache.folder / "features", [row.path for row in cache.rows]
    mark = f"{front_mark()}-{hashlib.sha256(chr(10).join(paths).encode()).hexdigest()[:8]}-paired"
    file, told = folder / f"{mark}.i16", folder / f"{mark}.npz"
    if told.is_file():
        with np.load(told) as held:
            columns = {name: held[name] for name in ("cells", "clip", "number", "weight")}
    else:
        speech = speech_of_cache(cache)
        rows: dict[str, list[float]] = {name: [] for name in ("cells", "clip", "number", "weight")}
        with file.open("wb") as handle:
            for place in np.flatnonzero((cache.labels == 0) | (cache.partner >= 0)).tolist():
                found = windows_of(cache.samples(place), speech[place])
                for number in range(len(found)):
                    handle.write(stored(found.audio[number]).astype("<i2").tobytes())
                    rows["cells"].append(found.mask[number].sum())
                    rows["clip"].append(place)
                    rows["number"].append(number)
                    rows["weight"].append(found.weight[number])
        columns = {
            name: np.array(values, np.float32 if name == "weight" else np.int64) for name, values in rows.items()
        }
        np.savez(told, **columns)
    audio = np.memmap(file, "<i2", "r", shape=(len(columns["clip"]), SAMPLES))
    return Cut(audio, columns["cells"], columns["clip"], columns["number"], columns["weight"])


Packed = tuple[VoiceRow, int, int, float, Whole]
"""Row, number of the window, its cells, its seconds of speech, its samples."""


def held_windows(cache: VoiceCache, cut: Cut) -> Iterator[Packed]:
    """All windows that stand aside."""
    _, held = held_out(cache)
    for window in np.flatnonzero(held[cut.clip]).tolist():
        yield (
            cache.rows[int(cut.clip[window])],
            int(cut.number[window]),
            int(cut.cells[window]),
            float(cut.weight[window]),
            cut.audio[window],
        )


def training_windows(cache: VoiceCache, cut: Cut, copies: int, seed: int) -> Iterator[list[Packed]]:
    """Real clips in random order, each with ``copies`` copies; all clean ones, then again through codecs."""
    rng = np.random.default_rng(seed)
    chosen, _ = held_out(cache)
    first = {int(cut.clip[window]): window for window in np.flatnonzero(cut.number == 0).tolist()}
    families, speech = cache.column("family"), speech_of_cache(cache)
    reals = [clip for clip in first if chosen[clip] and cache.labels[clip] == 0]
    own: dict[int, dict[str, list[int]]] = {}
    for clip in first:
        if chosen[clip] and cache.partner[clip] >= 0:
            own.setdefault(int(cache.partner[clip]), {}).setdefault(str(families[clip]), []).append(clip)
    turn = 0
    for coded in (False, True):
        for real in rng.permutation(reals).tolist():
            taken, tries = [real], 0
            while len(taken) <= copies and tries < len(TURNS):
                clips = own.get(real, {}).get(TURNS[turn % len(TURNS)], [])
                fresh = [clip for clip in clips if clip not in taken]
                taken += [int(rng.choice(fresh))] if fresh else []
                turn, tries = turn + 1, tries + 1
            if not coded:
                windows = [first[clip] for clip in taken]
                yield [
                    (cache.rows[clip], 0, int(cut.cells[w]), float(cut.weight[w]), cut.audio[w])
                    for clip, w in zip(taken, windows, strict=True)
                ]
                continue
            code = CODES[int(rng.integers(len(CODES)))]
            group = []
            for clip in taken:
                made = apply_damage(cache.samples(clip), Damage(codecs=(code,)))
                found = windows_of(made, speech[real][: len(made) // CELL])
                row, mark = cache.rows[clip], f"{CODED}{'-'.join(str(each) for each in code)}"
                row = replace(row, path=row.path + mark, pair=row.pair + mark)
                if len(found):
                    cells, weight = int(found.mask[0].sum()), float(found.weight[0])
                    group.append((row, 0, cells, weight, stored(found.audio[0])))
            yield group


def write_packs(cache: VoiceCache, cut: Cut, folders: Sequence[Path], most: int, copies: int = 2, seed: int = 1) -> int:
    """Fill the folders one after the other with at most ``most`` bytes of windows each; returns how many windows."""
    rows: dict[str, VoiceRow] = {}
    kept: list[list[tuple[bytes, str, int, int, float]]] = [[] for _ in folders]
    sizes, at = [0] * len(folders), 0
    groups = [[each] for each in held_windows(cache, cut)]
    for turn, group in enumerate((*groups, *training_windows(cache, cut, copies, seed))):
        coded = [
            (packed(np.ascontiguousarray(audio[: min(cells * CELL, SAMPLES)])), row.path, number, cells, weight)
            for row, number, cells, weight, audio in group
        ]
        size = sum(len(each[0]) for each in coded)
        if sizes[at] + size > most:
            at += 1
            if at == len(folders):
                break
        sizes[at] += size
        kept[at] += coded
        rows.update({row.path: row for row, *_ in group})
        if turn % 100 == 0:
            _LOG.info("packed %d groups, %.1f MB", turn, sum(sizes) / 1e6)
    order = sorted(rows.values(), key=lambda row: (row.label, row.path))
    place = {row.path: number for number, row in enumerate(order)}
    for folder, windows in zip(folders, kept, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        write_rows(folder / ROWS, order)
        (folder / BLOB).write_bytes(b"".join(code for code, *_ in windows))
        told = {
            "bytes": [len(code) for code, *_ in windows],
            "clip": [place[path] for _, path, *_ in windows],
            "number": [number for _, _, number, _, _ in windows],
            "cells": [cells for *_, cells, _ in windows],
            "weight": [weight for *_, weight in windows],
        }
        (folder / TOLD).write_text(json.dumps(told), encoding="utf-8")
    return sum(len(windows) for windows in kept)


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack windows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--megabytes", type=float, default=48.0, help="of windows in each folder")
    parser.add_argument("--copies", type=int, default=2, help="of each real clip")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cache = load_voice_cache(options.cache)
    count = write_packs(cache, cut_cache(cache), options.folders, round(options.megabytes * 1e6), options.copies)
    _LOG.info("%d windows", count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
