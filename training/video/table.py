"""Watched and scored clips as one table: what calibration, pooling and sequence networks are fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cards.repository import ModelRepository
from pipelines.video.evidence import TrackEvidence
from pipelines.video.pooling import pooled
from training.data.layout import read_data
from training.data.manifest import Row
from training.data.relations import clip_identities
from training.video.clips import clip_file, read_clip
from training.video.scores import network_folder

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Clip:
    """A clip with the face that it is about.

    Attributes:
        row: of the manifest; identities: what it must stay together with.
        track: its main face, with the logits of the networks; embeddings: of each network, float16 [k, d].
        faces: faces of the clip that are seen long enough.
    """

    row: Row
    identities: frozenset[str]
    track: TrackEvidence
    embeddings: dict[str, npt.NDArray[np.float16]]
    faces: int

    @property
    def pooled(self) -> dict[str, float]:
        """Raw logit of each network, pooled as a verdict does."""
        return {name: pooled(values, self.track.quality) for name, values in self.track.logits.items()}


@dataclass(frozen=True)
class Missing:
    """A clip without a face, or that cannot be read."""

    row: Row


def main_track(tracks: Sequence[TrackEvidence]) -> int:
    """Position of the face that a clip is about: seen long, large, and moving as the liveliest does."""
    liveliest = max(track.motion for track in tracks)
    weights = [len(t) * t.face_px * (0.05 if t.motion < 0.2 * liveliest else 1.0) for t in tracks]
    return int(np.argmax(weights))


def read_table(
    data: Path, cache: Path, repository: ModelRepository, networks: Sequence[str]
) -> tuple[list[Clip], list[Missing]]:
    """All clips of the training data that were watched and scored by these networks.

    Raises:
        FileNotFoundError: not one was.
    """
    clips: list[Clip] = []
    missing: list[Missing] = []
    for row in read_data(data, medium="video"):
        watched = clip_file(cache / "video" / "clips", row)
        scored = {name: clip_file(network_folder(cache, repository, name), row) for name in networks}
        if not watched.is_file() or not all(file.is_file() for file in scored.values()):
            missing.append(Missing(row))
            continue
        told = read_clip(watched, crops=False)
        starts = np.cumsum([0, *map(len, told.tracks)])
        place = main_track(told.tracks)
        own = slice(int(starts[place]), int(starts[place + 1]))
        track = told.tracks[place]
        embeddings = {}
        for name, file in scored.items():
            with np.load(file) as columns:
                track.logits[name] = columns["logits"][own].astype(np.float64)
                embeddings[name] = columns["embeddings"][own]
        identities = frozenset((*row.identities, *clip_identities(row.source, Path(row.path).name)))
        clips.append(Clip(row, identities, track, embeddings, sum(len(each) >= 4 for each in told.tracks)))
    if not clips:
        raise FileNotFoundError("no clip was watched and scored: python -m training.video.clips, then .scores")
    return clips, missing


def labels_of(clips: Sequence[Clip]) -> npt.NDArray[np.int64]:
    """1 for a fake, [n]."""
    return np.array([clip.row.label for clip in clips], dtype=np.int64)


def logits_of(clips: Sequence[Clip], network: str) -> Floats:
    """Pooled raw logits of a network, [n]."""
    return np.array([clip.pooled[network] for clip in clips])
