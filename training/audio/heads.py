"""Heads on fixed features: logistic regression with a ranking of pairs, fitted whole in seconds.

A fake must score above one half, and above the very clip that it was made of. The second part needs no threshold that
holds for all speakers and channels, so that pairs teach the difference alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.audio.cache import VoiceCache
from training.audio.features import Described

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeadSettings:
    """How a head is fitted.

    Attributes:
        penalty: of the squared weights; ranking: weight of the ranking beside cross-entropy.
        hidden: units of a hidden layer, 0 for a linear head.
        unpaired: weight of all synthetic speech without real partners together, as a share of the copies'.
    """

    penalty: float = 0.5
    ranking: float = 1.0
    hidden: int = 0
    unpaired: float = 0.0
    epochs: int = 30
    seed: int = 1


@dataclass(frozen=True)
class Examples:
    """Windows with what a head is fitted to.

    Attributes:
        x: float32 [w, f]; y: float32 [w]; mass: float32 [w], each class adds up to 1.
        pairs: int64 [p, 2], windows (of a copy, of its real clip at the same place); pair_mass: float32 [p], sums to 1.
    """

    x: Floats
    y: Floats
    mass: Floats
    pairs: Ints
    pair_mass: Floats


@dataclass(frozen=True)
class Head:
    """Standardisation and weights; ``net`` is linear or has one hidden layer."""

    mean: Floats
    scale: Floats
    net: nn.Module

    def __call__(self, x: Floats) -> Floats:
        """Logits of features [..., f]."""
        with torch.inference_mode():
            told = self.net(torch.from_numpy((x - self.mean) * self.scale))
        return np.asarray(told[..., 0].numpy())


def clip_mass(cache: VoiceCache, chosen: npt.NDArray[np.bool_], unpaired: float) -> Floats:
    """How much each clip counts, [n]; 0 where not chosen.

    A real clip counts by the square root of its source's size over its size, its copies together as much as it does,
    shared by families.
    """
    sources, families = cache.column("source"), cache.column("family")
    mass = np.zeros(len(cache), np.float64)
    real = chosen & (cache.labels == 0)
    for source in np.unique(sources[real]):
        members = real & (sources == source)
        mass[members] = 1 / np.sqrt(members.sum())
    paired = chosen & (cache.labels == 1) & (cache.partner >= 0)
    for partner in np.unique(cache.partner[paired]):
        members = np.flatnonzero(paired & (cache.partner == partner))
        kinds, places = np.unique(families[members], return_inverse=True)
        mass[members] = (mass[partner] if mass[partner] else 0.05) / len(kinds) / np.bincount(places)[places]
    mass[real] /= max(mass[real].sum(), 1e-9)
    mass[paired] /= max(mass[paired].sum(), 1e-9)
    alone = chosen & (cache.labels == 1) & (cache.partner < 0)
    if unpaired and alone.any():
        for family in np.unique(families[alone]):
            members = alone & (families == family)
            mass[members] = unpaired / len(np.unique(families[alone])) / members.sum()
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
    mass_of = clip_mass(cache, chosen, settings.unpaired)
    xs, ys, masses, pairs, pair_masses = [], [], [], [], []
    begin = 0
    for draw in draws:
        keep = np.flatnonzero(mass_of[draw.clip] > 0)
        clip = draw.clip[keep]
        count = np.bincount(clip, minlength=len(cache))
        mass = mass_of[clip] / count[clip]
        order = np.zeros(len(keep), np.int64)  # number of the window within its clip
        same = np.append(False, clip[1:] == clip[:-1])
        for place in np.flatnonzero(same):
            order[place] = order[place - 1] + 1
        where = {(int(c), int(o)): place for place, (c, o) in enumerate(zip(clip, order))}
        found = [
            (place, where[key])
            for place, (c, o) in enumerate(zip(clip, order))
            if cache.partner[c] >= 0 and (key := (int(cache.partner[c]), int(o))) in where
        ]
        couple = np.array(found, np.int64).reshape(-1, 2)
        if local:
            places = draw.local.shape[1]
            xs.append(draw.local[keep].reshape(-1, draw.local.shape[2]))
            mass, labels = np.repeat(mass / places, places), np.repeat(cache.labels[clip], places)
            couple = (couple[:, None] * places + np.arange(places)[None, :, None]).reshape(-1, 2)
        else:
            xs.append(draw.whole[keep])
            labels = cache.labels[clip]
        ys.append(labels)
        masses.append(mass)
        pairs.append(couple + begin)
        pair_masses.append(mass[couple[:, 0]])
        begin += len(labels)
    y, mass = np.concatenate(ys).astype(np.float32), np.concatenate(masses).astype(np.float64)
    for label in (0, 1):
        mass[y == label] /= max(mass[y == label].sum(), 1e-12)
    pair_mass = np.concatenate(pair_masses).astype(np.float64)
    return Examples(
        np.concatenate(xs),
        y,
        mass.astype(np.float32),
        np.concatenate(pairs),
        (pair_mass / max(pair_mass.sum(), 1e-12)).astype(np.float32),
    )


def fit_head(data: Examples, settings: HeadSettings) -> Head:
    """Fit a head: by L-BFGS where it is linear, by AdamW with averaged weights where it has a hidden layer."""
    torch.manual_seed(settings.seed)
    mean = np.average(data.x, axis=0, weights=data.mass).astype(np.float32)
    scale = (1 / np.sqrt(np.average((data.x - mean) ** 2, axis=0, weights=data.mass) + 1e-6)).astype(np.float32)
    x = torch.from_numpy((data.x - mean) * scale)
    y, mass = torch.from_numpy(data.y), torch.from_numpy(data.mass)
    pairs, pair_mass = torch.from_numpy(data.pairs), torch.from_numpy(data.pair_mass)
    if settings.hidden:
        return Head(mean, scale, _fit_hidden(x, y, mass, pairs, pair_mass, settings))
    net = nn.Linear(x.shape[1], 1)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    optimiser = torch.optim.LBFGS(net.parameters(), max_iter=200, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        told = net(x)[:, 0]
        loss = (functional.binary_cross_entropy_with_logits(told, y, reduction="none") * mass).sum()
        if settings.ranking and len(pairs):
            loss = (
                loss + settings.ranking * (functional.softplus(told[pairs[:, 1]] - told[pairs[:, 0]]) * pair_mass).sum()
            )
        loss = loss + settings.penalty * net.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return Head(mean, scale, net.eval())


def _fit_hidden(
    x: Tensor, y: Tensor, mass: Tensor, pairs: Tensor, pair_mass: Tensor, settings: HeadSettings
) -> nn.Module:
    """Batches of pairs drawn by their mass."""
    width = x.shape[1]
    net = nn.Sequential(nn.Linear(width, settings.hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(settings.hidden, 1))
    average = [p.detach().clone() for p in net.parameters()]
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=settings.penalty * 100)
    size = 256
    steps = settings.epochs * max(1, len(pairs) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    for _ in range(steps):
        drawn = pairs[torch.multinomial(pair_mass, size, replacement=True)]
        told = net(x[drawn.reshape(-1)])[:, 0].reshape(-1, 2)
        target = torch.tensor([1.0, 0.0]).expand_as(told)
        loss = functional.binary_cross_entropy_with_logits(told, target)
        loss = loss + settings.ranking * functional.softplus(told[:, 1] - told[:, 0]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for kept, now in zip(average, net.parameters()):
                kept.lerp_(now, 0.01)
    with torch.no_grad():
        for kept, now in zip(average, net.parameters()):
            now.copy_(kept)
    return net.eval()
