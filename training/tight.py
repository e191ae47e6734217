"""Photos that end at the face: who judges them, and held-out photos that are cut so.

A card (:class:`cards.card.Tight`) names the networks that stand in for those with wide crops. A verdict is fitted with
each photo judged by those that serving would ask.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cards.card import Tight
from pipelines.image.align import align_faces, face_sizes, inside_shares, inverse_transforms, similarities
from training.crops import logits_of
from training.data.cache import PhotoCache
from training.report import Fit, FusedFit, settings_of
from training.scores import Scores, averaged, kinds_of, mean_kind_auc, rivals_of

_LOG = logging.getLogger(__name__)
REACH = (0.42, 0.75)
"""How far a photo that is cut to its face reaches from the middle, in face sizes: a crop with margin 1 reaches 0.5."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Ends:
    """Where photos end at their face.

    Attributes:
        tight: who is asked about those; there: [n], of the scored photos; photos: the cache.
        margin: of the widest crop.
    """

    tight: Tight
    there: npt.NDArray[np.bool_]
    photos: PhotoCache
    margin: float


def cut_to_face(
    photo: Pixels, landmarks: npt.NDArray[np.float32], reach: Sequence[float]
) -> tuple[Pixels, npt.NDArray[np.float32]]:
    """The part of a photo around a face, and the face's landmarks in it.

    Args:
        photo: uint8 [h, w, 3]; landmarks: [5, 2].
        reach: left, up, right and down of the face's middle, in face sizes.
    """
    size = float(face_sizes(landmarks[None])[0])
    middle = inverse_transforms(similarities(landmarks[None], 1, 1.0))[0][:, 2]  # of a crop of one pixel
    left, up, right, down = np.array(reach) * size
    last = np.array([photo.shape[1], photo.shape[0]])
    low = np.clip(np.floor(middle - np.array([left, up])), 0, last - 1).astype(int)
    high = np.clip(np.ceil(middle + np.array([right, down])), low + 1, last).astype(int)
    return np.ascontiguousarray(photo[low[1] : high[1], low[0] : high[0]]), (landmarks - low).astype(np.float32)


def drawn_reach(item: int) -> list[float]:
    """How far a photo of the cache is cut: the same for every network."""
    return [float(reach) for reach in np.random.default_rng([5, item]).uniform(*REACH, 4)]


def tight_crops(cache: PhotoCache, items: Ints, size: int, margin: float) -> Pixels:
    """Crops of photos that were cut to their faces first, uint8 [n, size, size, 3]."""
    crops = np.empty((len(items), size, size, 3), np.uint8)
    for place, item in enumerate(items.tolist()):
        photo, points = cut_to_face(cache.photo(item), cache.landmarks[item], drawn_reach(item))
        crops[place] = align_faces(photo, points[None], size, margin)[0]
    return crops


def shares_inside(cache: PhotoCache, items: Ints, margin: float, tight: bool = False) -> Floats:
    """Share of each photo's crop that lies inside it, float64 [n]; ``tight`` of the photo cut to its face."""
    found = np.empty(len(items))
    for place, item in enumerate(items.tolist()):
        photo, points = cache.photo(item), cache.landmarks[item]
        if tight:
            photo, points = cut_to_face(photo, points, drawn_reach(item))
        found[place] = inside_shares(points[None], photo.shape[0], photo.shape[1], margin)[0]
    return found


def as_asked(log_odds: Floats, names: Sequence[str], ends_there: npt.NDArray[np.bool_], tight: Tight) -> Floats:
    """Log-odds [n, m] with minus infinity, which adds nothing to odds, where serving would not ask a member.

    Args:
        names: of the members [m]; ends_there: [n], whether a photo ends at its face.
    """
    told = log_odds.copy()
    for column, name in enumerate(names):
        if name in tight.instead:
            told[ends_there, column] = -np.inf
        elif name in tight.instead.values():
            told[~ends_there, column] = -np.inf
    return told


def member_odds(members: Mapping[str, tuple[Scores, Fit]], names: Sequence[str], ends: Ends | None = None) -> Floats:
    """Calibrated log-odds of members on the photos that they scored, [n, m]; ``ends`` as of ``as_asked``."""
    columns = [
        fit.calibration.slope * scores.logits + fit.calibration.intercept
        for scores, fit in map(members.__getitem__, names)
    ]
    odds = np.column_stack(columns)
    return odds if ends is None else as_asked(odds, names, ends.there, ends.tight)


def asked_of(names: Sequence[str], tight: Tight | None) -> Mapping[str, str]:
    """The stand-ins among the members of a verdict: of which member each is asked in place.

    Raises:
        ValueError: a member is there without its stand-in, or the other way round.
    """
    pairs = tight.instead if tight else {}
    for name, other in pairs.items():
        if (name in names) != (other in names):
            raise ValueError(
                f"{name} and {other} are members together or not at all: the card of image_faces pairs them"
            )
    return {name: other for name, other in pairs.items() if name in names}


def tell_cut(fused: FusedFit, runs: Mapping[str, Path], members: Mapping[str, tuple[Scores, Fit]], ends: Ends) -> None:
    """What the verdict is worth on held-out photos that are cut to their faces, and how many reals it flags."""
    photos, scores = ends.photos, next(iter(members.values()))[0]
    assert scores.items is not None
    # Pseudo-fakes stand last, so that the places of reals in the peers stay.
    count = int((~np.char.startswith(scores.sources.astype(str), "pseudo:")).sum())
    items, names = scores.items[:count], tuple(fused.weights)
    columns = []
    for name in names:
        settings, calibration = settings_of(runs[name] / "last.pt")[0], members[name][1].calibration
        crops = tight_crops(photos, items, settings.size, settings.margin)
        logits = logits_of(averaged(runs[name] / "last.pt"), crops)
        columns.append(calibration.slope * logits.astype(float) + calibration.intercept)
    there = shares_inside(photos, items, ends.margin, tight=True) < ends.tight.inside
    asked = as_asked(np.column_stack(columns), names, there, ends.tight)
    values = fused.log_odds(asked)
    peers = None if scores.peers is None else scores.peers[:count]
    cut = Scores(values, scores.labels[:count], scores.sources[:count], scores.fitted_on, None, peers, items)
    point = fused.fit.operating_points[fused.fit.default_operating_point]
    flagged = 1 / (1 + np.exp(-values[cut.labels == 0])) >= point.threshold
    _LOG.info(
        "cut to their faces: mean AUC %.4f, %.1f %% of reals flagged",
        mean_kind_auc(values, kinds_of(cut), rivals_of(cut)),
        100 * flagged.mean(),
    )
