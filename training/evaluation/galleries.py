"""Leave one gallery out: ``python -m training.evaluation.galleries --json benchmarks/results/gallery_folds.json``.

A network cannot be trained anew for each of seventeen galleries and generators of whole faces here, a line on frozen
features can: pooled means and deviations of four maps of ImageNet's EfficientNet-Lite0, a ridge regression over pairs
of crops that were damaged alike. Every gallery is judged by a line that saw none of its photos, each of its fakes
beside the held-out reals that look most like it (``training.scores.peers_of``). So the table says what the training
pairs teach about a gallery that they do not hold, and whether it helps that fakes without originals stand beside the
reals that look most like them (``alike``) and not beside any real of their manner (``anyone``).
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from training.crops import crops_of
from training.data.cache import PhotoCache
from training.data.pairs import Mixture, PairBatches, Reconstructions
from training.data.photo_split import held_out_photos
from training.data.photos import load_photos
from training.data.sources import PAIRS, WATCHED
from training.held_out_table import mean_wins
from training.models.efficientnet_lite import EfficientNetLite0, pretrained
from training.models.output import normalised
from training.scores import peers_of, wins_of

GROUPS = ("politicians", "stylegan", "restored", "chat_galleries", "diffusion_galleries", "costume_galleries")
"""Of :data:`PAIRS`: faces that are synthetic as a whole."""
GALLERIES = tuple(name for group in PAIRS if group.name in GROUPS for name in group.fakes)
BLOCKS = (5, 8, 11, 15)
SIZE, MARGIN = 160, 1.3
DRAWN, RECONSTRUCTED = 4500, 1500
"""Pairs of labelled fakes, shared out by the square root of a gallery's size, and of reconstructed reals."""
CLEAN = 0.25
RIDGE = 1.0
"""Of standardised features, per item."""
_LOG = logging.getLogger(__name__)
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@torch.inference_mode()
def pooled(model: EfficientNetLite0, crops: Pixels, batch: int = 64) -> npt.NDArray[np.float32]:
    """Means and deviations of the maps after :data:`BLOCKS`, float32 [n, d]; crops uint8 [n, s, s, 3]."""
    rows = []
    for start in range(0, len(crops), batch):
        planar = torch.from_numpy(crops[start : start + batch]).permute(0, 3, 1, 2)
        _, taken = model.maps_after(normalised(planar).contiguous(memory_format=torch.channels_last), BLOCKS)
        told = [value for maps in taken for value in (maps.mean(dim=(2, 3)), maps.std(dim=(2, 3)))]
        rows.append(torch.cat(told, dim=1).numpy())
    return np.concatenate(rows)


def left_out_lines(features: npt.NDArray[np.float32], sources: npt.NDArray[np.str_], ridge: float) -> dict[str, Floats]:
    """A line for each source that saw no pair of it, and one (``""``) that saw all.

    Args:
        features: [2n, d], n reals and then their fakes; sources: [n], of the fakes.
    """
    spread = features.std(axis=0) + 1e-6
    scaled = (features - features.mean(axis=0)) / spread
    labels = np.repeat(np.array([-0.5, 0.5], np.float32), len(sources))
    gram, towards = scaled.T @ scaled, scaled.T @ labels
    lines = {}
    for name in ("", *np.unique(sources)):
        out = np.tile(sources == name, 2)
        own, count = scaled[out], int((~out).sum())
        system = ((gram - own.T @ own) / count).astype(np.float64)
        system[np.diag_indices(len(system))] += ridge
        lines[str(name)] = np.linalg.solve(system, (towards - own.T @ labels[out]) / count) / spread
    return lines


