"""Train one network of the registry: ``fit(network, data, settings, run)``.

The run's folder holds ``last.ckpt`` (everything a killed run needs to go on), the best epoch, TensorBoard's events, and
in the end ``model.pt``: the weights alone, a dictionary that ``torch.load(..., weights_only=True)`` reads.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from training.callbacks import LAST, Bar, KeepLast, TimeLimit
from training.checkpoints import save_model
from training.datasets import Drawn, TrainingData
from training.items import Items
from training.losses import class_weights
from training.memory import keep_memory
from training.models.registry import Network, Takes
from training.module import DetectorModule, call
from training.settings import FitSettings
from training.timing import faster, seconds_per_step

MODEL = "model.pt"
BEST = "best"


@dataclass(frozen=True)
class FitResult:
    """What a run came to.

    Attributes:
        model: ``model.pt``; metrics: of the epoch that was kept, on the validation items.
        epoch: that epoch, counted from 1; epochs, steps: how many were trained.
        ended: ``epochs``, ``patience`` or ``time``.
        parts: parts that a step was cut into in the end; above ``accumulate`` where memory was short.
    """

    model: Path
    metrics: dict[str, float]
    epoch: int
    epochs: int
    steps: int
    seconds: float
    ended: str
    precision: str
    parts: int


@dataclass(frozen=True)
class Plan:
    """What would be trained, and how long it would take at most: measured on two steps."""

    network: str
    family: str
    parameters: int
    train_items: int
    val_items: int
    epochs: int
    steps_per_epoch: int
    batch_size: int
    precision: str
    device: str
    seconds_per_step: float
    minutes: float
    """All epochs with their validation, or the time limit; early stopping may end it sooner."""

    def __str__(self) -> str:
        return (
            f"{self.network} ({self.family}, {self.parameters / 1e6:.2f} M parameters): {self.train_items} items, "
            f"{self.val_items} to validate, {self.epochs} epochs of {self.steps_per_epoch} steps of {self.batch_size} "
            f"in {self.precision} on {self.device}; {self.seconds_per_step:.2f} s a step, at most "
            f"{self.minutes:.1f} minutes"
        )


def fit(
    network: Network, data: TrainingData, settings: FitSettings, run: Path, told: Mapping[str, str] | None = None
) -> FitResult:
    """Train, or go on with what a killed run left in ``run``.

    Args:
        network: entry of the registry; an autoencoder (``family``) is trained on the items of ``data.train``, which
            must all be real.
        run: folder of the run; ``last.ckpt`` in it is resumed, with the same settings.
        told: more entries of ``model.pt``, such as ``trained_on`` (JSON, what the record says of the data).

    Raises:
        ValueError: the data cannot train or validate this network, or the run in the folder had other settings.
        MemoryShortageError: not even two items fit into memory.
    """
    run.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    settings = _settled(network, data, settings, run)
    module = _module(network, data, settings)
    patience = EarlyStopping("auc", mode="max", patience=settings.patience, check_finite=False)
    best = ModelCheckpoint(
        run, filename=BEST, monitor="auc", mode="max", save_on_train_epoch_end=True, enable_version_counter=False
    )
    limit = TimeLimit(settings.minutes or math.inf)
    callbacks = [Bar(network.name, settings.epochs, settings.minutes), limit, patience, best]
    trainer = trainer_of(run, settings, callbacks)
    begin_or_resume(trainer, run, module, datamodule=data)
    kept = torch.load(run / f"{BEST}.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(kept["state_dict"])
    module.cpu()
    ended = "time" if limit.reached else "patience" if patience.stopped_epoch else "epochs"
    result = FitResult(
        model=run / MODEL,
        metrics=dict(kept["metrics"]),
        epoch=int(kept["epoch"]) + 1,
        epochs=trainer.current_epoch,
        steps=trainer.global_step,
        seconds=round(time.monotonic() - began, 1),
        ended=ended,
        precision=settings.precision,
        parts=module.parts,
    )
    if trainer.is_global_zero:
        more = {"result": json.dumps({**asdict(result), "model": MODEL}), **(told or {})}
        save_model(run / MODEL, network, module.kept, settings, more)
    trainer.strategy.barrier()  # no process of several goes on to read what the first has not written
    return result


def plan(network: Network, data: TrainingData, settings: FitSettings, run: Path) -> Plan:
    """What ``fit`` would do, timed on two steps (after one to warm up); nothing is written."""
    settings = _settled(network, data, settings, run, write=False)
    module = _module(network, data, settings)
    step = seconds_per_step(module, data, settings, settings.precision)
    steps = data.steps_per_epoch
    # A validation batch costs about a third of a training batch: forward alone.
    validation = len(data.val.labels) / settings.batch_size / settings.accumulate * step / 3
    minutes = settings.epochs * (steps * step + validation) / 60
    return Plan(
        network=network.name,
        family=network.family,
        parameters=sum(p.numel() for p in module.network.parameters()),
        train_items=len(data.train.labels),
        val_items=len(data.val.labels),
        epochs=settings.epochs,
        steps_per_epoch=steps,
        batch_size=settings.step_items,
        precision=settings.precision,
        device="cuda" if torch.cuda.is_available() else "cpu",
        seconds_per_step=round(step, 3),
        minutes=round(min(minutes, settings.minutes) if settings.minutes else minutes, 1),
    )


@torch.inference_mode()
def scores(network: nn.Module, items: Items, takes: Takes, batch_size: int = 16) -> npt.NDArray[np.float64]:
    """Raw logits of items as serving would see them, float64 [n]; on the device that the network is on."""
    network.eval()
    device = next(network.parameters()).device
    dataset, parts = Drawn(items, 0, False), []
    for start in range(0, len(dataset), batch_size):
        batch = dataset.batch(range(start, min(len(dataset), start + batch_size)), device)
        parts.append(call(network, batch, takes).logit[:, 0].double().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros(0)


def begin_or_resume(trainer: Trainer, run: Path, module: DetectorModule, **data: Any) -> None:
    """Train from the first step, or from ``last.ckpt`` in the run's folder; ``data`` as of ``Trainer.fit``."""
    last = run / LAST
    with warnings.catch_warnings():
        for text in (
            "does not have many workers",
            "dataloader is not resumable",
            "smaller than the logging interval",
            "exists and is not empty",
            "no `val_dataloader`",
        ):
            warnings.filterwarnings("ignore", message=f".*{text}.*")
        trainer.fit(module, **data, ckpt_path=last if last.exists() else None, weights_only=True)


