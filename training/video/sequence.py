"""Train sequence networks over the embeddings of watched clips, and score clips by models that have not seen them.

A few hundred clips teach a network of a million weights by heart, so a clip never looks the same twice: another
stretch of it, frames left out, features that tremble. Classes are drawn alike and sources within a class by the root of
their size. The weights are averaged over the steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipelines.video.sequences import stretched
from training.models.output import CLIP_FRAMES
from training.video.folds import Fold, source_of
from training.video.table import Clip, labels_of

Floats = npt.NDArray[np.float64]
Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class SequenceSettings:
    """How a sequence network is trained.

    Attributes:
        steps: of ``batch`` clips; rate: of AdamW at its height; decay: weight decay.
        left_out: greatest share of frames that are left out; tremble: of the features, in their standard deviations.
        smooth: label smoothing.
        kept: share of the averaged weights that a step leaves.
    """

    steps: int = 240
    batch: int = 32
    rate: float = 4e-4
    decay: float = 0.05
    left_out: float = 0.4
    tremble: float = 0.15
    smooth: float = 0.05
    kept: float = 0.98
    seed: int = 0


def draw_weights(clips: Sequence[Clip]) -> Floats:
    """Chance of each clip to be drawn, [n]."""
    sources = np.array([source_of(clip.row) for clip in clips])
    labels = labels_of(clips)
    weights = np.zeros(len(clips))
    for label in (0, 1):
        names, sizes = np.unique(sources[labels == label], return_counts=True)
        for name, size in zip(names.tolist(), sizes.tolist()):
            weights[(sources == name) & (labels == label)] = 1.0 / np.sqrt(size)
        mine = labels == label
        weights[mine] *= 0.5 / weights[mine].sum()
    return weights


def _batch(
    clips: Sequence[Clip],
    network: str,
    chosen: npt.NDArray[np.int64],
    settings: SequenceSettings,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Embeddings [n, t, d] and mask [n, t] of one stretch of each chosen clip."""
    width = clips[0].embeddings[network].shape[1]
    told = np.zeros((len(chosen), CLIP_FRAMES, width), np.float32)
    mask = np.zeros((len(chosen), CLIP_FRAMES), np.float32)
    for item, place in enumerate(chosen.tolist()):
        rows = clips[place].embeddings[network]
        start = int(rng.integers(0, max(1, len(rows) - CLIP_FRAMES + 1)))
        rows = rows[start : start + CLIP_FRAMES].astype(np.float32)
        told[item, : len(rows)] = rows + rng.normal(0, settings.tremble, rows.shape).astype(np.float32) * rows.std()
        kept = rng.random(len(rows)) >= rng.uniform(0, settings.left_out)
        kept[int(rng.integers(len(rows)))] = True
        mask[item, : len(rows)] = kept
    return torch.from_numpy(told), torch.from_numpy(mask)


def train_sequence(
    clips: Sequence[Clip], network: str, build: Build, settings: SequenceSettings
) -> tuple[nn.Module, float]:
    """A network trained on all these clips, and the seconds that it took."""
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    model = build()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.kept), use_buffers=False)  # type: ignore[no-untyped-call]
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=settings.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=settings.steps)
    weights, labels = draw_weights(clips), labels_of(clips)
    start = time.monotonic()
    model.train()
    for _ in range(settings.steps):
        chosen = rng.choice(len(clips), settings.batch, p=weights)
        told, mask = _batch(clips, network, chosen, settings, rng)
        truth = torch.from_numpy(labels[chosen].astype(np.float32))
        target = truth * (1 - 2 * settings.smooth) + settings.smooth
        loss = functional.binary_cross_entropy_with_logits(model(told, mask).logit[:, 0], target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(model)
    trained = average.module
    trained.eval()
    return trained, time.monotonic() - start


@torch.inference_mode()
def sequence_logits(model: nn.Module, clips: Sequence[Clip], network: str) -> Floats:
    """Mean raw logit over the stretches of each clip, [n]."""
    found = np.zeros(len(clips))
    for place, clip in enumerate(clips):
        told, mask = stretched(clip.embeddings[network], CLIP_FRAMES)
        found[place] = float(model(torch.from_numpy(told), torch.from_numpy(mask)).logit[:, 0].mean())
    return found


def out_of_fold(
    clips: Sequence[Clip], folds: Sequence[Fold], network: str, build: Build, settings: SequenceSettings
) -> tuple[Floats, float]:
    """Raw logit of each clip by the model that has not seen its source or its people, [n], and the seconds in all."""
    found, seconds = np.zeros(len(clips)), 0.0
    for fold in folds:
        model, spent = train_sequence([clips[place] for place in fold.train.tolist()], network, build, settings)
        found[fold.test] = sequence_logits(model, [clips[place] for place in fold.test.tolist()], network)
        seconds += spent
    return found, seconds
