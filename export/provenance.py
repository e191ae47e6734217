"""What a checkpoint tells the record: the settings of its run, and the data that went in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from cards.record import DataSource
from cards.repository import ModelRepository
from training.embeddings import base_of
from training.models.registry import Base, Network
from training.report import data_sources, licence_of, run_settings


def settings_in(state: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run from its checkpoint."""
    told = state.get("settings", "{}")
    settings: dict[str, Any] = json.loads(told) if isinstance(told, str) else dict(told)
    return settings


def bases_of(entry: Network, repository: ModelRepository) -> tuple[Base, ...]:
    """Weights of others that went into a network: pretrained ones, and those whose embeddings it is fed with."""
    return (*entry.bases, base_of(repository)) if entry.takes == "embeddings" else entry.bases


def built_on(bases: Sequence[Base]) -> dict[str, Any]:
    """What the ``training`` of a record says of them."""
    return {"built_on": [asdict(base) for base in bases]} if bases else {}


def told_of(
    checkpoint: Path, state: Mapping[str, Any], cache: Path | None, bases: Sequence[Base] = ()
) -> dict[str, Any]:
    """Fields ``trained_on``, ``training``, ``licence`` and ``commercial`` of a record.

    ``training.train`` says in its settings which photos of the folder ``cache`` it saw. Other trainers put
    ``trained_on`` (JSON, a list of :class:`cards.record.DataSource`) and ``result`` (JSON) beside ``settings`` into the
    checkpoint. Weights whose sources are not told are for research only, and so is what builds on such weights.
    """
    own = {"step", "spent", "settings"} <= set(state)  # of training.train
    if "trained_on" in state:
        sources = tuple(DataSource.model_validate(item) for item in json.loads(state["trained_on"]))
    elif own and cache is not None:
        sources = data_sources(cache, checkpoint)
    else:
        sources = ()
    training = run_settings(checkpoint) if own else {**settings_in(state), **json.loads(state.get("result", "{}"))}
    training |= built_on(bases)
    return {"trained_on": sources, "training": without_paths(training), **licence_of(sources, bases)}


def without_paths(value: Any) -> Any:
    """The same JSON value in which a path of a machine is cut down to its last name."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return value
