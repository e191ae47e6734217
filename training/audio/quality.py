"""How near the copies are: ``python -m training.audio.quality`` prints a table of all generators of the cache.

The distance is the mean absolute difference of log mel bands (80 bands, 16 ms) between a copy and its real clip, in dB,
over the frames in which the real clip is within 40 dB of its loudest. It says how a copy sounds, not how well it is
found: phases and fine noise are not in it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.sounds import RATE, Floats, Sound, mel_filters
from training.audio.spectra import stft

SIZE, HOP, BANDS = 1024, 256, 80


@dataclass(frozen=True)
class Quality:
    """One generator: copies in all, hours in all, and the mean and the 90th percentile of the distance (dB)."""

    generator: str
    copies: int
    hours: float
    distance: float
    worst: float


def log_mel(samples: Sound) -> Floats:
    """Decibels of mel bands [t, 80], at least -100."""
    mel = np.abs(stft(samples, SIZE, HOP)) @ mel_filters(RATE, SIZE, BANDS).T.astype(np.float64)
    return np.asarray(20 * np.log10(np.maximum(mel, 1e-5)), dtype=np.float64)


def distance(copy: Sound, real: Sound) -> float:
    """Mean distance in dB; both are float32 [n]."""
    ours, theirs = log_mel(copy), log_mel(real)
    loud = theirs.max(axis=1)
    spoken = loud > loud.max() - 40
    return float(np.abs(ours - theirs)[spoken].mean())


def qualities(cache: VoiceCache, count: int, seed: int = 0) -> list[Quality]:
    """All generators of paired copies, measured on ``count`` copies each."""
    rng = np.random.default_rng(seed)
    generators, found = cache.column("generator"), []
    for name in sorted({str(generators[fake]) for fake, _ in cache.pairs}):
        pairs = np.array([pair for pair in cache.pairs if generators[pair[0]] == name])
        hours = sum(cache.rows[int(fake)].seconds for fake, _ in pairs) / 3600
        drawn = rng.permutation(pairs)[:count]
        values = [distance(cache.samples(int(fake)), cache.samples(int(real))) for fake, real in drawn]
        found.append(Quality(name, len(pairs), hours, float(np.mean(values)), float(np.percentile(values, 90))))
    return found


def nearness(cache: VoiceCache, families: Sequence[str], count: int = 30) -> dict[str, float]:
    """How much a family of copies counts: one over the fourth power of its distance from real clips (dB, mel bands).

    Nobody deceives with a vocoder that hisses: vocoders of a few minutes' training lie so far from real speech that a
    scale fitted on them calls whatever a good one makes real. Measured on ``count`` copies of each.
    """
    found, rng = {}, np.random.default_rng(0)
    column = cache.column("family")[cache.pairs[:, 0]]
    for family in families:
        pairs = rng.permutation(cache.pairs[column == family])[:count]
        decibels = [distance(cache.samples(int(fake)), cache.samples(int(real))) for fake, real in pairs]
        found[family] = float(np.mean(decibels)) ** -4
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--count", type=int, default=60)
    options = parser.parse_args(arguments)
    print("| generator | copies | hours | log mel distance (dB) | 90 % |\n|---|---|---|---|---|")
    for each in qualities(load_voice_cache(options.cache), options.count):
        print(f"| {each.generator} | {each.copies} | {each.hours:.2f} | {each.distance:.1f} | {each.worst:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
