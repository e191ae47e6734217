"""Kinds of synthetic speech that ``voice_cepstra`` has a line for, and how lines become one number.

What neural vocoders leave lies on the other side of real speech than phases from noise (Griffin-Lim), and one line that
is drawn between them finds neither: a copy by Griffin-Lim was real for the neural line with log-odds of -5. So each
kind has a line of its own against the same reals. A line is brought to the log-odds of its kind by scores of real
sources (or engines) that it was fitted without, and the network says

    log sum over kinds of prior * exp(log-odds of the kind),

which is the log-odds of a fake of any kind where a fake is of each with that prior: a line that has nothing to say adds
little to the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pipelines.metrics import platt
from training.audio.cache import VoiceCache
from training.audio.features import Described
from training.audio.folds import alike_groups
from training.audio.heads import Head, HeadSettings, examples, fit_head
from training.audio.pairs import AGAINST
from training.models.voice_cepstra import LINES, NEVER, VoiceCepstra

GOOD = ("hifigan", "cargan")
"""Families of the neural line: vocoders that others trained for long. What gives away
those of a few minutes' training draws the line to itself: without them every family that stands aside is found better
but own_source_filter, which is one of them, and more replaced seconds are hit."""
RECORDED = ("festival_clunits_ru",)
"""Engines that put recordings together, of a voice that the reals have too: only the seams are synthetic."""
GROUPS = 4
"""Of real sources (and of engines), each left out once to bring a line to log-odds."""
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """One kind of fakes.

    Attributes:
        prior: share of this kind among the fakes that a user meets; a guess.
        families: of ``VoiceRow.family``.
        paired: whether its clips are copies of the reals; else speech of engines.
    """

    name: str
    prior: float
    families: tuple[str, ...]
    paired: bool = True

    def members(self, cache: VoiceCache, allowed: Mask) -> Mask:
        """Its fakes among the allowed clips."""
        there = allowed & (cache.labels == 1) & ((cache.partner >= 0) == self.paired)
        kind = np.isin(cache.column("family"), self.families) & ~np.isin(cache.column("generator"), RECORDED)
        return np.asarray(there & kind)


KINDS = (
    Kind("neural", 0.85, GOOD),
    Kind("griffin_lim", 0.05, ("griffin_lim",)),
    Kind("world", 0.05, ("world",)),
    Kind("engine", 0.05, ("tts_classic",), paired=False),
)
assert len(KINDS) == LINES


@dataclass(frozen=True)
class Lines:
    """The lines of a network, of the kinds that there were.

    Attributes:
        weight: float64 [k, f] and bias: float64 [k], of raw features; they give log-odds with the priors in them.
        mean, scale: float32 [f], by which the first line's features were standardised.
    """

    weight: Floats
    bias: Floats
    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]

    def __call__(self, x: npt.NDArray[np.float32]) -> Floats:
        """Log-odds of a fake of any kind, of features [..., f]."""
        return of_any(x, self.weight, self.bias)


def of_any(x: npt.NDArray[np.float32], weight: Floats, bias: Floats) -> Floats:
    """Log-odds of a fake of any kind, of features [..., f], by weights [k, f] and biases [k]."""
    return np.asarray(np.logaddexp.reduce(x @ weight.T + bias, axis=-1))


def chosen_for(cache: VoiceCache, allowed: Mask, kind: Kind) -> Mask:
    """What the line of a kind is fitted on: the allowed reals and its own fakes; nothing where it has none. [n]"""
    own = kind.members(cache, allowed)
    if kind is KINDS[0] and not own.any():  # no good vocoder is there: the others, but for the kinds of other lines
        own = allowed & (cache.partner >= 0) & ~np.isin(cache.column("family"), AGAINST)
    return np.asarray(own | (allowed & (cache.labels == 0))) if own.any() else np.zeros(len(cache), np.bool_)


def chosen_in(cache: VoiceCache, allowed: Mask) -> Mask:
    """What the lines of all kinds are fitted on. [n]"""
    return np.asarray(np.logical_or.reduce([chosen_for(cache, allowed, kind) for kind in KINDS]))


def settings_of(kind: Kind, settings: HeadSettings) -> HeadSettings:
    """How the line of a kind is fitted."""
    return settings if kind.paired else replace(settings, unpaired=1.0)


def groups_of(cache: VoiceCache) -> npt.NDArray[np.int64]:
    """Which part each clip is left out with: that of its real source; engines by turns. [n]"""
    of_real = np.where(cache.partner >= 0, cache.partner, np.arange(len(cache)))
    engine = (cache.labels == 1) & (cache.partner < 0)
    names = np.where(engine, cache.column("generator"), cache.column("source")[of_real])
    found = np.zeros(len(cache), np.int64)
    found[~engine] = alike_groups(names[~engine], GROUPS)
    for place, name in enumerate(np.unique(names[engine])):
        found[engine & (names == name)] = place % GROUPS
    return found


def scale_of(cache: VoiceCache, draws: list[Described], chosen: Mask, settings: HeadSettings) -> tuple[float, float]:
    """Slope and shift that bring a kind's line to log-odds: Platt's (1999) of the scores of left-out groups, classes
    alike. (1, 0) where there are too few sources to leave one out."""
    group, scores, labels, masses = groups_of(cache), [], [], []
    for each in np.unique(group[chosen]):
        seen, held = chosen & (group != each), chosen & (group == each)
        if len(np.unique(cache.labels[seen])) < 2:
            return 1.0, 0.0
        head = fit_head(examples(cache, draws, seen, settings), settings)
        told = examples(cache, draws, held, settings)
        scores.append(head(told.x))
        labels.append(told.y)
        masses.append(told.mass)
    y, mass = np.concatenate(labels).astype(np.int64), np.concatenate(masses).astype(np.float64)
    if len(np.unique(y)) < 2:
        return 1.0, 0.0
    for label in (0, 1):
        mass[y == label] /= mass[y == label].sum()
    return platt(np.concatenate(scores).astype(np.float64), y, mass * len(mass) / mass.sum())


Scales = Sequence[tuple[float, float]]


def scales_of(cache: VoiceCache, draws: list[Described], allowed: Mask, settings: HeadSettings) -> Scales:
    """Slope and shift of the line of each of ``KINDS``."""
    chosen = [chosen_for(cache, allowed, kind) for kind in KINDS]
    return [
        scale_of(cache, draws, some, settings_of(kind, settings)) if some.any() else (1.0, 0.0)
        for kind, some in zip(KINDS, chosen, strict=True)
    ]


def fit_lines(
    cache: VoiceCache,
    draws: list[Described],
    allowed: Mask,
    settings: HeadSettings,
    scales: Scales,
    local: bool = False,
) -> Lines:
    """A line for each kind that has fakes among the allowed clips.

    Args:
        scales: of :func:`scales_of`; local: through stretches of a second.

    Raises:
        ValueError: there are none of any kind.
    """
    parts = []
    for kind, scale in zip(KINDS, scales, strict=True):
        chosen = chosen_for(cache, allowed, kind)
        if chosen.any():
            own = settings_of(kind, settings)
            parts.append(Part(fit_head(examples(cache, draws, chosen, own, local), own), kind.prior, *scale))
    return joined(parts)


class Part(NamedTuple):
    """A kind's line, its prior, and what brings the line to log-odds."""

    head: Head
    prior: float
    slope: float = 1.0
    shift: float = 0.0


