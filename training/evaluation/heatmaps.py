"""Do heat maps point at what was changed: ``python -m training.evaluation.heatmaps``.

Held-out real photos are self-blended with a known mask. A map is worth the area under the ROC curve of its pixels
against the mask (at least half of the mask's largest value counts as changed), taken face by face and averaged. Beside
it stands the same for the mean training mask, which knows where masks lie and nothing of the photo: a map that is no
better says only that faces are in the middle.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from cards.repository import ModelRepository
from pipelines.image.align import align_faces
from pipelines.infer import Infer, run_in_batches
from pipelines.metrics import auc
from pipelines.onnx_infer import OnnxInfer
from training.data.cache import PhotoCache, load_cache
from training.data.photo_split import held_out_photos
from training.evaluation.masked import KINDS, blended_with, draw_mask, mask_in_crop, training_kind

#: Side at which map and mask are compared, in pixels.
SIDE = 80
ROUNDS = 1000
#: All kinds in the shares of training: the faces that the mean training mask was taken over.
MIXED = "mixed"
#: uint8 [n, s, s, 3] to maps [n, h, w].
Maps = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
Floats = npt.NDArray[np.float64]
_LOG = logging.getLogger(__name__)


class MapQuality(BaseModel):
    """Pixel AUC on one kind of masks, with 95 % bootstrap intervals over faces."""

    model_config = ConfigDict(frozen=True)

    kind: str
    faces: int
    auc: float
    auc_low: float
    auc_high: float
    mean_mask_auc: float
    """Of the mean training mask on the same faces."""
    gain: float
    """``auc - mean_mask_auc``, paired by face."""
    gain_low: float
    gain_high: float
    flagged_only: float | None = None
    """``auc`` of the faces whose logit is above that of nine in ten of the untouched photos."""


def mean_mask(size: int, margin: float, draws: int = 2000, seed: int = 3) -> npt.NDArray[np.float32]:
    """The mean of the masks that the head is trained on, as a crop shows it: float32 [size, size]."""
    rng = np.random.default_rng(seed)
    drawn = [mask_in_crop(draw_mask(training_kind(rng), rng), size, margin) for _ in range(draws)]
    return np.asarray(np.mean(drawn, axis=0), dtype=np.float32)


def pixel_auc(heatmap: npt.NDArray[np.floating], mask: npt.NDArray[np.float32], side: int = SIDE) -> float:  # type: ignore[type-arg]
    """AUC of a map's pixels against a mask; both are brought to this side. NaN where all or nothing changed."""
    drawn = cv2.resize(np.asarray(heatmap, dtype=np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    truth = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
    return auc(drawn.ravel(), (truth >= 0.5 * max(float(truth.max()), 1e-6)).ravel().astype(np.int64))


def blended_crops(
    cache: PhotoCache, items: npt.NDArray[np.int64], kind: str, size: int, margin: float, seed: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Self-blended crops uint8 [n, size, size, 3] and their masks float32 [n, size, size]; a kind or ``MIXED``."""
    rng = np.random.default_rng(seed)
    crops = np.empty((len(items), size, size, 3), np.uint8)
    masks = np.empty((len(items), size, size), np.float32)
    for place, item in enumerate(items):
        photo, points = np.ascontiguousarray(cache.photo(int(item))), cache.landmarks[item]
        mask = draw_mask(training_kind(rng) if kind == MIXED else kind, rng)
        crops[place] = align_faces(blended_with(photo, points, mask, rng), points[None], size, margin)[0]
        masks[place] = mask_in_crop(mask, size, margin)
    return crops, masks


def held_out_reals(cache: PhotoCache, most: int, seed: int = 11) -> npt.NDArray[np.int64]:
    """Positions of at most ``most`` real photos that no run is trained on."""
    reals = np.flatnonzero(held_out_photos(cache) & (np.array([row.label for row in cache.rows]) == 0))
    return np.sort(np.random.default_rng(seed).permutation(reals)[:most])


def map_quality(
    kind: str,
    maps: npt.NDArray[np.float32],
    masks: npt.NDArray[np.float32],
    prior: npt.NDArray[np.float32],
    flagged: npt.NDArray[np.bool_] | None = None,
    seed: int = 7,
) -> MapQuality:
    """Quality of maps [n, h, w] against masks [n, s, s], beside the prior [s, s]."""
    found = np.array([pixel_auc(heatmap, mask) for heatmap, mask in zip(maps, masks, strict=True)])
    blind = np.array([pixel_auc(prior, mask) for mask in masks])
    kept = np.isfinite(found)
    found, blind = found[kept], blind[kept]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(found), size=(ROUNDS, len(found)))
    low, high = np.quantile(found[drawn].mean(axis=1), [0.025, 0.975])
    worst, best = np.quantile((found - blind)[drawn].mean(axis=1), [0.025, 0.975])
    chosen = None if flagged is None else flagged[kept]
    return MapQuality(
        kind=kind,
        faces=len(found),
        auc=float(found.mean()),
        auc_low=float(low),
        auc_high=float(high),
        mean_mask_auc=float(blind.mean()),
        gain=float((found - blind).mean()),
        gain_low=float(worst),
        gain_high=float(best),
        flagged_only=float(found[chosen].mean()) if chosen is not None and chosen.any() else None,
    )


def measure(
    cache: PhotoCache, infer: Infer, model: str, size: int, margin: float, batch: int, most: int = 300, seed: int = 5
) -> list[MapQuality]:
    """Measure the CAM output of a network of the repository on each kind of mask, and on all together."""
    items = held_out_reals(cache, most)
    untouched = np.stack(
        [
            align_faces(np.ascontiguousarray(cache.photo(int(i))), cache.landmarks[i][None], size, margin)[0]
            for i in items
        ]
    )
    limit = float(np.quantile(run_in_batches(infer, model, "IMAGES", untouched, ("LOGIT",), batch)["LOGIT"], 0.9))
    prior = mean_mask(size, margin)
    rows = []
    for number, kind in enumerate((*KINDS, MIXED)):
        crops, masks = blended_crops(cache, items, kind, size, margin, seed + number)
        answer = run_in_batches(infer, model, "IMAGES", crops, ("LOGIT", "CAM"), batch)
        rows.append(map_quality(kind, answer["CAM"], masks, prior, answer["LOGIT"][:, 0] > limit))
        _LOG.info("%s", rows[-1].model_dump_json())
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="blend_cnn", help="the network that draws the heat maps of a verdict")
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--faces", type=int, default=300)
    parser.add_argument("--json", type=Path, metavar="OUT")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    repository = ModelRepository(options.models)
    card = repository.card(options.model)
    if card.preprocessing is None:
        raise SystemExit(f"{options.model} takes no face crops")
    geometry = (card.preprocessing.size, card.preprocessing.margin)
    cache = load_cache(options.cache / "photos")
    rows = measure(cache, OnnxInfer(repository), options.model, *geometry, card.max_batch_size, options.faces)
    if options.json:
        told = {
            "model": options.model,
            "weights": repository.record(options.model).weights_sha256,
            "data": "self-blended held-out real training photos",
            "kinds": [row.model_dump() for row in rows],
        }
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
