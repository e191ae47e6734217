"""What the training of a network of a family would take, timed on stand-ins of the right shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.tracks import FRAMES, SIDE, TrackCache
from training.faces import SIDE as PHOTO_SIDE
from training.families import data_for, settings_for
from training.family_items import Prepared
from training.fit import Plan, plan
from training.models.registry import Network
from training.settings import FitSettings


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
    own = settings_for(entry, settings, len(prepared.trains(entry)), minutes)
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
