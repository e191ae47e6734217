"""Linear heads on fixed features, fitted whole in a moment, so that every fold has a model of its own.

A head is Fisher's discriminant, or its weighed mean with a logistic regression. Copies
weigh exactly as much as the reals that they were made of, so that speakers and channels are the same on both
sides, and the difference of the means is what copying adds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import nn

from pipelines.metrics import platt
from training.audio.cache import VoiceCache
from training.audio.features import Described

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeadSettings:
    """How a head is fitted.

    Attributes:
        shrinkage: added to the variance of each standardised feature, for Fisher's discriminant.
        penalty: of the squared weights, for the logistic regression, whose loss adds up to 2 (both classes).
        logistic: share of the logistic regression in the log-odds, 0 to 1.
        unpaired: weight of all synthetic speech without real partners together, as a share of the copies'.
    """

    shrinkage: float = 3.0
    penalty: float = 0.5
    logistic: float = 0.0
    unpaired: float = 0.0


@dataclass(frozen=True)
class Examples:
    """Windows with what a head is fitted to.

    Attributes:
        x: float32 [w, f]; y: float32 [w]; mass: float32 [w], each class adds up to 1.
    """

    x: Floats
    y: Floats
    mass: Floats


@dataclass(frozen=True)
class Head:
    """Standardisation and weights; ``net`` is linear."""

    mean: Floats
    scale: Floats
    net: nn.Module

    def __call__(self, x: Floats) -> Floats:
        """Logits of features [..., f]."""
        with torch.inference_mode():
            told = self.net(torch.from_numpy((x - self.mean) * self.scale))
        return np.asarray(told[..., 0].numpy())

    @property
    def line(self) -> tuple[Doubles, float]:
        """Weight [f] and bias of features that are not standardised."""
        state = self.net.state_dict()
        weight = state["weight"][0].double().numpy() * self.scale
        return weight, float(state["bias"]) - float(weight @ self.mean)


def clip_mass(cache: VoiceCache, chosen: npt.NDArray[np.bool_], unpaired: float) -> Floats:
    """How much each clip counts, [n]; 0 where not chosen.

    A real clip counts by the square root of its source's size over its size, its copies together as much as it does,
    shared by families.
    """
    families, kind = np.unique(cache.column("family"), return_inverse=True)
    source = np.unique(cache.column("source"), return_inverse=True)[1]
    mass = np.zeros(len(cache), np.float64)
    real = chosen & (cache.labels == 0)
    mass[real] = 1 / np.sqrt(np.bincount(source[real], minlength=len(families) + len(source)))[source[real]]
    paired = chosen & (cache.labels == 1) & (cache.partner >= 0)
    partner = cache.partner[paired]
    # One code for each (real clip, family): how many copies share its part, and how many families the clip's.
    codes, place, copies = np.unique(partner * len(families) + kind[paired], return_inverse=True, return_counts=True)
    shared = np.bincount(codes // len(families), minlength=len(cache))[partner]
    mass[paired] = np.where(mass[partner] > 0, mass[partner], 0.05) / shared / copies[place]
    mass[real] /= max(mass[real].sum(), 1e-9)
    mass[paired] /= max(mass[paired].sum(), 1e-9)
    alone = chosen & (cache.labels == 1) & (cache.partner < 0)
    if unpaired and alone.any():
        counts = np.bincount(kind[alone], minlength=len(families))
        mass[alone] = unpaired / np.count_nonzero(counts) / counts[kind[alone]]
    return mass.astype(np.float32)


def examples(
    cache: VoiceCache,
    draws: list[Described],
    chosen: npt.NDArray[np.bool_],
    settings: HeadSettings,
    local: bool = False,
) -> Examples:
    """Windows of the chosen clips in all draws.

    Args:
        local: stretches of a second instead of windows.
    """
    xs, ys, masses = [], [], []
    for draw in draws:
        # A draw may hold some copies of a real clip alone: they weigh as much as it does in this draw too.
        there = np.zeros(len(cache), np.bool_)
        there[draw.clip] = True
        mass_of = clip_mass(cache, chosen & there, settings.unpaired)
        keep = np.flatnonzero(mass_of[draw.clip] > 0)
        clip = draw.clip[keep]
        count = np.bincount(clip, minlength=len(cache))
        mass, labels = mass_of[clip] / count[clip], cache.labels[clip]
        if local:
            places = draw.local.shape[1]
            xs.append(draw.local[keep].reshape(-1, draw.local.shape[2]))
            mass, labels = np.repeat(mass / places, places), np.repeat(labels, places)
        else:
            xs.append(draw.whole[keep])
        ys.append(labels)
        masses.append(mass)
    y, mass = np.concatenate(ys).astype(np.float32), np.concatenate(masses).astype(np.float64)
    for label in (0, 1):
        mass[y == label] /= max(mass[y == label].sum(), 1e-12)
    return Examples(np.concatenate(xs), y, mass.astype(np.float32))


def fit_head(data: Examples, settings: HeadSettings) -> Head:
    """The weighed mean of both heads' log-odds, each on the scale of a logistic regression of its own result."""
    mass = data.mass.astype(np.float64)
    mean = np.average(data.x, axis=0, weights=mass).astype(np.float32)
    scale = (1 / np.sqrt(np.average((data.x - mean) ** 2, axis=0, weights=mass) + 1e-6)).astype(np.float32)
    x = (data.x - mean) * scale
    weight, bias = np.zeros(x.shape[1]), 0.0
    for share, find in ((1 - settings.logistic, _fisher), (settings.logistic, _logistic)):
        if share:
            direction = find(x, data.y, mass, settings)
            slope, shift = platt(x @ direction, data.y.astype(np.int64), mass * len(mass) / mass.sum())
            weight, bias = weight + share * slope * direction, bias + share * shift
    net = nn.Linear(x.shape[1], 1)
    with torch.no_grad():
        net.weight.copy_(torch.from_numpy(weight)[None])
        net.bias.fill_(bias)
    return Head(mean, scale, net.eval())


