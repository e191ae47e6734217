"""One family after the other on a user's data: items, settings, budget, training, measures.

``train_all`` (``ml_backend.training``) is made of these pieces; the command line calls the same.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cards.record import Calibration, DataSource
from cards.repository import ModelRepository
from pipelines.metrics import platt
from training.audio.quick import VoiceItems, read_recordings, split_recordings, train_recordings
from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.tracks import FRAMES, SIDE, TrackCache, build_tracks, load_tracks
from training.datasets import Clips, FaceCrops, Items, Sequences, TrainingData
from training.embeddings import embed_tracks
from training.faces import SIDE as PHOTO_SIDE
from training.faces import collect_faces
from training.fit import FitResult, Plan, fit, plan, scores
from training.fusion import balance, calibrate
from training.models.registry import Network, network, read_checkpoint
from training.module import metrics
from training.partition import TooLittleDataError, partition
from training.prepare import detector
from training.report import sources_of
from training.settings import FitSettings

#: Networks of each family that a user's own training makes.
NETWORKS_OF: dict[str, tuple[str, ...]] = {
    "cnn": ("deepscan_cnn",),
    "autoencoder": ("denoising_autoencoder", "variational_autoencoder", "anomaly_autoencoder"),
    "rnn": ("sequence_rnn",),
    "hybrid": ("hybrid",),
    "audio": ("voice_cepstra",),
}
#: Share of the time that a network of the family may take, for one network; the voice head is fitted whole.
SHARES = {"cnn": 0.42, "autoencoder": 0.08, "rnn": 0.06, "hybrid": 0.28, "audio": 0.0}
#: Autoencoders learn a target of every pixel, at a rate that a classifier would not stand.
RATES = {"autoencoder": 10.0}
LEAST_STEPS = 8
_LOG = logging.getLogger(__name__)
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


@dataclass(frozen=True)
class Trained:
    """One trained network with what it says of the validation items.

    Attributes:
        logits: raw, float64 [n], with their ``labels`` [n].
        measured: accuracy, precision, recall, f1, auc, eer on them.
        calibration: of the raw logit.
        sources: what it was trained on.
    """

    entry: Network
    result: FitResult
    settings: FitSettings
    logits: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    measured: dict[str, float]
    calibration: Calibration
    sources: tuple[DataSource, ...]
    seconds: float


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


def settings_for(entry: Network, settings: FitSettings, items: int, minutes: float) -> FitSettings:
    """A family's settings from the common ones.

    A set that would give fewer than eight steps an epoch is cut into smaller batches (of four at least), because a
    network learns by steps. The rate is constant: a run ends early, by its validation AUC or by time.
    """
    return replace(
        settings,
        batch_size=min(settings.batch_size, max(4, items // LEAST_STEPS)),
        learning_rate=settings.learning_rate * RATES.get(entry.family, 1.0),
        schedule="constant",
        minutes=minutes,
    )


def data_for(entry: Network, prepared: Prepared, settings: FitSettings) -> TrainingData:
    """Training and validation items of a network; an autoencoder trains on the reals alone."""
    items = prepared.items(entry)
    chosen = _trained_on(entry, prepared)
    return TrainingData(items.subset(chosen), items.subset(prepared.val), settings)


def _trained_on(entry: Network, prepared: Prepared) -> npt.NDArray[np.int64]:
    if entry.family != "autoencoder":
        return prepared.train
    return np.array([place for place in prepared.train if prepared.rows[place].label == 0], dtype=np.int64)


def train_network(entry: Network, prepared: Prepared, settings: FitSettings, run: Path, minutes: float) -> Trained:
    """Train one network within a time and measure it on the validation items.

    A classifier says fake where its logit is above 0. An autoencoder's logit has no such place: it says fake where its
    error, calibrated on the training items (their fakes included, which it was not trained on), passes one half.
    """
    if prepared.voices is not None:
        return _train_voice(entry, prepared, settings, run)
    began = time.monotonic()
    chosen = _trained_on(entry, prepared)
    own = settings_for(entry, settings, len(chosen), minutes)
    sources = sources_of([prepared.rows[place] for place in chosen])
    told = {"trained_on": json.dumps([source.model_dump() for source in sources])}
    result = fit(entry, data_for(entry, prepared, own), own, run, told)
    _, model, _ = read_checkpoint(result.model, entry.name)
    items = prepared.items(entry)
    validation = items.subset(prepared.val)
    logits, labels = scores(model, validation, entry.takes), validation.labels
    log_odds = logits
    if entry.family == "autoencoder":
        seen = items.subset(prepared.train)
        slope, intercept = platt(scores(model, seen, entry.takes), seen.labels, balance(seen.labels))
        log_odds = slope * logits + intercept
    return Trained(
        entry=entry,
        result=result,
        settings=own,
        logits=logits,
        labels=labels,
        measured=measure(log_odds, labels),
        calibration=calibrate(
            logits, labels, f"{len(labels)} validation items of the user's data; they also chose the epoch"
        ),
        sources=sources,
        seconds=round(time.monotonic() - began, 1),
    )


def _train_voice(entry: Network, prepared: Prepared, settings: FitSettings, run: Path) -> Trained:
    """The voice network: its head is fitted in one go, so that it has one epoch and no schedule."""
    voices = prepared.voices
    assert voices is not None
    made = train_recordings(voices, prepared.train, prepared.val, run, settings.seed, augment=settings.use_augmentation)
    labels = voices.labels[prepared.val]
    measured = measure(made.logits, labels)
    return Trained(
        entry=entry,
        result=FitResult(made.model, measured, 1, 1, 1, made.seconds, "epochs", "32-true", 1),
        settings=settings,
        logits=made.logits,
        labels=labels,
        measured=measured,
        calibration=calibrate(made.logits, labels, f"{len(labels)} validation recordings of the user's data"),
        sources=made.sources,
        seconds=made.seconds,
    )


def plan_network(entry: Network, rows: Sequence[Row], settings: FitSettings, minutes: float, run: Path) -> Plan:
    """What ``train_network`` would do, timed on stand-ins of the right shape; no photo is read."""
    if entry.takes == "audio":
        return _plan_voice(entry, rows)
    labels = np.array([row.label for row in rows], dtype=np.int64)
    held = np.zeros(len(rows), dtype=bool)
    given = np.array([row.split == "val" for row in rows], dtype=bool)
    for label in (0, 1):
        places = np.flatnonzero(labels == label)
        held[places[: max(1, round(0.2 * len(places)))]] = True
    held = given if len(set(labels[given].tolist())) == 2 else held
    prepared = _stand_in(entry, rows, np.flatnonzero(~held), np.flatnonzero(held))
    own = settings_for(entry, settings, len(_trained_on(entry, prepared)), minutes)
    return plan(entry, data_for(entry, prepared, own), own, run)


def _plan_voice(entry: Network, rows: Sequence[Row]) -> Plan:
    """A head on fixed features: about half a second of work for each recording."""
    held = sum(row.split == "val" for row in rows) or max(2, round(0.2 * len(rows)))
    return Plan(
        network=entry.name,
        family=entry.family,
        parameters=sum(each.numel() for each in entry.empty().parameters()),
        train_items=len(rows) - held,
        val_items=held,
        epochs=1,
        steps_per_epoch=1,
        batch_size=len(rows) - held,
        precision="32-true",
        device="cpu",
        seconds_per_step=0.5 * len(rows),
        minutes=0.5 * len(rows) / 60,
    )


def _stand_in(
    entry: Network, rows: Sequence[Row], train: npt.NDArray[np.int64], val: npt.NDArray[np.int64]
) -> Prepared:
    """Items of noise that cost what real ones cost."""
    count, rng = len(rows), np.random.default_rng(0)
    if entry.takes == "crop":
        photo = rng.integers(0, 256, (1, PHOTO_SIDE, PHOTO_SIDE, 3), dtype=np.uint8)
        points = np.array([[150, 160], [234, 160], [192, 205], [155, 250], [229, 250]], np.float32)
        faces = PhotoCache(
            np.broadcast_to(photo, (count, *photo.shape[1:])),
            np.full((count, 2), PHOTO_SIDE, np.int32),
            np.broadcast_to(points, (count, 5, 2)),
            np.arange(count, dtype=np.int32),
            rows,
        )
        return Prepared(rows, train, val, faces=faces)
    crop = rng.integers(0, 256, (1, 1, SIDE, SIDE, 3), dtype=np.uint8)
    tracks = TrackCache(
        np.broadcast_to(crop, (count, FRAMES, SIDE, SIDE, 3)),
        np.ones((count, FRAMES), np.uint8),
        np.zeros((count, FRAMES, 5, 2), np.float32),
        np.full(count, float(SIDE), np.float32),
        np.arange(count, dtype=np.int32),
        rows,
    )
    return Prepared(rows, train, val, tracks=tracks, embeddings=np.zeros((count, FRAMES, entry.size), np.float32))


def measure(log_odds: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, precision, recall and F1 at log-odds of 0, AUC and equal error rate."""
    found = metrics()
    probabilities = torch.sigmoid(torch.from_numpy(np.clip(log_odds, -30, 30)))
    values: Mapping[str, Any] = found(probabilities, torch.from_numpy(labels))
    return {name: round(float(value), 5) for name, value in values.items()}


def networks_of(family: str) -> list[Network]:
    """Entries of the registry that a family trains."""
    return [network(name) for name in NETWORKS_OF[family]]
