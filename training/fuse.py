"""Fuse calibrated networks into the image verdict: ``python -m training.fuse OUT.json frame_cnn=RUN detail_cnn=RUN``.

Every run must have its ``calibration.json``. Members are weighed by logistic regression on held-out photos that none of
them was trained on (``training.models.ensemble``), or their odds are added (``--rule any``). Members that stand in for
others where a photo ends at the face (``training.tight``) are asked as serving would ask them. One stays only where
leaving it out lowers the mean AUC over the held-out kinds, each fake against the reals that look most like it, by more
than 0.005; both differences are printed with a paired bootstrap interval. Thresholds, refits and the table of real
scores are then those of the fused log-odds.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from cards.repository import ModelRepository
from pipelines.fusion import combine
from training.calibrate import DRAWS, balanced_draw, fit
from training.data.cache import load_cache
from training.data.pairs import Reconstructions
from training.data.style import FILE
from training.held_out_table import write_table
from training.memory import keep_memory
from training.models.ensemble import Ensemble, fit_ensemble
from training.report import Fit, FusedFit, settings_of
from training.scores import Floats, Ints, Scores, kinds_of, mean_kind_auc, out_of_fold, rivals_of
from training.tight import Ends, asked_of, member_odds, shares_inside, tell_cut

GAIN = 0.005
"""A member stays where the mean AUC falls by more than this without it."""
PENALTY = DRAWS / 4
"""How strongly the weights are drawn to the plain mean. The draws repeat some thousand photos, so one of a few items'
worth would count for nothing; on held-out photos the mean AUC over kinds is 0.813 without and 0.820 with it."""
SHARPNESS = 2.0
"""How close to a maximum ``any`` is. On held-out photos the mean AUC is 0.824 with 1 and 0.830 with 2 and 4."""
RESAMPLES = 200
Rule = Literal["sum", "any"]
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gain:
    """What leaving a member out costs in mean AUC over the kinds, with a 95 % interval over resampled photos."""

    member: str
    value: float
    low: float
    high: float


def member_weights(log_odds: Floats, labels: Ints, names: tuple[str, ...], rule: Rule) -> tuple[Floats, float]:
    """Weights and bias of the members: fitted for ``sum``; for ``any`` all are :data:`SHARPNESS`."""
    if rule == "any":
        return np.full(len(names), SHARPNESS), 0.0
    fitted: Ensemble = fit_ensemble(log_odds, labels, names, PENALTY)
    return fitted.weights, fitted.bias


def gains(log_odds: Floats, scores: Scores, names: tuple[str, ...], rule: Rule = "sum", seed: int = 9) -> list[Gain]:
    """The gain of each member over the ensemble of the others; all are fitted on the same photos."""
    rng = np.random.default_rng(seed)
    drawn = balanced_draw(scores.labels, scores.sources, DRAWS, rng)

    def ensemble(places: list[int]) -> Floats:
        chosen = log_odds[:, places]
        members = tuple(names[place] for place in places)
        return combine(chosen, member_weights(chosen[drawn], scores.labels[drawn], members, rule)[0].tolist(), rule)

    everyone = ensemble(list(range(len(names))))
    kinds, peers = kinds_of(scores), rivals_of(scores)
    _LOG.info("%s: mean AUC %.4f", " + ".join(names), mean_kind_auc(everyone, kinds, peers))
    result = []
    for place, name in enumerate(names):
        without = ensemble([other for other in range(len(names)) if other != place])
        differences = []
        for _ in range(RESAMPLES):
            some = [rng.choice(kind, len(kind)) for kind in kinds]
            differences.append(mean_kind_auc(everyone, some, peers) - mean_kind_auc(without, some, peers))
        value = mean_kind_auc(everyone, kinds, peers) - mean_kind_auc(without, kinds, peers)
        low, high = np.percentile(differences, [2.5, 97.5])
        result.append(Gain(name, value, float(low), float(high)))
    return result


def fuse_members(
    members: Mapping[str, tuple[Scores, Fit]], rule: Rule = "sum", keep: bool = False, ends: Ends | None = None
) -> FusedFit:
    """Weigh the members, drop those that add nothing, and fit what the verdict needs.

    Args:
        members: scores on the same photos, in the same order, and the calibration of each.
        rule: of :class:`cards.record.Fusion`.
        keep: drop nobody: the verdict is fitted again for members that were chosen before.
        ends: which photos end at their face, and who is asked about those; None where all are asked about all.

    Raises:
        ValueError: members scored different photos, or there is none; stand-ins need the rule ``any``.
    """
    if not members:
        raise ValueError("a verdict needs at least one member")
    names = tuple(sorted(members))
    if len(names) == 1:
        return FusedFit(weights={names[0]: 1.0}, bias=0.0, fit=members[names[0]][1])
    first = members[names[0]][0]
    for name in names[1:]:
        if not np.array_equal(members[name][0].sources, first.sources):
            raise ValueError(f"{name} scored other photos than {names[0]}")
    if ends is not None and rule != "any":
        raise ValueError("stand-ins add their odds: --rule any")
    log_odds = member_odds(members, names, ends)
    found = gains(log_odds, first, names, rule)
    for gain in found:
        _LOG.info("without %s: mean AUC %+.4f (%+.4f to %+.4f)", gain.member, -gain.value, -gain.high, -gain.low)
    weakest = min(found, key=lambda gain: gain.value)
    if weakest.value <= GAIN and not keep:
        _LOG.info("%s is left out of the verdict", weakest.member)
        return fuse_members({name: value for name, value in members.items() if name != weakest.member}, rule, ends=ends)
    drawn = balanced_draw(first.labels, first.sources, DRAWS, np.random.default_rng(5))
    weights, bias = member_weights(log_odds[drawn], first.labels[drawn], names, rule)
    fitted = fit(replace(first, logits=combine(log_odds, weights.tolist(), rule) + bias))
    slope, intercept = fitted.calibration.slope, fitted.calibration.intercept
    return FusedFit(
        weights=dict(zip(names, weights.tolist(), strict=True)),
        bias=float(slope * bias + intercept),
        rule=rule,
        slope=slope,
        instead={} if ends is None else asked_of(names, ends.tight),
        fit=fitted,
    )


def main(arguments: list[str] | None = None) -> int:
    """Fuse runs and write the fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("members", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--rule", choices=("sum", "any"), default="sum", help="see cards.record.Fusion")
    parser.add_argument("--keep", action="store_true", help="fit again for members that were chosen before")
    parser.add_argument("--table", type=Path, help="JSON of what the verdict is worth on each held-out kind")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    keep_memory()
    photos = load_cache(options.cache / "photos")
    rebuilt = Reconstructions(options.cache / "recon")
    styles = np.load(options.cache / "photos" / FILE)
    members, runs, margin = {}, {}, 1.0
    for member in options.members:
        name, _, folder = member.partition("=")
        run = Path(folder)
        calibration = Fit.read(run / "calibration.json")
        if calibration is None:
            parser.error(f"{run} has no calibration.json: python -m training.calibrate {run}")
        settings, runs[name] = settings_of(run / "last.pt")[0], run
        members[name] = (out_of_fold(run, photos, settings, None, rebuilt, styles), calibration)
        margin = max(margin, settings.margin)
    tight, ends = ModelRepository().card("image_faces").tight, None
    items = next(iter(members.values()))[0].items
    if tight and items is not None and asked_of(tuple(members), tight):
        ends = Ends(tight, shares_inside(photos, items, margin) < tight.inside, photos, margin)
    result = fuse_members(members, options.rule, options.keep, ends)
    if options.table:
        write_table(options.table, result, members, ends)
    if ends:
        tell_cut(result, runs, members, ends)
    options.out.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    _LOG.info("weights %s, bias %.3f", result.weights, result.bias)
    return 0


if __name__ == "__main__":
    sys.exit(main())
