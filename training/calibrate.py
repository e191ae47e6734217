"""Calibrate a run on leave-kinds-out folds: ``python -m training.calibrate RUN``.

Each fold of ``training/folds.json`` leaves out whole families of generators and whole sources of reals; a model of the
same recipe that never saw them scores them. These scores tell what the final model is worth on kinds that are new to
it. Fold models are trained for a shorter time, so their logits are first brought to the final model's scale by mean
and spread on photos that neither has seen. Nothing here touches ``dev/``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from cards.record import Calibration
from pipelines.metrics import auc, ece, platt
from training.data.cache import load_cache
from training.data.pairs import Reconstructions
from training.data.sources import PAIRS, WATCHED
from training.data.splits import read_folds
from training.fusion import moved_up, operating_points, refits_by_kind
from training.memory import keep_memory
from training.report import Fit, settings_of
from training.scores import Floats, Ints, Scores, out_of_fold
from training.settings import Settings
from training.train import train_run

DRAWS = 20_000
SHIPPED_POINT = "fpr_1"
"""Reals of sources that are new to a verdict are flagged some two to five times as often as held-out ones of known
sources (``training/EXPERIMENTS.md``, look 23: 5 % for 2 %, and 18 % of the worst group). So the shipped threshold aims
at 1 %."""
WORST_FPR, LEAST_REALS = 0.06, 20
"""And it is moved up until no source of so many held-out reals has more of them flagged."""
RARE = 0.05
"""Pseudo-fakes with no more than this share of a run's pairs are not its manner."""
FOLD_SIZE = 128
QUANTILES = 201
_LOG = logging.getLogger(__name__)


def train_folds(runs: Path, settings: Settings, cache: Path, minutes: float) -> None:
    """Train the fold models that are missing or unfinished, from ImageNet's weights and on smaller (quicker) crops."""
    for number, left_out in enumerate(read_folds()):
        fold = replace(
            settings,
            minutes=minutes,
            without=left_out.sources,
            seed=10 + number,
            size=FOLD_SIZE,
            start="",
            rate=Settings.rate,
            head_factor=Settings.head_factor,
            average=0.99,  # a short run: its average must not remember the beginning
        )
        train_run(runs / left_out.name, fold, cache, evaluate_every=minutes)


def balanced_mass(labels: Ints, sources: npt.NDArray[np.str_]) -> Floats:
    """Weight of each item, adding up to 1: classes are equal, and a source counts by the square root of its size.

    Where the watched kinds, which no run sees, stand beside kinds that were seen, they are half of the fakes: what a
    user sends may come from either.
    """
    mass = np.zeros(len(labels))
    for label in (0, 1):
        for source in np.unique(sources[labels == label]):
            members = (labels == label) & (sources == source)
            mass[members] = 1 / np.sqrt(members.sum())
        mass[labels == label] /= mass[labels == label].sum()
    novel = (labels == 1) & np.isin(sources, WATCHED)
    seen = (labels == 1) & ~novel
    if novel.any() and seen.any():
        mass[novel] *= 0.5 / mass[novel].sum()
        mass[seen] *= 0.5 / mass[seen].sum()
    return np.asarray(mass / mass.sum())


def balanced_draw(labels: Ints, sources: npt.NDArray[np.str_], draws: int, rng: np.random.Generator) -> Ints:
    """Positions drawn by :func:`balanced_mass`."""
    return rng.choice(len(labels), draws, p=balanced_mass(labels, sources))


def own_kinds(scores: Scores, settings: Settings) -> Scores:
    """The reals, and the fakes of the manner that a run was trained to find; all where it was trained on everything.

    A network that knows one manner of faking says what its odds are; the others of a verdict speak for their own
    (``cards.record.Fusion.rule``).
    """
    if not settings.groups:
        return scores
    names = {source for group in PAIRS if group.name in settings.groups for source in group.fakes}
    kinds = ("reconstructed", "self_blended", "cross_blended")
    names |= {f"pseudo:{kind}" for kind in kinds if getattr(settings, kind) > RARE}
    chosen = (scores.labels == 0) | np.isin(scores.sources, sorted(names))
    text = f"{scores.fitted_on}; fakes of {', '.join(settings.groups)} alone"
    return Scores(scores.logits[chosen], scores.labels[chosen], scores.sources[chosen], text, scores.shift)


def fit(scores: Scores, seed: int = 4) -> Fit:
    """Platt scaling, thresholds, refits and the table of real scores from out-of-fold scores."""
    rng = np.random.default_rng(seed)
    mass = balanced_mass(scores.labels, scores.sources)
    drawn = rng.choice(len(mass), DRAWS, p=mass)
    slope, intercept = platt(scores.logits[drawn], scores.labels[drawn])
    log_odds = slope * scores.logits + intercept
    chosen, truth = log_odds[drawn], scores.labels[drawn]
    probabilities = 1 / (1 + np.exp(-chosen))
    reals = log_odds[scores.labels == 0]
    kinds = {
        str(name): round(auc(np.append(log_odds[scores.sources == name], reals), _against(scores, name, reals)), 4)
        for name in np.unique(scores.sources[scores.labels == 1])
    }
    points = operating_points(probabilities, truth)
    sources, counts = np.unique(scores.sources[scores.labels == 0], return_counts=True)
    known = 1 / (1 + np.exp(-log_odds))
    groups = [known[(scores.labels == 0) & (scores.sources == each)] for each in sources[counts >= LEAST_REALS]]
    points[SHIPPED_POINT] = moved_up(points[SHIPPED_POINT], groups, WORST_FPR, probabilities, truth)
    return Fit(
        calibration=Calibration(
            slope=slope,
            intercept=intercept,
            fitted_on=scores.fitted_on + "; classes equal, sources by the square root of their size",
            items=len(scores.labels),
            ece=ece(probabilities, truth),
        ),
        refits=refits_by_kind(log_odds, scores.labels, scores.sources, mass, seed),
        real_quantiles=tuple(np.quantile(chosen[truth == 0], np.linspace(0, 1, QUANTILES)).tolist()),
        operating_points=points,
        default_operating_point=SHIPPED_POINT,
        fitted_on=scores.fitted_on,
        shift=scores.shift,
        by_kind=kinds,
    )


def _against(scores: Scores, name: str, reals: Floats) -> Ints:
    kind = scores.labels[scores.sources == name]
    return np.append(kind, np.zeros(len(reals), dtype=np.int64))


def main(arguments: list[str] | None = None) -> int:
    """Fit, and write ``calibration.json`` beside the checkpoint; ``--train MINUTES`` makes missing fold models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, with last.pt in it")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--folds", type=Path, default=Path(".cache/runs/folds"), help="folder of the fold models")
    parser.add_argument("--held-out", action="store_true", help="fit on held-out photos instead of the folds")
    parser.add_argument("--train", type=float, metavar="MINUTES", help="train each missing fold model for so long")
    parser.add_argument("--folds-only", action="store_true", help="train the fold models and stop")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    keep_memory()
    settings, _ = settings_of(options.run / "last.pt")
    if options.train:
        train_folds(options.folds, settings, options.cache, options.train)
    if options.folds_only:
        return 0
    folds = None if options.held_out else options.folds
    rebuilt = Reconstructions(options.cache / "recon")
    scores = out_of_fold(options.run, load_cache(options.cache / "photos"), settings, folds, rebuilt)
    result = fit(own_kinds(scores, settings))
    target = options.run / "calibration.json"
    target.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    _LOG.info("%s", result.model_dump_json(indent=1, exclude={"refits", "real_quantiles"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
