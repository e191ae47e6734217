"""One family after the other on a user's data: settings, budget, training, measures.

``train_all`` (``ml_backend.training``) is made of these pieces; the command line calls the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cards.record import Calibration, DataSource
from deepscan_client.errors import RequestError
from pipelines.metrics import platt
from training.audio.quick import train_recordings
from training.datasets import TrainingData
from training.family_items import Prepared
from training.fit import FitResult, fit, scores
from training.fusion import balance, calibrate
from training.models.registry import Network, network, read_checkpoint
from training.module import metrics
from training.report import sources_of
from training.settings import FitSettings

#: Networks of each family that a user's own training makes; that of ``cnn`` may be chosen (``cnn_network``).
NETWORKS_OF: dict[str, tuple[str, ...]] = {
    "cnn": ("deepscan_cnn",),
    "autoencoder": ("denoising_autoencoder", "variational_autoencoder", "anomaly_autoencoder"),
    "rnn": ("sequence_rnn",),
    "hybrid": ("hybrid",),
    "audio": ("voice_cepstra",),
}
#: What the founding document expected of each family's accuracy. We print it beside what was measured.
CLAIMED = {
    "cnn": "96-98 %",
    "rnn": "94-97 %",
    "autoencoder": "92-95 %",
    "hybrid": "97-99 %",
    "audio": "90-95 %",
    "ensemble": "99 %+",
}
#: Networks of the family ``cnn``: as drawn, and pretrained on ImageNet (transfer learning).
CNNS = ("deepscan_cnn", "efficientnet_lite0", "mobile_cnn")
#: Share of the time that a network of the family may take, for one network; the voice head is fitted whole.
SHARES = {"cnn": 0.42, "autoencoder": 0.08, "rnn": 0.06, "hybrid": 0.28, "audio": 0.0}
#: Autoencoders learn a target of every pixel, at a rate that a classifier would not stand.
RATES = {"autoencoder": 10.0}
LEAST_STEPS = 8


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


def settings_for(entry: Network, settings: FitSettings, items: int, minutes: float) -> FitSettings:
    """A family's settings from the common ones.

    A set that would give fewer than eight steps an epoch is cut into smaller batches (of four at least), because a
    network learns by steps; batches that are accumulated make one step together. The rate is constant: a run ends
    early, by its validation AUC or by time.
    """
    return replace(
        settings,
        batch_size=min(settings.batch_size, max(4, items // LEAST_STEPS // settings.accumulate)),
        learning_rate=settings.learning_rate * RATES.get(entry.family, 1.0),
        schedule="constant",
        minutes=minutes,
    )


def data_for(entry: Network, prepared: Prepared, settings: FitSettings) -> TrainingData:
    """Training and validation items of a network; an autoencoder trains on the reals alone."""
    items = prepared.items(entry)
    chosen = prepared.trains(entry)
    return TrainingData(items.subset(chosen), items.subset(prepared.val), settings)


def train_network(entry: Network, prepared: Prepared, settings: FitSettings, run: Path, minutes: float) -> Trained:
    """Train one network within a time and measure it on the validation items.

    A classifier says fake where its logit is above 0. An autoencoder's logit has no such place: it says fake where its
    error, calibrated on the training items (their fakes included, which it was not trained on), passes one half.
    """
    if prepared.voices is not None:
        return _train_voice(entry, prepared, settings, run)
    began = time.monotonic()
    chosen = prepared.trains(entry)
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


def measure(log_odds: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, precision, recall and F1 at log-odds of 0, AUC and equal error rate."""
    found = metrics()
    probabilities = torch.sigmoid(torch.from_numpy(np.clip(log_odds, -30, 30)))
    values: Mapping[str, Any] = found(probabilities, torch.from_numpy(labels))
    return {name: round(float(value), 5) for name, value in values.items()}


def networks_of(family: str) -> list[Network]:
    """Entries of the registry that a family trains."""
    return [network(name) for name in NETWORKS_OF[family]]


def cnn_network(name: str, side: int) -> Network:
    """The network of the family ``cnn`` by its name, one of ``CNNS`` or ``timm/<name>``, for crops of a side.

    A pretrained one is built once, so that what is missing is told before any photo is read.

    Raises:
        RequestError: the name is none of them, or the backbone cannot be used.
        InstallationError: timm or the package with the weights is missing.
    """
    if name not in CNNS and not name.startswith("timm/"):
        raise RequestError(
            f"config: network {name!r}", remedy=f"give {', '.join(CNNS)}, or timm/<name> where timm is installed"
        )
    entry = replace(network(name), size=side)
    if entry.bases:
        try:
            entry.build()
        except ValueError as error:
            raise RequestError(f"config: network {name}: {error}", remedy="choose a convolutional one") from error
    return entry
