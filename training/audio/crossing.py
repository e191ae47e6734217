"""How far the scale of a voice verdict carries: fitted without a source of reals, judged on it.

The speech of each real source (and its copies) is judged by conditions, bias and threshold that were fitted on the
others; sources of few clips stand together. What is printed is what a recording of an unknown source may expect.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from training.audio.scale import DEFAULT_POINT, DRAWS, bent, fit_conditions, stricter
from training.audio.scored import Scored, mass_of, tell_conditions
from training.fusion import operating_points

GROUPS = 4
Floats = npt.NDArray[np.float64]


def crossed(
    fused: Floats, scored: Scored, group: npt.NDArray[np.int64], worth: Mapping[str, float], floor_db: float | None
) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Log-odds [e] of each entry under what was fitted on the other groups, whether it is flagged, and whether the
    verdict abstains."""
    log_odds, flagged, drowned = np.zeros(len(fused)), np.zeros(len(fused), bool), np.zeros(len(fused), bool)
    for each in np.unique(group):
        out, rest = group == each, group != each
        known = scored.subset(rest)
        mass = mass_of(known, worth)
        base, bias, conditions = fit_conditions(fused[rest], known, mass, floor_db=floor_db)
        seen, unclear = bent(base * fused[rest] + bias, known, conditions)
        drawn = np.random.default_rng(6).choice(len(mass), DRAWS, p=mass)
        chance = 1 / (1 + np.exp(-np.clip(seen[drawn], -60, 60)))
        point = operating_points(chance, known.label[drawn])[DEFAULT_POINT]
        threshold = stricter(point, seen, known, unclear, drawn).threshold
        log_odds[out], drowned[out] = bent(base * fused[out] + bias, scored.subset(out), conditions)
        flagged[out] = ~drowned[out] & (log_odds[out] >= np.log(threshold / (1 - threshold)))
    return log_odds, flagged, drowned


def tell_crossed(
    fused: Floats,
    scored: Scored,
    sources: npt.NDArray[np.str_],
    worth: Mapping[str, float],
    floor_db: float | None,
) -> None:
    """One line for each condition, with sources left out in ``GROUPS`` groups of about equal size.

    Args:
        sources: [e], of the real clip that each entry is of.
    """
    names, counts = np.unique(sources, return_counts=True)
    filled, where = np.zeros(GROUPS), {}
    for name, count in sorted(zip(names, counts), key=lambda pair: -pair[1]):
        where[name] = int(np.argmin(filled))
        filled[where[name]] += count
    group = np.array([where[name] for name in sources])
    log_odds, flagged, drowned = crossed(fused, scored, group, worth, floor_db)
    tell_conditions(scored, log_odds, ~drowned, flagged, "sources left out, ")