def drawn_pairs(batches: PairBatches, galleries: Mapping[str, Ints], seed: int) -> tuple[Pixels, npt.NDArray[np.str_]]:
    """Crops uint8 [2n, s, s, 3], reals and then fakes, and the sources of the fakes [n]; reconstructions are ``""``."""
    rng = np.random.default_rng(seed)
    roots = {name: float(np.sqrt(len(items))) for name, items in galleries.items()}
    pairs, sources = [], []
    for name, items in galleries.items():
        own = batches.only(items)
        for _ in range(round(DRAWN * roots[name] / sum(roots.values()))):
            pairs.append(own.pair(rng)[:2])
            sources.append(name)
    if batches.rebuilt:
        rebuilt = copy.copy(batches)
        rebuilt.mixture = Mixture(1.0, 0, 0, 0, CLEAN)
        pairs += [rebuilt.pair(rng)[:2] for _ in range(RECONSTRUCTED)]
        sources += [""] * RECONSTRUCTED
    return np.stack([pair[0] for pair in pairs] + [pair[1] for pair in pairs]), np.array(sources)


def judged_photos(photos: PhotoCache) -> dict[str, Ints]:
    """Positions of the fakes of each gallery, and of the held-out reals (``""``)."""
    labels = np.array([row.label for row in photos.rows])
    sources = np.array([row.source for row in photos.rows])
    fakes = {name: np.flatnonzero((labels == 1) & (sources == name)) for name in GALLERIES}
    found = {name: items for name, items in fakes.items() if len(items)}
    return {"": np.flatnonzero(held_out_photos(photos) & (labels == 0))} | found


def judged_features(photos: PhotoCache, model: EfficientNetLite0) -> dict[str, npt.NDArray[np.float32]]:
    """Features of :func:`judged_photos`, as serving would cut them."""
    return {name: pooled(model, crops_of(photos, items, SIZE, MARGIN)) for name, items in judged_photos(photos).items()}


def gallery_rows(
    photos: PhotoCache,
    styles: npt.NDArray[np.float16],
    lines: Mapping[str, Floats],
    features: Mapping[str, npt.NDArray[np.float32]],
) -> list[dict[str, Any]]:
    """``gallery``, ``fakes``, ``auc``, ``low`` and ``high`` (95 % over the fakes) of each that its line never saw.

    Args:
        features: as of :func:`judged_features`.
    """
    galleries = judged_photos(photos)
    reals = galleries.pop("")
    of_reals = [photos.rows[place].source for place in reals.tolist()]
    rng, rows = np.random.default_rng(3), []
    for name, fakes in galleries.items():
        line = lines.get(name, lines[""])  # watched kinds train no line
        scores = np.concatenate([features[""] @ line, features[name] @ line])
        peers = peers_of(styles, fakes, [name] * len(fakes), reals, of_reals)
        known = np.concatenate([np.zeros((len(reals), peers.shape[1]), np.int64), peers])
        told = mean_wins(wins_of(scores, known)[len(reals) :], rng)
        told = {"auc": told["value"], "low": told["low"], "high": told["high"]}
        rows.append({"gallery": name, "fakes": len(fakes), "watched": name in WATCHED, **told})
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cv2.setNumThreads(1)
    photos, styles = load_photos(options.cache, False)
    chosen, model = ~held_out_photos(photos), pretrained().eval()
    judged = judged_photos(photos)
    reals, features = judged.pop(""), judged_features(photos, model)
    galleries = {name: trained for name, items in judged.items() if len(trained := items[chosen[items]])}
    groups = [group for group in PAIRS if group.name in GROUPS]
    rebuilt, mixture = Reconstructions(options.cache / "recon"), Mixture(0, 0, 0, 0, CLEAN)
    alike = PairBatches(photos, chosen, rebuilt, SIZE, MARGIN, 1, 1, 0, mixture, groups, styles)
    anyone = copy.copy(alike)
    anyone.partners = {}
    tables = {}
    for name, batches in (("alike", alike), ("anyone", anyone)):
        _LOG.info("pairs with partners: %s", name)
        crops, of_pairs = drawn_pairs(batches, galleries, seed=11)
        rows = gallery_rows(photos, styles, left_out_lines(pooled(model, crops), of_pairs, RIDGE), features)
        tables[name] = {"mean": round(float(np.mean([row["auc"] for row in rows])), 4), "galleries": rows}
        _LOG.info("mean AUC %.4f", tables[name]["mean"])
    content = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "pairs": len(of_pairs),
        "reconstructed": int((of_pairs == "").sum()),
        "reals": len(reals),
        **tables,
    }
    options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
