"""Average the weights of runs of one network: ``python -m training.soup OUT RUN RUN... [--norms]``.

Wortsman et al., Model soups, ICML 2022: weights that share their beginning can be averaged, here ImageNet's or an
earlier run's, and the mean generalises better than each. Where the runs went apart, the maps of the mean vary less than
those of any (Jordan et al., REPAIR, ICLR 2023); ``--norms`` then measures the batch norms anew on pairs of training
crops. The result is a run's folder like any other, ready for calibration and export, with the settings of the last run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import torch
from torch import nn

from training.batches import pair_batches
from training.checkpoints import save_state
from training.data.photos import load_photos
from training.memory import keep_memory
from training.models.output import normalised
from training.models.registry import read_checkpoint
from training.report import settings_of

BATCHES = 40
"""Batches of pairs that batch norms are measured on: some 2,500 crops at 32 pairs."""


def blend_runs(out: Path, runs: Sequence[Path], weights: Sequence[float] | None = None) -> Path:
    """Write ``out/last.pt`` with the mean of runs' averaged weights.

    Args:
        runs: folders; the settings kept are those of the last, steps and minutes are added up.
        weights: of the runs; alike where left out.

    Raises:
        ValueError: there is no run, or not one weight of at least 0 for each.
    """
    parts = [1.0] * len(runs) if weights is None else list(weights)
    if not runs or len(parts) != len(runs) or min(parts) < 0 or not sum(parts):
        raise ValueError(f"one weight of at least 0 for each of {len(runs)} runs, got {parts}")
    states = [torch.load(run / "last.pt", map_location="cpu", weights_only=True) for run in runs]
    shares = torch.tensor(parts) / sum(parts)
    mixed = {
        name: torch.einsum("n,n...->...", shares.to(last.dtype), torch.stack([s["average"][name] for s in states]))
        if last.dtype.is_floating_point
        else last
        for name, last in states[-1]["average"].items()
    }
    out.mkdir(parents=True, exist_ok=True)
    save_state(
        out / "last.pt",
        {
            "average": mixed,
            "step": sum(state["step"] for state in states),
            "spent": sum(state["spent"] for state in states),
            "runs": sum(state.get("runs", 1) for state in states),
            "network": states[-1].get("network", "frame_cnn"),
            "settings": states[-1]["settings"],
        },
    )
    return out / "last.pt"


@torch.no_grad()
def measure_norms(model: nn.Module, crops: Iterable[torch.Tensor]) -> None:
    """Set the statistics of the batch norms to those of some batches, uint8 [n, 3, s, s] each (the mean over them)."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    for batch in crops:
        model(normalised(batch))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def settle(run: Path, cache: Path = Path(".cache"), batches: int = BATCHES) -> None:
    """Measure the batch norms of a run's averaged weights on the pairs that its settings name, and write them."""
    settings, _ = settings_of(run / "last.pt")
    _, model, state = read_checkpoint(run / "last.pt")
    photos, styles = load_photos(cache, settings.stills)
    drawn = pair_batches(photos, styles, settings, cache)
    measure_norms(model, (drawn[number][0] for number in range(batches)))
    save_state(run / "last.pt", {**state, "average": model.state_dict()})


def main(arguments: list[str] | None = None) -> int:
    """Average runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--weights", type=float, nargs="+", help="of the runs, alike where left out")
    parser.add_argument("--norms", action="store_true", help="measure the batch norms anew")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    keep_memory()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    print(blend_runs(options.out, options.runs, options.weights))
    if options.norms:
        settle(options.out, options.cache)
    return 0


if __name__ == "__main__":
    sys.exit(main())
