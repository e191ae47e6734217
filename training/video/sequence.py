"""Train networks over clips, and score clips by models that have not seen them.

A few hundred clips teach a network of a million weights by heart, so a clip never looks the same twice: another
stretch of it, frames left out, features that tremble, pictures that were moved and coloured. Classes are drawn alike
and sources within a class by the root of their size. The weights are averaged over the steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.data.manifest import Row
from training.video.folds import Fold, source_of
from training.video.material import Material

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class SequenceSettings:
    """How a network over clips is trained.

    Attributes:
        steps: of ``batch`` clips; rate: of AdamW at its height; decay: weight decay.
        dropout: of the network, where it has one.
        left_out: greatest share of frames that are left out; tremble: of the features, in their standard deviations.
        flicker: share of the reals of a batch that become fakes by another face in some frames.
        smooth: label smoothing.
        kept: share of the averaged weights that a step leaves.
        embeddings: the network whose embeddings are taken, for networks that take some.
    """

    steps: int = 240
    batch: int = 32
    rate: float = 4e-4
    decay: float = 0.05
    dropout: float = 0.3
    left_out: float = 0.4
    tremble: float = 0.15
    flicker: float = 0.0
    smooth: float = 0.05
    kept: float = 0.98
    seed: int = 0
    embeddings: str = "frame_cnn"


def device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def draw_weights(rows: Sequence[Row]) -> Floats:
    """Chance of each clip to be drawn, [n]."""
    sources = np.array([source_of(row) for row in rows])
    labels = np.array([row.label for row in rows])
    weights = np.zeros(len(rows))
    for label in (0, 1):
        names, sizes = np.unique(sources[labels == label], return_counts=True)
        for name, size in zip(names.tolist(), sizes.tolist()):
            weights[(sources == name) & (labels == label)] = 1.0 / np.sqrt(size)
        mine = labels == label
        weights[mine] *= 0.5 / weights[mine].sum()
    return weights


def train_sequence(
    material: Material, rows: Sequence[Row], places: Ints, build: Build, settings: SequenceSettings
) -> tuple[nn.Module, float]:
    """A network trained on the clips at ``places``, and the seconds that it took.

    Args:
        rows: of all clips of the material.
    """
    torch.manual_seed(settings.seed)
    where = device()
    torch.set_float32_matmul_precision("high")  # TF32 on a GPU; half precision would round what a state remembers
    rng = torch.Generator(where)
    rng.manual_seed(settings.seed)
    model = build().to(where)
    if hasattr(model, "dropout"):
        setattr(model, "dropout", settings.dropout)  # noqa: B010  # a plain number, which nn.Module's types do not know
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.kept), use_buffers=True)  # type: ignore[no-untyped-call]
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=settings.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=settings.steps)
    mine = [rows[place] for place in places.tolist()]
    chances = torch.from_numpy(draw_weights(mine)).float().to(where)
    labels = torch.tensor([row.label for row in mine], dtype=torch.float32, device=where)
    held = torch.from_numpy(places).to(where)
    start = time.monotonic()
    model.train()
    for _ in range(settings.steps):
        chosen = torch.multinomial(chances, settings.batch, replacement=True, generator=rng)
        told, mask, truth = material.batch(held[chosen], labels[chosen], settings, rng)
        target = truth * (1 - 2 * settings.smooth) + settings.smooth
        loss = functional.binary_cross_entropy_with_logits(model(told, mask).logit[:, 0], target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(model)
    if where.type == "cuda":
        torch.cuda.synchronize()
    trained = average.module
    trained.eval()
    return trained, time.monotonic() - start


@torch.inference_mode()
def sequence_logits(model: nn.Module, material: Material, places: Ints) -> Floats:
    """Mean raw logit over the stretches of each clip at ``places``, [n]."""
    return np.array([float(model(*material.whole(place)).logit[:, 0].mean()) for place in places.tolist()])


def out_of_fold(
    material: Material, rows: Sequence[Row], folds: Sequence[Fold], build: Build, settings: SequenceSettings
) -> tuple[Floats, float]:
    """Raw logit of each clip by the model that has not seen its source or its people, [n], and the seconds in all."""
    found, seconds = np.zeros(len(rows)), 0.0
    for fold in folds:
        model, spent = train_sequence(material, rows, fold.train, build, settings)
        found[fold.test] = sequence_logits(model, material, fold.test)
        seconds += spent
    return found, seconds
