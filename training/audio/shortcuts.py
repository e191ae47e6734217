"""Shortcut tests of the voice data: ``python -m training.audio.shortcuts`` asks what trivial numbers say of the class.

Six kinds of numbers that know nothing of speech synthesis (offset, exact zeros, level, silence at the edges, length,
bandwidth) are given to a logistic regression and to boosted trees, cross-validated by speaker. Views:

* ``pairs``: every kind of copy beside the real clips that it copies, after one damage for both and the preprocessing
  that serving uses, as training sees them;
* ``clean``: the same without damage;
* ``traits``: peaks over level, and the quietest frames, of the same pairs. Both follow from phases and from how pauses
  are rebuilt, so they are traits of vocoders and no shortcuts; they are measured because they are trivial too;
* ``unpaired``: synthetic speech without partners beside as many real clips, to show what pairing is for.

An upper confidence limit above 0.60 in ``pairs`` says that a network could learn the cue instead of voices.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.audio.windows import CELL, windows_of
from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.damage import apply_damage, draw_damage
from training.audio.sounds import RATE, Sound, band_edge
from training.data.shortcuts import Result, Shortcuts, Table, score

Ints = npt.NDArray[np.int64]
EDGE = 1_600
SHORTCUTS, TRAITS = 9, 2
"""Numbers of each kind that ``trivial_numbers`` gives, in this order."""
_LOG = logging.getLogger(__name__)


def trivial_numbers(samples: Sound) -> list[float]:
    """Nine numbers of a clip: offset, zeros, level, silence at the edges, length, bandwidth; two traits behind them."""
    if not len(samples):
        return [0.0] * (SHORTCUTS + TRAITS)
    power = np.square(samples, dtype=np.float64)
    level = float(np.sqrt(power.mean()) + 1e-9)
    frames = power[: len(power) // 320 * 320].reshape(-1, 320).mean(axis=1) if len(power) >= 320 else power[:1]

    def decibels(value: float) -> float:
        # Rounded: the preprocessing sets the level to a number, and trees would split on its last digits.
        return round(float(10 * np.log10(value + 1e-12)), 1)

    return [
        float(samples.mean(dtype=np.float64)) / level,
        abs(float(samples.mean(dtype=np.float64))),
        float((samples == 0).mean()),
        float((np.diff(samples) == 0).mean()) if len(samples) > 1 else 0.0,
        decibels(level**2),
        decibels(float(power[:EDGE].mean())) - decibels(level**2),
        decibels(float(power[-EDGE:].mean())) - decibels(level**2),
        len(samples) / RATE,
        band_edge(samples * np.float32(8.0)),
        float(np.abs(samples).max()) / level,
        decibels(float(np.percentile(frames, 5))) - decibels(level**2),
    ]


def seen(samples: Sound, spoken: npt.NDArray[np.float32] | None = None) -> Sound:
    """A clip as a network gets it: its first window, cut to where the mask holds recording.

    Args:
        spoken: cells in which the real clip of the pair speaks; all cells where it is left out.
    """
    speech = np.ones(len(samples) // CELL, np.float32) if spoken is None else spoken
    windows = windows_of(samples, speech)
    if not len(windows):
        return samples[:0]
    held = round(float(windows.mask[0].sum())) * CELL
    return np.asarray(windows.audio[0][: min(held, len(samples))], dtype=np.float32)


def pair_table(cache: VoiceCache, pairs: Ints, damaged: bool, voices: Sequence[Sound], seed: int = 0) -> Table:
    """Trivial numbers of real clips and of their copies, with the speakers as groups.

    Args:
        pairs: positions of (copy, real) in the cache.
        damaged: one damage a pair, drawn from ``seed`` and the pair's place.
    """
    speakers = {name: number for number, name in enumerate(sorted({row.speaker for row in cache.rows}))}
    features, groups = [], []
    for number, (fake, real) in enumerate(pairs):
        damage = draw_damage(np.random.default_rng([seed, number]))
        for item in (real, fake):
            samples = cache.samples(int(item))
            features.append(trivial_numbers(seen(apply_damage(samples, damage, voices) if damaged else samples)))
            groups.append(speakers[cache.rows[int(item)].speaker])
    labels = np.arange(len(features), dtype=np.int64) % 2
    return Table(np.array(features), labels, np.array(groups, dtype=np.int64))


def unpaired_table(cache: VoiceCache, count: int, seed: int = 0) -> Table:
    """The same for synthetic speech without partners beside as many real clips of the largest mix."""
    rng = np.random.default_rng(seed)
    fakes = np.flatnonzero((cache.labels == 1) & (cache.partner < 0))
    reals = np.flatnonzero(cache.labels == 0)
    chosen = np.concatenate([rng.permutation(fakes)[:count], rng.permutation(reals)[: min(count, len(fakes))]])
    speakers = {name: number for number, name in enumerate(sorted({row.speaker for row in cache.rows}))}
    groups = np.array([speakers[cache.rows[int(item)].speaker] for item in chosen], dtype=np.int64)
    features = np.array([trivial_numbers(seen(cache.samples(int(item)))) for item in chosen])
    return Table(features, cache.labels[chosen], groups)


def all_tests(cache: VoiceCache, count: int) -> list[Result]:
    """Every test, ``count`` pairs of each generator at most."""
    rng = np.random.default_rng(0)
    generators = cache.column("generator")
    reals = rng.permutation(np.flatnonzero(cache.labels == 0))[:30]
    voices = [cache.samples(int(item)) for item in reals]
    results = []
    every: list[Ints] = []
    for name in sorted({generators[fake] for fake, _ in cache.pairs}):
        pairs = np.array([pair for pair in cache.pairs if generators[pair[0]] == name], dtype=np.int64)
        pairs = rng.permutation(pairs)[:count]
        every.append(pairs)
        results += both(pair_table(cache, pairs, True, voices), "pairs", name)
    mixed = rng.permutation(np.concatenate(every))[: 3 * count]
    results += both(pair_table(cache, mixed, True, voices), "pairs", "all")
    results += both(pair_table(cache, mixed, False, voices), "clean", "all")[:1]
    if ((cache.labels == 1) & (cache.partner < 0)).sum() >= 20:
        results += both(unpaired_table(cache, count), "unpaired", "all")[:1]
    return results


def both(table: Table, view: str, group: str) -> list[Result]:
    """The shortcuts in their view, then the traits."""
    parts = {view: table.features[:, :SHORTCUTS], "traits": table.features[:, SHORTCUTS:]}
    return [score(replace(table, features=columns), name, group) for name, columns in parts.items()]


def main(arguments: list[str] | None = None) -> int:
    """Run all tests, write the JSON; 1 where a kind of pair exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--pairs", type=int, default=300, help="pairs of each generator")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/voice_shortcuts.json"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    report = Shortcuts(results=tuple(all_tests(load_voice_cache(options.cache), options.pairs)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report.model_dump(), indent=1) + "\n", encoding="utf-8")
    above = [result.group for result in report.results if result.view == "pairs" and not result.passes]
    if above:
        _LOG.warning("pairs above %.2f: %s", report.limit, ", ".join(above))
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
