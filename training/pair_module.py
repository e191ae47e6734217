"""Pairs of crops on Lightning: the module, and what watches a run that is measured in minutes.

What a step of a run learns depends on the seed and the number of the step, so that a killed run goes on with the very
pairs that would have come; its rate follows the time spent, because the machine is shared.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Sampler

from training.callbacks import Bar, TimeLimit
from training.checkpoints import save_state
from training.data.swaps import swap_rectangles
from training.models.efficientnet_lite import parameter_groups
from training.models.output import normalised
from training.module import Batch, DetectorModule
from training.monitor import Monitor
from training.settings import FitSettings, Precision, Settings

ENDLESS = 10**6
HEADS = ("classifier.", "head.", "dense")


def loss_of(logits: Tensor, pairs: int, settings: Settings, fake: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the crops (reals first, then fakes), and the ranking loss over the pairs.

    Args:
        fake: [2 * pairs], share of each crop that is fake, where pairs exchanged a part (``training.data.swaps``).
    """
    if fake is None:
        fake = torch.cat([logits.new_zeros(pairs), logits.new_ones(pairs)])
    targets = fake * (1 - 2 * settings.smoothing) + settings.smoothing
    entropy = functional.binary_cross_entropy_with_logits(logits, targets)
    # A pair that exchanged half of itself has no order.
    order = fake[pairs:] - fake[:pairs]
    ranking = functional.softplus(-order.sign() * (logits[pairs:] - logits[:pairs])).mul(order.abs()).mean()
    return entropy, ranking


def fit_settings(settings: Settings) -> FitSettings:
    """What a run on pairs has in common with every run on Lightning (``training.fit``)."""
    precision: Precision = "bf16-mixed"
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        precision = "16-mixed"
    return FitSettings(
        epochs=ENDLESS,
        batch_size=2 * settings.pairs,
        learning_rate=settings.rate,
        decay=settings.decay,
        warm_up=settings.warm_up,
        ranking=settings.ranking,
        smoothing=settings.smoothing,
        average=settings.average,
        precision=precision,
        minutes=settings.minutes,
        every_steps=100,
        seed=settings.seed,
        threads=settings.threads,
    )


class PairModule(DetectorModule):
    """Trains a crop network on batches of pairs (``training.data.pairs.PairBatches``).

    Args:
        limit: of the run; the rate falls to zero over it by a cosine.
    """

    def __init__(self, network: nn.Module, settings: Settings, limit: TimeLimit) -> None:
        super().__init__(network, "crop", fit_settings(settings))
        self.recipe, self.limit = settings, limit
        self.ordered = torch.zeros(())

    def progress(self, step: int) -> float:
        """Share of the run's time that is spent."""
        spent = torch.tensor(self.limit.spent / max(self.limit.limit, 1e-9))
        # Clocks of several processes differ, their rates must not.
        return float(self.trainer.strategy.reduce(spent, reduce_op="mean"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; groups with and without decay, each with the ``factor`` by which its rate exceeds the run's."""
        head = {id(p) for name, p in self.network.named_parameters() if name.startswith(HEADS)}
        groups = []
        for group in parameter_groups(self.network, self.recipe.decay):
            for factor, inside in ((1.0, False), (self.recipe.head_factor, True)):
                members = [p for p in group["params"] if (id(p) in head) == inside]  # type: ignore[attr-defined]
                groups.append({"params": members, "weight_decay": group["weight_decay"], "factor": factor})
        return torch.optim.AdamW(groups, lr=self.recipe.rate)

    def cut(self, items: int, parts: int) -> Iterable[Tensor]:
        """Parts of whole pairs: reals first, then their fakes."""
        pairs = items // 2
        for places in torch.arange(pairs, device=self.device).tensor_split(parts):
            yield torch.cat([places, places + pairs])

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy and ranking of whole pairs, a scalar."""
        pairs = len(batch["label"]) // 2
        logits = self.network(normalised(batch["x"])).logit[:, 0].float()
        entropy, ranking = loss_of(logits, pairs, self.recipe, batch["label"])
        self.ordered = (logits[pairs:] > logits[:pairs]).float().mean()
        return entropy + self.recipe.ranking * ranking

    def labelled(self, crops: Tensor) -> Batch:
        """The crops of pairs, uint8 [2p, 3, s, s], of which a share exchanges a rectangle, and how fake each is."""
        rng = np.random.default_rng([self.recipe.seed, self.global_step, 1 + self.global_rank])
        crops, fake = swap_rectangles(crops, self.recipe.swapped, rng)
        return {"x": crops, "label": fake.to(crops.device)}

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One step of the optimiser on crops, uint8 [2p, 3, s, s], and the kind of each pair."""
        crops, _kinds = batch
        super().training_step(self.labelled(crops), batch_idx)
        self.log("ordered", self.ordered, batch_size=len(crops))


class Steps(Sampler[int]):
    """Numbers of the batches of a process, from the step on which the trainer stands."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def __len__(self) -> int:
        return ENDLESS

    def __iter__(self) -> Iterator[int]:
        rank, world = self.trainer.global_rank, self.trainer.world_size
        return iter(range(self.trainer.global_step * world + rank, ENDLESS, world))


class TimeBar(Bar):
    """A bar over the seconds of a run; a log file gets a line at each look instead."""

    def __init__(self, name: str, limit: TimeLimit) -> None:
        super().__init__(f"{name}, seconds", 1)
        self.clock = limit

    def total(self, trainer: Trainer) -> int:
        """The run's seconds."""
        return math.ceil(self.clock.limit)

    def done(self, trainer: Trainer) -> int:
        """Those that are spent."""
        return int(self.clock.spent)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The only epoch ends with the run, whose last look has told."""


class Looks(Callback):
    """Scores the photos that a run does not see every so many minutes and at its end, and writes ``last.pt`` then.

    That file holds the averaged weights (``average``), ``network``, ``settings`` (JSON), ``step``, ``spent`` (seconds)
    and ``auc`` (JSON, ``training.monitor``): what every later tool reads. The AUCs go to TensorBoard too.
    """

    def __init__(self, path: Path, monitor: Monitor, settings: Settings, limit: TimeLimit, minutes: float) -> None:
        self.path, self.monitor, self.settings, self.limit = path, monitor, settings, limit
        self.every = minutes * 60
        self._last = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last = self.limit.spent

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        if self.limit.spent - self._last > self.every:
            self._look(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, module: LightningModule) -> None:
        self._last = self.limit.spent
        if not trainer.is_global_zero:
            return
        assert isinstance(module, PairModule)
        found = self.monitor.measure(module.kept)
        if trainer.logger is not None:
            trainer.logger.log_metrics({f"auc/{name}": each for name, each in found.items()}, trainer.global_step)
        minutes = f"{self.limit.spent / 60:.1f} of {self.limit.limit / 60:g} minutes"
        told = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        print(f"{self.settings.network}: step {trainer.global_step}, {minutes}: {told}", file=sys.stderr, flush=True)
        state = {
            "average": module.kept.state_dict(),
            "step": trainer.global_step,
            "spent": self.limit.spent,
            "network": self.settings.network,
            "settings": json.dumps(asdict(self.settings)),
            "auc": json.dumps(found),
        }
        save_state(self.path, state)
