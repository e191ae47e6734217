"""Scores of recordings by voice networks that had not heard them: how they weigh, and how a verdict is told."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.metrics import auc, ece, eer
from training.audio.conditions import CONDITIONS

CLEAN_SHARE = 0.5
"""Of the mass: recordings that were not damaged beyond what the data holds."""
SHORT_S = 2.0
_LOG = logging.getLogger(__name__)
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """Out-of-fold scores of clips under conditions; the entries of :class:`Heard` that have windows and enough speech.

    Attributes:
        logit: [e], mean raw logit of the clip; label: [e]; family: of the fake, else the source of the real.
        condition: [e], place in ``CONDITIONS``; quality: [e, MEASURES]; row: [e].
    """

    logit: Floats
    label: Ints
    family: npt.NDArray[np.str_]
    condition: Ints
    quality: Floats
    row: Ints

    def subset(self, chosen: npt.NDArray[np.bool_]) -> Scored:
        """Some of the entries."""
        return Scored(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def mass_of(scored: Scored, worth: Mapping[str, float] | None = None) -> Floats:
    """Weight of each entry, adding up to 1: classes alike, clean ones ``CLEAN_SHARE``, the other conditions alike,
    families of fakes by ``worth`` (alike without it), sources of reals by the square root of their size."""
    worth = worth or {}
    mass = np.zeros(len(scored.label))
    for label in (0, 1):
        for condition in np.unique(scored.condition):
            members = (scored.label == label) & (scored.condition == condition)
            for name in np.unique(scored.family[members]):
                some = members & (scored.family == name)
                mass[some] = worth.get(str(name), 1.0) / some.sum() if label else 1 / np.sqrt(some.sum())
            others = len(np.unique(scored.condition)) - 1
            share = 1.0 if not others else CLEAN_SHARE if condition == 0 else (1 - CLEAN_SHARE) / others
            mass[members] *= 0.5 * share / max(mass[members].sum(), 1e-12)
    return np.asarray(mass / mass.sum())


def tell_conditions(
    scored: Scored, log_odds: Floats, settled: npt.NDArray[np.bool_], flagged: npt.NDArray[np.bool_], note: str = ""
) -> None:
    """One line for each condition; ``settled`` are entries with a verdict, ``flagged`` those called fake."""
    p = 1 / (1 + np.exp(-np.clip(log_odds, -60, 60)))
    for place in np.unique(scored.condition):
        some = scored.condition == place
        reals, fakes = some & (scored.label == 0), some & (scored.label == 1)
        _LOG.info(
            "  %s%-10s AUC %.3f EER %.3f ECE %.3f | reals flagged %.3f (settled %.2f) | fakes %.3f (%.2f) of %d/%d",
            note,
            CONDITIONS[place],
            auc(log_odds[some], scored.label[some]),
            eer(log_odds[some], scored.label[some]),
            ece(p[some], scored.label[some]),
            flagged[reals].mean(),
            settled[reals].mean(),
            flagged[fakes].mean(),
            settled[fakes].mean(),
            reals.sum(),
            fakes.sum(),
        )


def report(scored: Scored, log_odds: Floats, drowned: npt.NDArray[np.bool_], threshold: float, band: float) -> None:
    """One line for each condition and each kind of fake."""
    p = 1 / (1 + np.exp(-np.clip(log_odds, -60, 60)))
    settled = ~drowned & (np.abs(p - threshold) >= band)
    flagged = settled & (p >= threshold)
    tell_conditions(scored, log_odds, settled, flagged)
    clean = scored.condition == 0
    reals = clean & (scored.label == 0)
    for name in np.unique(scored.family):
        some = clean & (scored.family == name)
        if not some.any():
            continue
        line = f"flagged {flagged[some].mean():.3f} of {some.sum()}"
        if (scored.label[some] == 1).all():
            line = f"AUC {auc(log_odds[some | reals], scored.label[some | reals]):.3f} " + line
        _LOG.info("  clean %-34s %s", name, line)