def _module(network: Network, data: TrainingData, settings: FitSettings) -> DetectorModule:
    labels = data.train.labels
    autoencoder = network.family == "autoencoder"
    if autoencoder and labels.any():
        raise ValueError(f"{network.name} is trained on real items alone, {int(labels.sum())} fakes were given")
    if not autoencoder and len(np.unique(labels)) < 2:
        raise ValueError(f"{network.name} needs real and fake items to train on")
    weights = class_weights(labels.tolist()) if settings.use_class_weights and not autoencoder else (1.0, 1.0)
    torch.manual_seed(settings.seed)  # the first weights
    steps = settings.epochs * data.steps_per_epoch
    return DetectorModule(network.build(), network.takes, settings, weights, steps, autoencoder, data.plain_batches)


def trainer_of(run: Path, settings: FitSettings, callbacks: list[Any]) -> Trainer:
    """Lightning's trainer: one process, ``settings.devices`` of them, or those that ``torchrun`` started.

    It keeps ``last.ckpt`` in the run's folder, which :func:`begin_or_resume` goes on with.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # its tips and notes on each checkpoint
    world, local = int(os.environ.get("WORLD_SIZE", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    devices, nodes = (local, max(1, world // local)) if world else (settings.devices, 1)
    seed_everything(settings.seed, verbose=False)
    return Trainer(
        accelerator="auto",
        devices=devices,
        num_nodes=nodes,
        strategy="ddp_find_unused_parameters_true" if devices * nodes > 1 else "auto",
        precision=settings.precision,  # type: ignore[arg-type]
        max_epochs=settings.epochs,
        callbacks=[*callbacks, KeepLast(run, settings.every_steps)],
        logger=TensorBoardLogger(run, name="", version="tensorboard"),
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=run,
    )


#: What may differ when a run is resumed; anything else would make it another run.
_FREE = ("epochs", "patience", "minutes", "every_steps", "workers", "threads", "devices")


def _settled(network: Network, data: TrainingData, settings: FitSettings, run: Path, write: bool = True) -> FitSettings:
    """The settings with their choices made: those of the run where it was begun before.

    Raises:
        ValueError: the run in the folder is another one.
    """
    keep_memory()
    cv2.setNumThreads(0)  # its thread pool does not survive the fork of a loader
    if settings.threads:
        torch.set_num_threads(settings.threads)
    told = run / "settings.json"
    if told.exists() and (run / LAST).exists():
        before = json.loads(told.read_text(encoding="utf-8"))
        if before.pop("network") != network.name:
            raise ValueError(f"{run} holds a run of another network: choose another folder")
        settings = replace(settings, precision=before["precision"])  # what was chosen then holds
        now = asdict(settings)
        if other := [name for name in now if name not in _FREE and now[name] != before.get(name)]:
            raise ValueError(f"{run} holds a run with another {', '.join(other)}: take its settings or another folder")
        return settings
    if settings.precision == "auto":
        settings = replace(settings, precision=faster(network.name, partial(_module, network, data), data, settings))
    if write and os.environ.get("RANK", "0") == "0":
        text = json.dumps({"network": network.name, **asdict(settings)}, indent=1)
        told.write_text(text + "\n", encoding="utf-8")
    return settings
