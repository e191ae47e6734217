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
from torch import Tensor, nn

from training.crops import crops_of
from training.data.cache import PhotoCache
from training.data.pairs import Mixture, PairBatches, Reconstructions
from training.data.photo_split import held_out_photos
from training.data.photos import load_photos
from training.data.sources import PAIRS, WATCHED
from training.models.efficientnet_lite import EfficientNetLite0, pretrained
from training.models.output import normalised
from training.scores import peers_of, wins_of

GROUPS = ("politicians", "stylegan", "restored", "chat_galleries", "diffusion_galleries", "costume_galleries")
"""Of :data:`PAIRS`: faces that are synthetic as a whole."""
BLOCKS = (5, 8, 11, 15)
SIZE, MARGIN = 160, 1.3
DRAWN, RECONSTRUCTED = 4500, 1500
"""Pairs of labelled fakes, shared out by the square root of a gallery's size, and of reconstructed reals."""
CLEAN = 0.25
RIDGE = 1.0
"""Of standardised features, per item."""
ROUNDS = 500
_LOG = logging.getLogger(__name__)
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@torch.inference_mode()
def pooled(model: EfficientNetLite0, crops: Pixels, batch: int = 64) -> npt.NDArray[np.float32]:
    """Means and deviations of the maps after :data:`BLOCKS`, float32 [n, d]; crops uint8 [n, s, s, 3]."""
    told: list[Tensor] = []

    def keep(_module: nn.Module, _given: Any, maps: Tensor) -> None:
        told.append(torch.cat([maps.mean(dim=(2, 3)), maps.std(dim=(2, 3))], dim=1))

    hooks = [model._blocks[place].register_forward_hook(keep) for place in BLOCKS]
    rows = []
    for start in range(0, len(crops), batch):
        planar = torch.from_numpy(crops[start : start + batch]).permute(0, 3, 1, 2)
        model.features(normalised(planar).contiguous(memory_format=torch.channels_last))
        rows.append(torch.cat(told, dim=1).numpy())
        told.clear()
    for hook in hooks:
        hook.remove()
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
        rebuilt = batches.only(next(iter(galleries.values())))
        rebuilt.mixture = Mixture(1.0, 0, 0, 0, CLEAN)
        pairs += [rebuilt.pair(rng)[:2] for _ in range(RECONSTRUCTED)]
        sources += [""] * RECONSTRUCTED
    return np.stack([pair[0] for pair in pairs] + [pair[1] for pair in pairs]), np.array(sources)


def gallery_rows(
    photos: PhotoCache, styles: npt.NDArray[np.float16], lines: Mapping[str, Floats], model: EfficientNetLite0
) -> list[dict[str, Any]]:
    """``gallery``, ``fakes``, ``auc``, ``low`` and ``high`` (95 % over the fakes) of each that its line never saw."""
    labels = np.array([row.label for row in photos.rows])
    sources = np.array([row.source for row in photos.rows])
    reals = np.flatnonzero(held_out_photos(photos) & (labels == 0))
    of_reals = pooled(model, crops_of(photos, reals, SIZE, MARGIN))
    rng, rows = np.random.default_rng(3), []
    for name in (name for group in PAIRS if group.name in GROUPS for name in group.fakes):
        fakes = np.flatnonzero((labels == 1) & (sources == name))
        if not len(fakes):
            continue
        line = lines.get(name, lines[""])  # watched kinds train no line
        scores = np.concatenate([of_reals @ line, pooled(model, crops_of(photos, fakes, SIZE, MARGIN)) @ line])
        peers = peers_of(styles, fakes, [name] * len(fakes), reals, sources[reals].tolist())
        known = np.concatenate([np.zeros((len(reals), peers.shape[1]), np.int64), peers])
        wins = wins_of(scores, known)[len(reals) :]
        low, high = np.percentile(wins[rng.integers(0, len(wins), (ROUNDS, len(wins)))].mean(axis=1), [2.5, 97.5])
        told = {"auc": round(float(wins.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}
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
    labels, sources = np.array([row.label for row in photos.rows]), np.array([row.source for row in photos.rows])
    chosen, model = ~held_out_photos(photos), pretrained().eval()
    groups = [group for group in PAIRS if group.name in GROUPS]
    galleries = {
        name: items
        for name in (name for group in groups for name in group.fakes)
        if len(items := np.flatnonzero(chosen & (labels == 1) & (sources == name)))
    }
    rebuilt = Reconstructions(options.cache / "recon")
    tables = {}
    for partners, known in (("alike", styles), ("anyone", None)):
        mixture = Mixture(0, 0, 0, 0, CLEAN)
        batches = PairBatches(photos, chosen, rebuilt, SIZE, MARGIN, 1, 1, 0, mixture, groups, known)
        _LOG.info("pairs with partners: %s", partners)
        crops, of_pairs = drawn_pairs(batches, galleries, seed=11)
        rows = gallery_rows(photos, styles, left_out_lines(pooled(model, crops), of_pairs, RIDGE), model)
        tables[partners] = {"mean": round(float(np.mean([row["auc"] for row in rows])), 4), "galleries": rows}
        _LOG.info("mean AUC %.4f", tables[partners]["mean"])
    content = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "pairs": len(of_pairs),
        "reconstructed": int((of_pairs == "").sum()),
        "reals": int((held_out_photos(photos) & (labels == 0)).sum()),
        **tables,
    }
    options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
