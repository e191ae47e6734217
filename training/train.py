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
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, SequentialSampler, Subset

from training.batches import pair_batches
from training.checkpoints import save_state
from training.data.pairs import KINDS
from training.data.photo_split import barred_photos, held_out_photos
from training.data.photos import load_photos
from training.data.sources import PAIRS
from training.data.swaps import swap_rectangles
from training.memory import keep_memory
from training.models.efficientnet_lite import parameter_groups
from training.models.output import normalised
from training.models.registry import network
from training.monitor import Monitor
from training.settings import Settings

_LOG = logging.getLogger(__name__)


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


def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights (and running statistics) towards the model's."""
    pairs = list(zip(average.state_dict().values(), model.state_dict().values(), strict=True))
    floating = [pair for pair in pairs if pair[0].dtype.is_floating_point]
    with torch.no_grad():
        torch._foreach_lerp_([kept for kept, _ in floating], [new for _, new in floating], 1 - decay)
        for kept, new in pairs:
            if not kept.dtype.is_floating_point:
                kept.copy_(new)


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
    batches = pair_batches(photos, styles, settings, cache)
    model = network(settings.network).build().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.start:
        begun = torch.load(settings.start, map_location=device, weights_only=True)
        model.load_state_dict(begun["average"])
    average = copy.deepcopy(model)
    optimiser = _optimiser(model, settings)
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
        fake = None
        if settings.swapped:
            crops, fake = swap_rectangles(crops, settings.swapped, np.random.default_rng([settings.seed, step, 1]))
            fake = fake.to(device)
        model.train()
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(normalised(crops.to(device, non_blocking=True))).logit
        entropy, ranking = loss_of(logits[:, 0].float(), settings.pairs, settings, fake)
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


def _optimiser(model: nn.Module, settings: Settings) -> torch.optim.AdamW:
    """Groups with and without decay, each with the ``factor`` by which its rate exceeds the run's."""
    head = [p for name, p in model.named_parameters() if name.startswith(("classifier.", "head.", "dense"))]
    groups = []
    for group in parameter_groups(model, settings.decay):
        for is_head in (False, True):
            members = [p for p in group["params"] if any(p is h for h in head) == is_head]  # type: ignore[attr-defined]
            factor = settings.head_factor if is_head else 1.0
            groups.append({"params": members, "weight_decay": group["weight_decay"], "factor": factor})
    return torch.optim.AdamW(groups, lr=settings.rate)


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
    for kind in KINDS[1:]:
        flag, default = kind.replace("_", "-"), getattr(Settings, kind)
        parser.add_argument(f"--{flag}", type=float, default=default, help="share of those pairs")
    for flag, seen in (("video-frames", "frames of compressed videos"), ("screenshots", "seen on a screen")):
        parser.add_argument(f"--{flag}", type=float, default=0.0, help=f"share of the damaged pairs that are {seen}")
    names = [group.name for group in PAIRS]
    parser.add_argument("--groups", nargs="+", default=[], choices=names, metavar="PAIR", help=", ".join(names))
    parser.add_argument("--start", default="", help="checkpoint to begin with instead of ImageNet's weights")
    parser.add_argument("--size", type=int, default=Settings.size, help="side of the crop in pixels")
    parser.add_argument("--margin", type=float, default=Settings.margin, help="what the crop shows around the face")
    parser.add_argument("--swapped", type=float, default=Settings.swapped, help="share that exchanges a rectangle")
    parser.add_argument("--licences", choices=("all", "permissive"), default=Settings.licences)
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
        **{name: getattr(options, name) for name in (*KINDS[1:], "video_frames", "screenshots")},
        groups=tuple(options.groups),
        start=options.start,
        head_factor=1.0 if options.start else Settings.head_factor,
        threads=options.threads,
        swapped=options.swapped,
        stills=options.stills,
        licences=options.licences,
        fold=options.fold,
        loaders=options.loaders,
    )
    _LOG.info("%s", train_run(options.run, settings, options.cache))
    return 0


if __name__ == "__main__":
    sys.exit(main())
