"""One LightningModule for every family: crops, sequences of embeddings, clips, and autoencoders.

A step of the optimiser takes one batch of the loader, cut here into ``parts`` that go through the network one after
the other (gradient accumulation). So a batch that does not fit into memory is answered on the spot: half the size,
twice the parts, the same step again. What happens in a step depends on the seed and its number alone, therefore a run
that was killed goes on exactly as if nothing had happened.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
    BinaryROC,
)
from torchmetrics.utilities.data import dim_zero_cat

from pipelines.metrics import eer
from training.losses import focal_loss, ranking_loss
from training.memory import is_out_of_memory
from training.models.efficientnet_lite import parameter_groups
from training.models.output import normalised
from training.models.registry import Takes
from training.settings import FitSettings

Batch = Mapping[str, Tensor]
_LOG = logging.getLogger(__name__)


class MemoryShortageError(RuntimeError):
    """Not even the smallest batch fits, or several processes train together and one of them ran out of memory."""


class EqualErrorRate(BinaryROC):
    """Where the false-positive and the false-negative rate cross on the interpolated ROC curve.

    torchmetrics' own takes the nearest point of the curve, which is half a step off on small sets.
    """

    def compute(self) -> Tensor:  # type: ignore[override]
        """The rate, 0 to 1; NaN where a class is missing."""
        scores, labels = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        return torch.tensor(eer(scores.cpu().numpy(), labels.cpu().numpy()))


def metrics() -> MetricCollection:
    """Accuracy, precision, recall and F1 at a probability of one half, AUC, and the equal error rate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the curves keep all scores: they must
        return MetricCollection(
            {
                "accuracy": BinaryAccuracy(),
                "precision": BinaryPrecision(),
                "recall": BinaryRecall(),
                "f1": BinaryF1Score(),
                "auc": BinaryAUROC(),
                "eer": EqualErrorRate(),
            },
            compute_groups=False,
        )


def call(network: nn.Module, batch: Batch, takes: Takes) -> Any:
    """The network's ``Output`` for a batch with ``x`` and, for sequences and clips, ``mask``."""
    x = batch["x"] if takes == "embeddings" else normalised(batch["x"])
    return network(x) if takes == "crop" else network(x, batch["mask"])


def _ema(average: list[Tensor], current: list[Tensor], count: Any, decay: float) -> None:
    # Early on the average follows the model quickly; later it remembers some 1 / (1 - decay) steps.
    share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
    for kept, new in zip(average, current, strict=True):
        if kept.is_floating_point():
            kept.lerp_(new.to(kept.dtype), share)
        else:
            kept.copy_(new)


