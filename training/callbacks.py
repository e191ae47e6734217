"""What watches a run: progress with the time left, the time limit, and the checkpoint that a killed run needs."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LAST = "last.ckpt"
_LOG = logging.getLogger(__name__)


class Bar(ProgressBar):
    """One bar for the whole run on a terminal, one line for each epoch in a log file.

    The time left is that of all epochs: early stopping or the time limit end a run sooner, never later.
    """

    def __init__(self, name: str, epochs: int, minutes: float = 0.0) -> None:
        super().__init__()
        self._name, self._epochs, self._minutes = name, epochs, minutes
        self._progress: Progress | None = None
        self._task: Any = None
        self._began = 0.0
        self._first = 0

    def disable(self) -> None:
        """Lightning calls it on all processes but the first, which then draw nothing."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began, self._first = time.monotonic(), trainer.global_step
        console = Console(stderr=True)
        if not trainer.is_global_zero or not console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("at most"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}"),
            console=console,
        )
        self._progress.start()
        self._task = self._progress.add_task(
            self._name, total=self.total(trainer), completed=self.done(trainer), told=""
        )

    def total(self, trainer: Trainer) -> int:
        """What the bar counts to: the steps of all epochs."""
        return self._epochs * int(trainer.num_training_batches)

    def done(self, trainer: Trainer) -> int:
        """How far it has come."""
        return trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=self.done(trainer), told=_told(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._progress is None and trainer.is_global_zero:
            done = trainer.global_step - self._first
            spent = time.monotonic() - self._began
            left = spent / max(1, done) * (self.total(trainer) - trainer.global_step)
            if self._minutes:
                left = min(left, max(0.0, self._minutes * 60 - spent))
            text = f"{self._name}: epoch {trainer.current_epoch + 1} of {self._epochs}, {_told(trainer)}"
            print(f"{text}, at most {left:.0f} s left", file=sys.stderr, flush=True)

    def on_train_end(self, *args: Any) -> None:
        self._close()

    def on_exception(self, *args: Any) -> None:
        self._close()

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _told(trainer: Trainer) -> str:
    found = trainer.callback_metrics
    return ", ".join(f"{name} {float(found[name]):.3f}" for name in ("loss", "auc", "eer") if name in found)


class TimeLimit(Callback):
    """Ends a run after so many minutes, those before a resume included.

    It ends after the epoch that would otherwise be followed by one that goes over the limit; an epoch that is itself
    longer is cut, validated and kept.
    """

    def __init__(self, minutes: float) -> None:
        self.limit = minutes * 60
        self.spent = 0.0
        self.reached = False
        self._began = 0.0
        self._epoch_began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.monotonic() - self.spent

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_began = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        self.spent = time.monotonic() - self._began
        if self._past(trainer, self.spent):
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        now = time.monotonic()
        self.spent = now - self._began
        if self._past(trainer, self.spent + now - self._epoch_began):
            self._stop(trainer)

    def _past(self, trainer: Trainer, spent: float) -> bool:
        return bool(trainer.strategy.reduce_boolean_decision(spent > self.limit, all=False))

    def _stop(self, trainer: Trainer) -> None:
        self.reached = trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"spent": self.spent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.spent = float(state_dict["spent"])


class KeepLast(Checkpoint):
    """Writes ``last.ckpt`` after each epoch and every so many steps within it; the file is replaced whole."""

    def __init__(self, folder: Path, every_steps: int) -> None:
        self.path = folder / LAST
        self.every_steps = every_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every_steps == 0 and batch_idx + 1 < trainer.num_training_batches:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.path)
