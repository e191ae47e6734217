"""The configuration of ``DeepfakeDetectionTrainer``: the defaults of the founding document, and what values mean."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast, get_args

import torch

from deepscan_client.errors import RequestError
from training.families import NETWORKS_OF
from training.settings import FitSettings, Precision

#: The founding document's default configuration, where the result goes, and what the document names as a remedy:
#: ``network`` of the family ``cnn`` (transfer learning), ``accumulate`` batches in a step, ``precision``, the focal
#: loss's gamma, and torch's ``threads`` (0: as many cores as are free).
DEFAULT_CONFIG: dict[str, Any] = {
    "batch_size": 32,
    "epochs": 100,
    "learning_rate": 0.0001,
    "input_shape": [256, 256, 3],
    "models_to_train": ["cnn", "rnn", "autoencoder", "hybrid", "audio"],
    "validation_split": 0.2,
    "target_accuracy": 0.99,
    "early_stopping_patience": 15,
    "use_augmentation": True,
    "use_class_weights": True,
    "output_dir": "./trained_models",
    "seed": 1,
    "network": "deepscan_cnn",
    "accumulate": 1,
    "precision": "auto",
    "focal_gamma": 2.0,
    "threads": 0,
}
FAMILIES = tuple(NETWORKS_OF)


def settings_of(config: Mapping[str, Any]) -> FitSettings:
    """The configuration as settings of a run.

    Raises:
        RequestError: a value is wrong or unknown.
    """
    if unknown := set(config) - set(DEFAULT_CONFIG):
        raise RequestError(
            f"config: unknown {', '.join(sorted(unknown))}", remedy=f"there are {', '.join(DEFAULT_CONFIG)}"
        )
    try:
        shape, share = list(config["input_shape"]), float(config["validation_split"])
        if len(shape) != 3 or shape[0] != shape[1] or shape[2] != 3 or shape[0] % 16 or not 64 <= shape[0] <= 1024:
            raise RequestError(
                f"config: input_shape {shape}", remedy="give [s, s, 3] with s from 64 to 1024, a multiple of 16"
            )
        if not 0 < share < 1:
            raise RequestError(f"config: validation_split {share}", remedy="give a share between 0 and 1")
        settings = FitSettings(
            epochs=int(config["epochs"]),
            patience=int(config["early_stopping_patience"]),
            batch_size=int(config["batch_size"]),
            learning_rate=float(config["learning_rate"]),
            use_class_weights=config["use_class_weights"],
            use_augmentation=config["use_augmentation"],
            seed=int(config["seed"]),
            accumulate=int(config["accumulate"]),
            precision=_precision(config["precision"]),
            gamma=float(config["focal_gamma"]),
            threads=int(config["threads"]) or _free_cores(),
        )
        if not 0 <= settings.gamma < math.inf:
            raise ValueError(f"focal_gamma must be a number of at least 0, got {settings.gamma}")
        if not 0 <= settings.seed < 2**32:
            raise ValueError(f"seed must lie from 0 to {2**32 - 1}, got {settings.seed}")
        for name in ("learning_rate", "target_accuracy"):
            if not math.isfinite(float(config[name])):
                raise ValueError(f"{name} must be a finite number, got {config[name]}")
        for name in ("use_class_weights", "use_augmentation"):
            if not isinstance(config[name], bool):
                raise ValueError(f"{name} must be true or false, got {config[name]!r}")
        if not Path(config["output_dir"]).name:
            raise ValueError(f"output_dir must name a folder, got {config['output_dir']!r}")
        return settings
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(f"config: {error}", remedy="see ml_backend.training_config.DEFAULT_CONFIG") from error


def families_of(config: Mapping[str, Any]) -> list[str]:
    """The families that are asked for, in the order of training.

    Raises:
        RequestError: one is unknown.
    """
    asked, remedy = config["models_to_train"], f"give a list of some of {', '.join(FAMILIES)}"
    if isinstance(asked, str) or not isinstance(asked, Iterable) or not (asked := list(asked)):
        raise RequestError(f"config: models_to_train: {asked!r} is no list of families", remedy=remedy)
    if unknown := [name for name in asked if name not in FAMILIES]:
        raise RequestError(f"config: models_to_train: unknown {', '.join(map(str, unknown))}", remedy=remedy)
    return [family for family in FAMILIES if family in asked]


def _precision(asked: Any) -> Precision:
    if asked not in get_args(Precision):
        raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, got {asked!r}")
    if asked == "16-mixed" and not torch.cuda.is_available():
        raise ValueError("precision 16-mixed needs a GPU; a CPU takes bf16-mixed or 32-true")
    return cast(Precision, asked)


def _free_cores() -> int:
    """Cores that nothing else uses now, at least 1: threads that wait for a busy core make a step many times slower.

    The number stands in the record; another one changes the last bits of the weights.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, round(cores - busy))