class DetectorModule(LightningModule):
    """Trains one network.

    Args:
        network: gives ``Output(logit, embedding, cam)``; an autoencoder also has ``loss(x)``.
        takes: what it is fed with.
        settings: see there.
        weights: class weights (real, fake); (1, 1) for none.
        steps: steps of the whole run, for the cosine.
        autoencoder: train with the network's own loss on the items, which are then all real.
        reals: uint8 batches of real crops on which an autoencoder's error is standardised before each validation.
    """

    def __init__(
        self,
        network: nn.Module,
        takes: Takes,
        settings: FitSettings,
        weights: tuple[float, float] = (1.0, 1.0),
        steps: int = 1,
        autoencoder: bool = False,
        reals: Callable[[], Iterable[Tensor]] = tuple,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.takes: Takes = takes
        self.settings = settings
        self.class_weights = weights
        self.steps = max(1, steps)
        self.autoencoder = autoencoder
        self.reals = reals
        self.parts = settings.accumulate
        self.metrics = metrics()
        self.measured: dict[str, float] = {}
        self.average: AveragedModel | None = None
        if settings.average:
            decay = settings.average
            self.average = AveragedModel(
                network,
                multi_avg_fn=lambda kept, new, count: _ema(list(kept), list(new), count, decay),
                use_buffers=True,
            )
            self.average.requires_grad_(False)

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept: the averaged one where there is one."""
        return self.network if self.average is None else self.average.module

    def progress(self, step: int) -> float:
        """Share of the run that is done at a step."""
        return step / self.steps

    def rate(self, step: int) -> float:
        """Learning rate of a step: it rises over the first ones, and falls with the progress of the run."""
        rising = min(1.0, (step + 1) / max(1, self.settings.warm_up))
        falling = 1.0
        if self.settings.schedule == "cosine":
            falling = 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress(step))))
        return self.settings.learning_rate * rising * falling

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW (Loshchilov and Hutter, ICLR 2019)."""
        groups = [dict(group) for group in parameter_groups(self.network, self.settings.decay)]
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate)

    def loss(self, batch: Batch) -> Tensor:
        """Loss of one part of a batch, a scalar."""
        if self.autoencoder:
            own: Tensor = self.network.loss(normalised(batch["x"]))  # type: ignore[operator]
            return own
        logits = call(self.network, batch, self.takes).logit[:, 0]
        targets = batch["label"].float()
        settings = self.settings
        total = focal_loss(logits, targets, settings.gamma, settings.alpha, self.class_weights, settings.smoothing)
        return total + settings.ranking * ranking_loss(logits, targets) if settings.ranking else total

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the optimiser."""
        optimiser = self.optimizers()
        assert not isinstance(optimiser, list)
        step = self.global_step
        rate = self.rate(step)
        for group in optimiser.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        while True:
            seed = (self.settings.seed * 1_000_003 + step * 8_191 + self.global_rank) % 2**31
            torch.manual_seed(seed)  # dropout and the noise of autoencoders, also after a resume
            optimiser.zero_grad()
            try:
                loss = self._backward(batch)
                break
            except (RuntimeError, MemoryError) as error:
                self._must_fit(error, len(batch["label"]))
            self._halve(len(batch["label"]))
        if self.settings.clip:
            self.clip_gradients(optimiser, self.settings.clip, "norm")  # type: ignore[arg-type]
        optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.network)
        self.log("loss", loss, prog_bar=True, batch_size=len(batch["label"]))
        self.log("rate", rate, batch_size=len(batch["label"]))

    def cut(self, items: int, parts: int) -> Iterable[Tensor]:
        """Positions of the items of each part of a batch, int64; a part has at least two."""
        return torch.arange(items, device=self.device).tensor_split(parts)

    def _backward(self, batch: Batch) -> Tensor:
        """Gradients of a batch, part by part; returns its mean loss."""
        items = len(batch["label"])
        parts = min(self.parts, max(1, items // 2))  # a batch norm needs two items
        total = torch.zeros((), device=self.device)
        for places in self.cut(items, parts):
            part = {name: value[places] for name, value in batch.items()}
            loss = self.loss(part) * (len(places) / items)
            self.manual_backward(loss)
            total += loss.detach()
        return total

    def _must_fit(self, error: BaseException, items: int) -> None:
        """Raise, unless the error is one of memory that a smaller batch may cure."""
        if not is_out_of_memory(error):
            raise error
        if self.trainer.world_size > 1:
            raise MemoryShortageError(
                "one of the processes ran out of memory: start again with half of --batch-size and twice --accumulate"
            ) from error
        if self.parts * 2 > max(1, items // 2):
            raise MemoryShortageError(
                "not even two items fit into memory: choose a smaller network or a smaller crop"
            ) from error

    def _halve(self, items: int) -> None:
        self.optimizers().zero_grad()  # type: ignore[union-attr]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.parts *= 2
        size = max(1, math.ceil(items / self.parts))
        _LOG.warning("out of memory: going on with %d items at a time and %d parts a step", size, self.parts)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Scores of one batch, in the parts that training found to fit."""
        for places in torch.arange(len(batch["label"]), device=self.device).tensor_split(
            max(1, self.parts // self.settings.accumulate)
        ):
            if len(places):
                part = {name: value[places] for name, value in batch.items()}
                # In full precision, as served: half of it blurs an autoencoder's distances.
                with torch.autocast(self.device.type, enabled=False):
                    logits = call(self.kept, part, self.takes).logit[:, 0].double()
                # Beyond 30 a double's sigmoid is 1, and the order of the scores would be lost.
                self.metrics.update(torch.sigmoid(logits.clamp(-30, 30)), part["label"].long())

    def on_validation_epoch_start(self) -> None:
        """An autoencoder's error is standardised on the real faces that it was trained on, not augmented."""
        if self.autoencoder:
            batches = (normalised(batch.to(self.device)) for batch in self.reals())
            self.kept.fit_to_reals(batches)  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        """Log the measures of the epoch."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an epoch that calls nothing fake has no precision: 0
            found = self.metrics.compute()
        self.log_dict(found, prog_bar=True)
        self.metrics.reset()
        self.measured = {name: round(float(value), 5) for name, value in found.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep in how many parts a batch fits, and the measures of the last epoch."""
        checkpoint["parts"], checkpoint["metrics"] = self.parts, self.measured

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Resume with as many parts as were found to fit."""
        self.parts = max(self.parts, int(checkpoint["parts"]))
        self.measured = dict(checkpoint["metrics"])
