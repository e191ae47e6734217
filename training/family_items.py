"""A user's photos, clips and recordings as items that the families train on, split.

Each medium is prepared once: the families that take it share its faces, tracks or recordings, and one split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cards.repository import ModelRepository
from training.audio.quick import VoiceItems, read_recordings, split_recordings
from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.tracks import TrackCache, build_tracks, load_tracks
from training.embeddings import embed_tracks
from training.faces import collect_faces
from training.items import Clips, FaceCrops, Items, Sequences
from training.models.registry import Network
from training.partition import TooLittleDataError, partition
from training.prepare import detector

Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Prepared:
    """Items of one medium, split.

    Attributes:
        rows: one for each item that was kept; train, val: positions.
    """

    rows: Sequence[Row]
    train: npt.NDArray[np.int64]
    val: npt.NDArray[np.int64]
    faces: PhotoCache | None = None
    tracks: TrackCache | None = None
    embeddings: npt.NDArray[np.float32] | None = None
    voices: VoiceItems | None = None

    def items(self, entry: Network) -> Items:
        """All items in the form that a network takes."""
        labels = np.array([row.label for row in self.rows], dtype=np.int64)
        if entry.takes == "crop":
            assert self.faces is not None
            return FaceCrops.of(self.faces, entry.size)
        assert self.tracks is not None
        if entry.takes == "clip":
            return Clips.of(self.tracks.crops, self.tracks.mask, labels, entry.size, entry.frames)
        assert self.embeddings is not None
        return Sequences(self.embeddings, np.asarray(self.tracks.mask, np.float32), labels)

    def trains(self, entry: Network) -> npt.NDArray[np.int64]:
        """Positions that a network trains on: an autoencoder's are those of the reals alone."""
        if entry.family != "autoencoder":
            return self.train
        return np.array([place for place in self.train if self.rows[place].label == 0], dtype=np.int64)


def prepare_photos(
    root: Path, rows: Sequence[Row], work: Path, share: float, seed: int, told: Told = lambda what, done, total: None
) -> Prepared:
    """Faces of the photos, split.

    Raises:
        TooLittleDataError: there are no photos, or too few of a class with a face.
    """
    photos = [row for row in rows if row.medium == "image"]
    if not photos:
        raise TooLittleDataError("the data holds no photos")
    faces = collect_faces(root, photos, work / "faces", detector(), lambda done, total: told("faces", done, total))
    return Prepared(faces.rows, *partition(faces.rows, faces.clusters, share, seed), faces=faces)


def prepare_clips(
    root: Path, rows: Sequence[Row], work: Path, share: float, seed: int, told: Told = lambda what, done, total: None
) -> Prepared:
    """Tracks of the clips with their embeddings, split.

    Raises:
        TooLittleDataError: there are no clips, or too few of a class with a face.
    """
    clips = [row for row in rows if row.medium == "video"]
    if not clips:
        raise TooLittleDataError("the data holds no clips")
    told("tracks", 0, len(clips))
    build_tracks(root, clips, work / "tracks", detector())
    tracks = load_tracks(work / "tracks")
    split = partition(tracks.rows, tracks.clusters, share, seed)
    file = work / "embeddings.npy"
    embeddings = embed_tracks(tracks, ModelRepository(), file, lambda done, total: told("embeddings", done, total))
    return Prepared(tracks.rows, *split, tracks=tracks, embeddings=embeddings)


def prepare_recordings(
    root: Path, rows: Sequence[Row], work: Path, share: float, seed: int, told: Told = lambda what, done, total: None
) -> Prepared:
    """Recordings in which somebody speaks, split; ``work`` is not used.

    Raises:
        TooLittleDataError: there are no recordings, or too few of a class with speech.
    """
    recordings = [row for row in rows if row.medium == "audio"]
    if not recordings:
        raise TooLittleDataError("the data holds no recordings")
    voices = read_recordings(root, recordings, told)
    return Prepared(voices.rows, *split_recordings(voices, share, seed), voices=voices)
