"""Train a network on face crops: pairs of crops, AdamW, a cosine over the run, averaged weights.

The loop is small on purpose and can be resumed: everything it needs lies in ``<run>/last.pt``. A run's length is given
in minutes, because the machine is shared; progress is the share of these minutes that was spent training.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, SequentialSampler, Subset

from pipelines.image.align import align_faces
from pipelines.metrics import auc
from training.augment import recode
from training.data.cache import PhotoCache
from training.data.pairs import Mixture, PairBatches, Reconstructions
from training.data.photos import fold_barred, load_photos
from training.data.sources import PAIRS, WATCHED
from training.memory import keep_memory
from training.models.efficientnet_lite import parameter_groups
from training.models.output import normalised
from training.models.registry import network

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Settings of one run.

    Attributes:
        network: a crop network of ``training.models.registry``.
        size, margin: the crop (``card.preprocessing``).
        minutes: length of the run; pairs: pairs in a batch (two crops each).
        rate: largest learning rate; the head learns ``head_factor`` times faster.
        ranking: weight of the loss that wants each fake above its own real.
        average: decay of the averaged weights.
        without: sources that the run must not see (leave-kinds-out folds); watched sources are never seen.
        groups: names of the pairs of sources (``training.data.sources.PAIRS``) that the run learns from; all where
            it is empty. A network that learns one manner of faking alone learns it better.
        clean: share of the pairs without damage; reconstructed, self_blended, part_reconstructed, cross_blended:
            shares of the kinds of pairs (``training.data.pairs.Mixture``).
        stills: whether frames of the training clips stand beside the photos (``training.data.stills``).
        fold: number of the fold of clips (``training.video.folds``) that the run must not see; -1 for none.
        start: checkpoint whose averaged weights the run begins with; ImageNet's where it is empty.
        held_out: share of the clusters that only watch the run.
    """

    network: str = "frame_cnn"
    size: int = 160
    margin: float = 1.3
    minutes: float = 60.0
    pairs: int = 16
    rate: float = 5e-4
    head_factor: float = 4.0
    decay: float = 0.02
    ranking: float = 0.5
    smoothing: float = 0.02
    average: float = 0.998
    warm_up: int = 100
    seed: int = 1
    held_out: float = 0.1
    without: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    clean: float = Mixture.clean
    reconstructed: float = Mixture.reconstructed
    self_blended: float = Mixture.self_blended
    part_reconstructed: float = Mixture.part_reconstructed
    cross_blended: float = Mixture.cross_blended
    stills: bool = False
    fold: int = -1
    start: str = ""
    threads: int = 1
    loaders: int = 1


def held_out_clusters(clusters: npt.NDArray[np.int32], share: float, seed: int = 20) -> npt.NDArray[np.bool_]:
    """Mask of the photos whose cluster is held out; the same for every run."""
    drawn = np.random.default_rng(seed).random(int(clusters.max(initial=-1)) + 1)
    return np.asarray(drawn[clusters] < share)


def held_out_photos(cache: PhotoCache, share: float = 0.1) -> npt.NDArray[np.bool_]:
    """Mask of the photos that only watch: the held-out clusters and the watched kinds."""
    sources = np.array([row.source for row in cache.rows])
    return held_out_clusters(cache.clusters, share) | np.isin(sources, WATCHED)