def joined(parts: Sequence[Part]) -> Lines:
    """The lines of a network, standardised as the first one is.

    Raises:
        ValueError: there are none.
    """
    if not parts:
        raise ValueError("no kind of synthetic speech has clips to fit a line on")
    lines = [part.head.line for part in parts]
    weight = np.stack([part.slope * line[0] for part, line in zip(parts, lines, strict=True)])
    bias = [part.slope * line[1] + part.shift + np.log(part.prior) for part, line in zip(parts, lines, strict=True)]
    return Lines(weight, np.array(bias), parts[0].head.mean, parts[0].head.scale)


def network_of(whole: Lines, local: Lines) -> VoiceCepstra:
    """The network with fitted lines in it."""
    model = VoiceCepstra()
    with torch.no_grad():
        for lines, mean, scale, layer in (
            (whole, model.mean, model.scale, model.head),
            (local, model.local_mean, model.local_scale, model.local_head),
        ):
            count = len(lines.bias)
            mean.copy_(torch.from_numpy(lines.mean))
            scale.copy_(torch.from_numpy(lines.scale))
            layer.weight.zero_()
            layer.bias.fill_(NEVER)
            layer.weight[:count] = torch.from_numpy(lines.weight / lines.scale)
            layer.bias[:count] = torch.from_numpy(lines.bias + lines.weight @ lines.mean.astype(np.float64))
    return model.eval()
