"""What photo networks learn from: the photos, and beside them frames of the training clips where they are wanted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.cache import PhotoCache, load_cache
from training.data.layout import read_data
from training.data.manifest import Row
from training.data.relations import clip_identities
from training.data.style import FILE
from training.video.folds import clip_folds, source_of

PREFIX = "clip:"
"""Before the name of a clip's source, so that it is not taken for a source of photos."""
CLIPS = "clips.csv"
"""Manifest of all clips, whose folds a run may be told to leave out."""
_LOG = logging.getLogger(__name__)


def with_stills(photos: PhotoCache, stills: PhotoCache) -> tuple[PhotoCache, npt.NDArray[np.int64]]:
    """Photos followed by stills, in memory, and which stills were taken.

    A still that shows a person or an original of some photos (FaceForensics++'s ids) joins their cluster; one that
    would tie two clusters of photos is left out, so that the clusters of photos, and with them the held-out photos,
    stay as they are.
    """
    known = {name: int(number) for row, number in zip(photos.rows, photos.clusters) for name in row.identities}
    ties: dict[int, set[int]] = {}
    for row, number in zip(stills.rows, stills.clusters.tolist()):
        ties.setdefault(number, set()).update(known[name] for name in row.identities if name in known)
    free = int(photos.clusters.max(initial=-1)) + 1
    number_of: dict[int, int] = {}
    for number, tied in sorted(ties.items()):
        if len(tied) < 2:
            number_of[number] = next(iter(tied), free)
            free += not tied
    taken = np.array([p for p, number in enumerate(stills.clusters.tolist()) if number in number_of], dtype=np.int64)
    if len(taken) < len(stills):
        _LOG.info("%d stills tie photos that stand apart, and are left out", len(stills) - len(taken))
    clusters = np.array([number_of[number] for number in stills.clusters[taken].tolist()], dtype=np.int32)
    both = PhotoCache(
        pixels=np.concatenate([photos.pixels, stills.pixels[taken]]),
        shapes=np.concatenate([photos.shapes, stills.shapes[taken]]),
        landmarks=np.concatenate([photos.landmarks, stills.landmarks[taken]]),
        clusters=np.concatenate([photos.clusters, clusters]),
        rows=[*photos.rows, *(stills.rows[place] for place in taken.tolist())],
    )
    return both, taken


def load_photos(cache: Path, stills: bool) -> tuple[PhotoCache, npt.NDArray[np.float16]]:
    """What a run is trained on: the photos, with the stills where they are wanted, and all their features of style."""
    photos, styles = load_cache(cache / "photos"), np.load(cache / "photos" / FILE)
    if not stills:
        return photos, styles
    both, taken = with_stills(photos, load_cache(cache / "stills"))
    return both, np.concatenate([styles, np.load(cache / "stills" / FILE)[taken]])


def fold_barred(rows: Sequence[Row], cache: Path, fold: int) -> npt.NDArray[np.bool_]:
    """Mask of the photos and stills that a run must not see which leaves out a fold of the clips.

    They are the stills of clips that the fold does not train on, the photos that share a person or an original with a
    tested clip, and FaceForensics++'s photos where its clips are tested, since its methods are those of the photos.

    Args:
        rows: of the cache (:func:`load_photos`); cache: the folder that it was read from.
        fold: number of the fold (``training.video.folds``).
    """
    clips = read_data(cache / "stills" / CLIPS)
    identities = [frozenset((*row.identities, *clip_identities(row.source, Path(row.path).name))) for row in clips]
    chosen = clip_folds(clips, identities)[fold]
    seen = {clips[place].path for place in chosen.train.tolist()}
    tested = frozenset().union(*(identities[place] for place in chosen.test.tolist()))
    families = {source_of(clips[place]) for place in chosen.test.tolist()}
    barred = np.zeros(len(rows), dtype=np.bool_)
    for place, row in enumerate(rows):
        if row.source.startswith(PREFIX):
            barred[place] = row.path.split("#")[0] not in seen
        else:
            barred[place] = bool(tested.intersection(row.identities)) or source_of(row) in families
    return barred