def barred_photos(cache: PhotoCache, without: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Mask of the photos whose source, as ``real/<name>`` or ``fake/<name>``, a run must not see."""
    names = [f"{'fake' if row.label else 'real'}/{row.source}" for row in cache.rows]
    return np.isin(np.array(names), list(without))


def training_photos(
    cache: PhotoCache, settings: Settings, fold: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.bool_]:
    """Mask of the photos that a run is trained on: no near-duplicate and no clip of a barred photo is among them.

    ``fold`` is the mask of what a fold of clips bars besides (``training.data.photos.fold_barred``).
    """
    barred = barred_photos(cache, settings.without)
    if fold is not None:
        barred |= fold
    related = np.isin(cache.clusters, cache.clusters[barred])
    return ~held_out_photos(cache, settings.held_out) & ~related


def crops_of(
    cache: PhotoCache, items: npt.NDArray[np.int64], size: int, margin: float, quality: int = 0
) -> npt.NDArray[np.uint8]:
    """Crops as serving cuts them, uint8 [n, size, size, 3]; recompressed first where a quality is given."""
    crops = np.empty((len(items), size, size, 3), np.uint8)
    for place, item in enumerate(items):
        photo = np.ascontiguousarray(cache.photo(item))
        if quality:
            photo = recode(photo, ".jpg", quality)
        crops[place] = align_faces(photo, cache.landmarks[item][None], size, margin)[0]
    return crops


@torch.inference_mode()
def logits_of(model: nn.Module, crops: npt.NDArray[np.uint8], batch: int = 64) -> npt.NDArray[np.float32]:
    """Raw logits, float32 [n]."""
    model.eval()
    device = next(model.parameters()).device
    parts = [
        model(normalised(torch.from_numpy(crops[start : start + batch]).to(device).permute(0, 3, 1, 2)))
        .logit[:, 0]
        .cpu()
        .numpy()
        for start in range(0, len(crops), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class Monitor:
    """AUC of each source pair on photos that the run does not see, and the watched kinds against all held-out reals."""

    def __init__(self, cache: PhotoCache, unseen: npt.NDArray[np.bool_], settings: Settings) -> None:
        sources = np.array([row.source for row in cache.rows])
        self.labels = np.array([row.label for row in cache.rows])
        items = np.flatnonzero(unseen)
        self.crops = crops_of(cache, items, settings.size, settings.margin)
        self.sources, self.labels = sources[items], self.labels[items]

    def measure(self, model: nn.Module) -> dict[str, float]:
        scores = logits_of(model, self.crops)
        result = {}
        for group in PAIRS:
            fakes = (self.labels == 1) & np.isin(self.sources, [s for s in group.fakes if s not in WATCHED])
            chosen = fakes | ((self.labels == 0) & np.isin(self.sources, group.reals))
            result[group.name] = auc(scores[chosen], self.labels[chosen])
        for name in WATCHED:
            chosen = (self.labels == 0) | (self.sources == name)
            result[f"watched:{name}"] = auc(scores[chosen], self.labels[chosen])
        return {name: round(value, 4) for name, value in result.items() if np.isfinite(value)}


def loss_of(logits: Tensor, pairs: int, settings: Settings) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the crops (reals first, then fakes), and the ranking loss over the pairs."""
    targets = torch.cat([logits.new_zeros(pairs), logits.new_ones(pairs)])
    targets = targets * (1 - 2 * settings.smoothing) + settings.smoothing
    entropy = functional.binary_cross_entropy_with_logits(logits, targets)
    ranking = functional.softplus(logits[:pairs] - logits[pairs:]).mean()
    return entropy, ranking


def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights (and running statistics) towards the model's."""
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    floating = [pair for pair in pairs if pair[0].dtype.is_floating_point]
    with torch.no_grad():
        torch._foreach_lerp_([kept for kept, _ in floating], [new for _, new in floating], 1 - decay)
        for kept, new in pairs:
            if not kept.dtype.is_floating_point:
                kept.copy_(new)


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint whole: first beside the target, then renamed."""
    partial = path.with_suffix(".partial")
    torch.save(dict(state), partial)
    partial.replace(path)


def train_run(
    run: Path, settings: Settings | None = None, cache: Path = Path(".cache"), evaluate_every: float = 8.0
) -> Path:
    """Train or resume a run and return its checkpoint.

    Args:
        run: folder of the run; an existing ``last.pt`` in it is resumed with the settings given now.
        settings: see ``Settings``; the defaults where left out.
        cache: folder with ``photos`` and ``recon`` (``training.prepare`` writes both).
        evaluate_every: minutes between two looks at the held-out photos.

    Returns:
        Path of ``last.pt`` with the keys ``model``, ``average``, ``optimiser``, ``step``, ``spent``, ``settings``.
    """
    settings = settings or Settings()
    keep_memory()
    cv2.setNumThreads(0)  # its thread pool does not survive the fork of the loader
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    run.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    photos, styles = load_photos(cache, settings.stills)
    fold = fold_barred(photos.rows, cache, settings.fold) if settings.fold >= 0 else None
    batches = PairBatches(
        photos,
        training_photos(photos, settings, fold),
        Reconstructions(cache / "recon"),
        settings.size,
        settings.margin,
        settings.pairs,
        10**6,
        settings.seed,
        Mixture(
            reconstructed=settings.reconstructed,
            self_blended=settings.self_blended,
            part_reconstructed=settings.part_reconstructed,
            cross_blended=settings.cross_blended,
            clean=settings.clean,
        ),
        groups=[group for group in PAIRS if not settings.groups or group.name in settings.groups],
        styles=styles,
    )
    model = network(settings.network).build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.start:
        begun = torch.load(settings.start, map_location=device, weights_only=True)
        model.load_state_dict(begun["average"])
    average = copy.deepcopy(model)
    head = [p for name, p in model.named_parameters() if name.startswith(("classifier.", "head.", "dense"))]
    groups = []
    for group in parameter_groups(model, settings.decay):
        for is_head in (False, True):
            members = [p for p in group["params"] if any(p is h for h in head) == is_head]  # type: ignore[attr-defined]
            factor = settings.head_factor if is_head else 1.0
            groups.append({"params": members, "weight_decay": group["weight_decay"], "factor": factor})
    optimiser = torch.optim.AdamW(groups, lr=settings.rate)
    step, spent = 0, 0.0
    last = run / "last.pt"
    if last.exists():
        state = torch.load(last, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    monitor = Monitor(
        photos, held_out_photos(photos, settings.held_out) & ~barred_photos(photos, settings.without), settings
    )
    loader = DataLoader(
        Subset(batches, range(step, len(batches))),
        batch_size=None,
        sampler=SequentialSampler(range(len(batches) - step)),
        num_workers=settings.loaders,
        prefetch_factor=8 if settings.loaders else None,
        pin_memory=device.type == "cuda",
    )
    log = (run / "log.jsonl").open("a", encoding="utf-8")
    limit = settings.minutes * 60
    last_look, began, sums = spent, time.monotonic() - spent, np.zeros(3)
    for crops, _kinds in loader:
        progress = spent / limit
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        rate = settings.rate * min(1.0, (step + 1) / settings.warm_up) * cosine
        for entry in optimiser.param_groups:
            entry["lr"] = rate * entry["factor"]
        model.train()
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(normalised(crops.to(device, non_blocking=True))).logit
        entropy, ranking = loss_of(logits[:, 0].float(), settings.pairs, settings)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(entropy + settings.ranking * ranking)
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        step += 1
        # Early on the average follows the model quickly; later it remembers some hundred steps.
        update_average(average, model, min(settings.average, (1 + step) / (10 + step)))
        ordered = (logits[settings.pairs :] > logits[: settings.pairs]).float().mean()
        sums += torch.stack([entropy.detach(), ranking.detach(), ordered]).tolist()  # one wait for the device
        spent = time.monotonic() - began
        finished = spent >= limit
        if step % 50 == 0:
            entry = dict(zip(("entropy", "ranking", "ordered"), (sums / 50).round(4).tolist(), strict=True))
            log.write(json.dumps({"step": step, "minutes": round(spent / 60, 2), "rate": rate, **entry}) + "\n")
            log.flush()
            sums[:] = 0
        if finished or spent - last_look > evaluate_every * 60:
            last_look = spent
            looked = {"step": step, "minutes": round(spent / 60, 2), "auc": monitor.measure(average)}
            log.write(json.dumps(looked) + "\n")
            log.flush()
            save_state(
                last,
                {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "step": step,
                    "spent": spent,
                    "network": settings.network,
                    "settings": json.dumps(asdict(settings)),
                },
            )
        if finished:
            break
    log.close()
    return last


def main(arguments: list[str] | None = None) -> int:
    """``python -m training.train RUN``: train a crop network, or resume a run that was cut off."""
    parser = argparse.ArgumentParser(prog="train", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, such as .cache/runs/first; last.pt in it is resumed")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="what training.prepare wrote")
    parser.add_argument("--network", default=Settings.network, help="name in training/models/registry.py")
    parser.add_argument("--minutes", type=float, default=Settings.minutes)
    parser.add_argument("--rate", type=float, default=Settings.rate)
    parser.add_argument(
        "--pairs", type=int, default=Settings.pairs, help="pairs in a batch; fewer where memory is short"
    )
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--clean", type=float, default=Settings.clean, help="share of the pairs without damage")
    for kind in ("reconstructed", "self-blended", "part-reconstructed", "cross-blended"):
        default = getattr(Settings, kind.replace("-", "_"))
        parser.add_argument(f"--{kind}", type=float, default=default, help="share of those pairs")
    names = [group.name for group in PAIRS]
    parser.add_argument("--groups", nargs="+", default=[], choices=names, metavar="PAIR", help=", ".join(names))
    parser.add_argument("--start", default="", help="checkpoint to begin with instead of ImageNet's weights")
    parser.add_argument("--size", type=int, default=Settings.size, help="side of the crop in pixels")
    parser.add_argument("--margin", type=float, default=Settings.margin, help="what the crop shows around the face")
    parser.add_argument("--stills", action="store_true", help="learn from frames of the training clips too")
    parser.add_argument("--fold", type=int, default=Settings.fold, help="fold of clips that the run must not see")
    parser.add_argument("--threads", type=int, default=Settings.threads)
    parser.add_argument("--loaders", type=int, default=Settings.loaders, help="processes that make crops")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = Settings(
        network=options.network,
        minutes=options.minutes,
        rate=options.rate,
        pairs=options.pairs,
        seed=options.seed,
        size=options.size,
        margin=options.margin,
        clean=options.clean,
        reconstructed=options.reconstructed,
        self_blended=options.self_blended,
        part_reconstructed=options.part_reconstructed,
        cross_blended=options.cross_blended,
        groups=tuple(options.groups),
        start=options.start,
        head_factor=1.0 if options.start else Settings.head_factor,
        threads=options.threads,
        stills=options.stills,
        fold=options.fold,
        loaders=options.loaders,
    )
    _LOG.info("%s", train_run(options.run, settings, options.cache))
    return 0


if __name__ == "__main__":
    sys.exit(main())
