"""A sheet of pseudo-fakes to look at: ``python -m training.sheet OUT.png`` (rows: a real, below it its fake)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from training.data.cache import load_cache
from training.data.pairs import Mixture, PairBatches, Reconstructions

KINDS = (
    Mixture(0, 0, 0, 0),
    Mixture(1, 0, 0, 0),
    Mixture(0, 1, 0, 0),
    Mixture(0, 0, 1, 0),
    Mixture(0, 0, 0, 1),
)


def sheet(cache: Path, columns: int = 10, size: int = 160, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Two rows for each kind of pair: labelled, reconstructed, self-blended, part-reconstructed, cross-blended.

    Returns:
        uint8 [10 * size, columns * size, 3] RGB.
    """
    photos, rebuilt = load_cache(cache / "photos"), Reconstructions(cache / "recon")
    everything = np.ones(len(photos), dtype=np.bool_)
    rows = []
    for mixture in KINDS:
        batch, _ = PairBatches(photos, everything, rebuilt, size, 1.3, columns, 1, seed, mixture)[0]
        crops = batch.permute(0, 2, 3, 1).numpy()
        rows += [np.hstack(list(crops[:columns])), np.hstack(list(crops[columns:]))]
    return np.vstack(rows)


def main(arguments: list[str] | None = None) -> int:
    """Write the sheet as a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    picture = sheet(options.cache, seed=options.seed)
    if not cv2.imwrite(str(options.out), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise SystemExit(f"cannot write {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
