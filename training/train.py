"""Train a network on face crops: pairs of crops, AdamW, a cosine over the run, averaged weights (on Lightning).

A killed run goes on from ``last.ckpt`` in its folder; ``last.pt`` is what calibration, export and the other tools read,
and TensorBoard's events lie beside it. A run's length is given in minutes, because the machine is shared; progress is
the share of these minutes that was spent. Where memory runs out, the run goes on with parts of a batch.

Several GPUs: ``torchrun --nproc-per-node N -m training.train RUN``, each process with ``--pairs`` of its own.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

import cv2
import torch
from torch import nn
from torch.utils.data import DataLoader

from training.batches import pair_batches
from training.callbacks import TimeLimit
from training.data.cache import PhotoCache
from training.data.pairs import KINDS, PairBatches
from training.data.photo_split import barred_photos, held_out_photos
from training.data.photos import load_photos
from training.data.sources import PAIRS
from training.fit import begin_or_resume, trainer_of
from training.memory import keep_memory
from training.models.registry import network
from training.module import Batch
from training.monitor import Monitor
from training.pair_module import Looks, PairModule, Steps, TimeBar
from training.settings import Settings
from training.timing import step_times

_LOG = logging.getLogger(__name__)


def train_run(
    run: Path, settings: Settings | None = None, cache: Path = Path(".cache"), evaluate_every: float = 8.0
) -> Path:
    """Train or resume a run and return its checkpoint.

    Args:
        run: folder of the run; an existing ``last.ckpt`` in it is resumed with the settings given now.
        settings: see ``Settings``; the defaults where left out.
        cache: folder with ``photos`` and ``recon`` (``training.prepare`` writes both).
        evaluate_every: minutes between two looks at the held-out photos.

    Returns:
        Path of ``last.pt``: ``training.pair_module.Looks`` says what it holds.

    Raises:
        MemoryShortageError: not even one pair fits into memory.
    """
    settings = settings or Settings()
    run.mkdir(parents=True, exist_ok=True)
    photos, batches, limit = *_opened(settings, cache), TimeLimit(settings.minutes)
    module = PairModule(_begun(settings), settings, limit)
    unseen = held_out_photos(photos, settings.held_out) & ~barred_photos(photos, settings.without)
    looks = Looks(run / "last.pt", Monitor(photos, unseen, settings), settings, limit, evaluate_every)
    trainer = trainer_of(run, module.settings, [limit, TimeBar(settings.network, limit), looks])
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=Steps(trainer),
        num_workers=settings.loaders,
        prefetch_factor=8 if settings.loaders else None,
        pin_memory=torch.cuda.is_available(),
    )
    begin_or_resume(trainer, run, module, train_dataloaders=loader)
    return looks.path


def plan_run(settings: Settings, cache: Path = Path(".cache")) -> str:
    """What a run would train and how long a step takes, timed after one to warm up; nothing is written."""
    _, batches = _opened(settings, cache)
    module = PairModule(_begun(settings), settings, TimeLimit(settings.minutes))

    def draw(number: int, device: torch.device) -> Batch:
        return module.labelled(batches[number][0].to(device))

    seconds = min(step_times(module, draw, module.settings.precision, 3, time.monotonic)[1:])
    device, size = module.device, sum(p.numel() for p in module.network.parameters()) / 1e6
    drawn = "{} fakes and {} reals".format(*batches.counts())
    return (
        f"{settings.network} ({size:.2f} M parameters): {settings.pairs} pairs of {settings.size} px a step, "
        f"drawn from {drawn}; {seconds:.2f} s a step on {device}, some "
        f"{settings.minutes * 60 / max(seconds, 1e-6):.0f} steps in {settings.minutes:g} minutes"
    )


def _opened(settings: Settings, cache: Path) -> tuple[PhotoCache, PairBatches]:
    """The photos and the batches of pairs of a run, and torch set up for it."""
    keep_memory()
    cv2.setNumThreads(0)  # its thread pool does not survive the fork of the loader
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    photos, styles = load_photos(cache, settings.stills)
    return photos, pair_batches(photos, styles, settings, cache)


def _begun(settings: Settings) -> nn.Module:
    """The network with the weights that the run begins with."""
    model: nn.Module = network(settings.network).build()
    if settings.start:
        model.load_state_dict(torch.load(settings.start, map_location="cpu", weights_only=True)["average"])
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def main(arguments: list[str] | None = None) -> int:
    """``python -m training.train RUN``: train a crop network, or resume a run that was cut off."""
    parser = argparse.ArgumentParser(prog="train", description=__doc__)
    parser.add_argument(
        "run", type=Path, help="folder of the run, such as .cache/runs/first; last.ckpt in it is resumed"
    )
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
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained and how fast, and stop")
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
    if options.dry_run:
        _LOG.info("%s", plan_run(settings, options.cache))
    else:
        _LOG.info("%s", train_run(options.run, settings, options.cache))
    return 0


if __name__ == "__main__":
    sys.exit(main())
