"""How far the scale of a voice verdict carries: fitted without a source of reals, judged on it.

The speech of each real source (and its copies) is judged by conditions, bias and threshold that were fitted on the
others; sources of few clips stand together. What is printed is what a recording of an unknown source may expect.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipelines.assessment.curves import log_odds
from training.audio.folds import alike_groups
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
    said, flagged, drowned = np.zeros(len(fused)), np.zeros(len(fused), bool), np.zeros(len(fused), bool)
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
        said[out], drowned[out] = bent(base * fused[out] + bias, scored.subset(out), conditions)
        flagged[out] = ~drowned[out] & (said[out] >= log_odds(threshold))
    return said, flagged, drowned


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
    said, flagged, drowned = crossed(fused, scored, alike_groups(sources, GROUPS), worth, floor_db)
    tell_conditions(scored, said, ~drowned, flagged, "sources left out, ")