def _fisher(x: Floats, y: Floats, mass: Doubles, settings: HeadSettings) -> Doubles:
    """Fisher's discriminant (1936) with the covariance of the reals alone, shrunk to the identity. [f]

    The direction is what copies have more of than their reals, less what makes reals differ from each other: speakers,
    channels, and, because every draw of damage is among them, noise and codecs. The spread of the fakes stays out of
    it: it would hide what one family has and another has not.
    """
    real = y == 0
    weight = mass[real] / mass[real].sum()
    middle = weight @ x[real]
    rest = (x[real] - middle) * np.sqrt(weight)[:, None].astype(np.float32)
    spread = rest.T.astype(np.float64) @ rest
    more = np.average(x[~real], axis=0, weights=mass[~real]) - middle
    return np.asarray(np.linalg.solve(spread + settings.shrinkage * np.eye(len(spread)), more))


def _logistic(x: Floats, y: Floats, mass: Doubles, settings: HeadSettings) -> Doubles:
    """Logistic regression with a penalty on the squared weights, by L-BFGS. [f]"""
    sign = np.where(y == 1, 1.0, -1.0)

    def loss(p: Doubles) -> tuple[float, Doubles]:
        line = sign * (x @ p[:-1].astype(np.float32) + p[-1])
        pull = -mass * sign / (1 + np.exp(np.clip(line, -60, 60)))
        slopes = pull.astype(np.float32) @ x + 2 * settings.penalty * p[:-1]
        value = np.sum(mass * np.logaddexp(0, -line)) + settings.penalty * np.sum(p[:-1] ** 2)
        return float(value), np.append(slopes, pull.sum()).astype(np.float64)

    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 80})
    return np.asarray(found.x[:-1], dtype=np.float64)
