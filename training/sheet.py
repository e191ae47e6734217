"""A sheet of every kind of pair and damage to look at: ``python -m training.sheet OUT.png``.

Under each name stand a row of reals and below it their fakes, moved and mirrored alike but not damaged; under a kind of
damage stand photos and below them what it makes of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from training.augment import Damage, apply_damage, draw_damage
from training.data.cache import PhotoCache, load_cache
from training.data.pairs import KINDS, Mixture, PairBatches, Reconstructions
from training.data.recapture import draw_screenshot, draw_video

Pixels = npt.NDArray[np.uint8]
MARGIN = 1.3
CAPTION = 24
"""Height of a caption in pixels."""
DAMAGES: dict[str, Callable[[np.random.Generator], Damage]] = {
    "damage of every run": draw_damage,
    "video_frames": lambda rng: Damage(video=draw_video(rng)),
    "screenshots": lambda rng: Damage(screenshot=draw_screenshot(rng)),
}


def rows_of(
    photos: PhotoCache, rebuilt: Reconstructions, columns: int = 10, size: int = 160, seed: int = 0
) -> dict[str, Pixels]:
    """Two rows of crops, uint8 [2 * size, columns * size, 3], for each of ``KINDS`` and ``DAMAGES`` by its name."""
    everything = np.ones(len(photos), dtype=np.bool_)
    nothing = Mixture(**dict.fromkeys(Mixture.__dataclass_fields__, 0.0))
    batches = PairBatches(photos, everything, rebuilt, size, MARGIN, columns, 1, seed)
    rows = {}
    for kind in KINDS:
        shares = {} if kind == "labelled" else {kind: 1.0}
        batches.mixture = replace(nothing, clean=1.0, **shares)
        crops = batches[0][0].permute(0, 2, 3, 1).numpy()
        rows[kind] = np.vstack([np.hstack(list(crops[:columns])), np.hstack(list(crops[columns:]))])
    for name, drawn in DAMAGES.items():
        rng = np.random.default_rng([seed, 1])
        pairs = []
        for place in rng.choice(len(photos), columns):
            photo, points = np.ascontiguousarray(photos.photo(int(place))), photos.landmarks[place]
            shown = [apply_damage(photo, points, damage, size, MARGIN) for damage in (Damage(), drawn(rng))]
            pairs.append(np.vstack(shown))
        rows[name] = np.hstack(pairs)
    return rows


def captioned(name: str, rows: Pixels) -> Pixels:
    """A picture under a white line with its name in it."""
    line = np.full((CAPTION, rows.shape[1], 3), 255, np.uint8)
    cv2.putText(line, name, (6, CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([line, rows])


def sheet(cache: Path, columns: int = 10, size: int = 160, seed: int = 0) -> Pixels:
    """The captioned rows of everything there is.

    Args:
        cache: folder with ``photos`` and ``recon``; without reconstructions self-blended pairs stand in their places.

    Returns:
        uint8 [kinds * (24 + 2 * size), columns * size, 3] RGB.
    """
    rows = rows_of(load_cache(cache / "photos"), Reconstructions(cache / "recon"), columns, size, seed)
    return np.vstack([captioned(name, each) for name, each in rows.items()])


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
