"""The held-out photos as a manifest: ``python -m training.evaluation.held_out OUT.csv``.

``deepscan report DATA --manifest OUT.csv`` and ``python -m benchmarks.crowds DATA --manifest OUT.csv`` then measure on
photos that no run is trained on. They come from the sources that runs are trained on, so the numbers flatter: they show
that a measure works and compare networks, they do not say what a new source will bring.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

from training.data.cache import PhotoCache, load_cache
from training.data.photo_split import held_out_photos
from training.data.sources import PAIRS


def manifest_rows(cache: PhotoCache) -> list[tuple[str, str, str]]:
    """Path (relative to the data), ``real`` or ``fake``, and group of each held-out photo.

    A group is a pair of sources; reals that stand beside no one set of fakes form the group ``other_reals``.
    """
    groups = {f"fake/{name}": pair.name for pair in PAIRS for name in pair.fakes}
    groups |= {f"real/{name}": pair.name for pair in reversed(PAIRS) if pair.matched for name in pair.reals}
    result = []
    for place in np.flatnonzero(held_out_photos(cache)):
        row = cache.rows[int(place)]
        word = "fake" if row.label else "real"
        result.append((row.path, word, groups.get(f"{word}/{row.source}", f"other_{word}s")))
    return result


def main(arguments: list[str] | None = None) -> int:
    """Write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    with options.out.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(("path", "label", "group"))
        writer.writerows(manifest_rows(load_cache(options.cache / "photos")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
