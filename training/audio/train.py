"""Train the voice networks: ``python -m training.audio.train voice_cepstra --run .cache/runs/voice_cepstra``.

``voice_cepstra`` has a fixed front end: features of the whole cache are computed once for each draw of damage, and
heads are fitted in seconds, so that every fold has a model of its own. The run's folder gets ``model.pt`` (for
``export.onnx_export``) and ``crossed.npz``, the heads that calibration scores with; the log has the committed folds.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cards.record import DataSource
from pipelines.metrics import auc
from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.features import Described, draws_of, front_mark, speech_of_cache
from training.audio.folds import read_voice_folds, voice_splits
from training.audio.heads import Head, HeadSettings, examples, fit_head
from training.audio.pairs import AGAINST
from training.models.voice_cepstra import VoiceCepstra
from training.report import sources_of

_LOG = logging.getLogger(__name__)
PARTS = 3
GOOD = ("hifigan", "cargan")
"""Families that the lines are fitted on: vocoders that others trained for long. What gives away
those of a few minutes' training draws the line to itself: without them every family that stands aside is found better
but own_source_filter, which is one of them, and more replaced seconds are hit."""
DAMAGED = ("hifigan", "hifigan", "cargan")
"""Turns of the families in damaged draws; of all that train where no good one is there."""
LOCAL_SHRINKAGE = 10.0
"""Of the line through single seconds."""
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def clip_logits(draw: Described, logits: npt.NDArray[np.float32], count: int) -> Floats:
    """Mean logit of each clip, weighed by seconds of speech; NaN where it has no window. [count]"""
    weight = np.maximum(draw.weight.astype(np.float64), 1e-3)
    total = np.bincount(draw.clip, weight, minlength=count)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(draw.clip, weight * logits, minlength=count) / np.where(total > 0, total, np.nan))


def family_aucs(cache: VoiceCache, logits: Floats, held: Mask) -> dict[str, float]:
    """AUC of each family of fakes against the held reals."""
    families = cache.column("family")
    scored = held & np.isfinite(logits)
    reals = scored & (cache.labels == 0)
    found = {}
    for family in np.unique(families[scored & (cache.labels == 1)]):
        members = reals | (scored & (cache.labels == 1) & (families == family))
        if reals.sum() >= 5 and (members & ~reals).sum() >= 5:
            found[str(family)] = auc(logits[members], cache.labels[members])
    return found


def sources_in(cache: VoiceCache, chosen: Mask) -> tuple[DataSource, ...]:
    """What a model was fitted on, for its record."""
    return sources_of([row for row, taken in zip(cache.rows, chosen, strict=True) if taken])


def trainable(cache: VoiceCache, settings: HeadSettings, without: Sequence[str] = AGAINST) -> Mask:
    """Reals and their copies; speech without a real partner where it has a weight."""
    paired = (cache.labels == 0) | (cache.partner >= 0) | (settings.unpaired > 0)
    return np.asarray(paired & ~np.isin(cache.column("family"), without))


def of_good_vocoders(cache: VoiceCache, chosen: Mask) -> Mask:
    """The chosen reals and copies by ``GOOD``; all that is chosen where there are none."""
    good = np.isin(cache.column("family"), GOOD)
    return np.asarray(chosen & (good | (cache.labels == 0)) if (chosen & good).any() else chosen)


def wanted_in(cache: VoiceCache, draw: int, settings: HeadSettings) -> Mask:
    """Clips that a draw describes: all that train in the clean one; in a damaged one, which costs four times as much,
    reals of 1.5 s and more with two copies each, their families by turns."""
    wanted = trainable(cache, settings)
    if not draw:
        return wanted
    families = cache.column("family")
    copied = sorted(set(families[wanted & (cache.partner >= 0)].tolist()))
    turns = copied if copied and not set(copied) & set(GOOD) else DAMAGED
    some = np.zeros(len(cache), np.bool_)
    for real in np.flatnonzero((cache.labels == 0) & np.array([row.seconds >= 1.5 for row in cache.rows])):
        own: dict[str, list[int]] = {}
        for copy in np.flatnonzero(cache.partner == real).tolist():
            own.setdefault(str(families[copy]), []).append(copy)
        some[real] = True
        for step in range(2):
            name = turns[(int(real) * 2 + step + draw - 1) % len(turns)]
            if name in own:
                some[own[name][(int(real) + step + draw) % len(own[name])]] = True
    return wanted & some


def network_of(head: Head, local: Head) -> VoiceCepstra:
    """The network with two fitted heads in it."""
    model = VoiceCepstra()
    state = model.state_dict()
    for name, each in (("", head), ("local_", local)):
        state[f"{name}mean"], state[f"{name}scale"] = torch.from_numpy(each.mean), torch.from_numpy(each.scale)
        state[f"{name}head.weight"] = each.net.state_dict()["weight"]
        state[f"{name}head.bias"] = each.net.state_dict()["bias"]
    model.load_state_dict(state)
    return model.eval()


def fit_network(cache: VoiceCache, draws: list[Described], chosen: Mask, settings: HeadSettings) -> VoiceCepstra:
    """The network on chosen clips: its lines through whole windows and through single seconds."""
    near = replace(settings, shrinkage=LOCAL_SHRINKAGE)
    whole = fit_head(examples(cache, draws, chosen, settings), settings)
    return network_of(whole, fit_head(examples(cache, draws, chosen, near, local=True), near))


def crossed(cache: VoiceCache, draws: list[Described], settings: HeadSettings) -> dict[str, npt.NDArray[Any]]:
    """Heads for calibration: each leaves out one generator and a third of the speakers, so that every clip has one that
    knows neither. ``generator`` and ``part`` [h], ``mean``, ``scale``, ``weight`` [h, f], ``bias`` [h]."""
    chosen, generators = trainable(cache, settings), cache.column("generator")
    part_of = np.array([row.fold % PARTS for row in cache.rows])
    names, parts, heads = [], [], []
    for generator in np.unique(generators[of_good_vocoders(cache, chosen) & (cache.labels == 1)]):
        for part in range(PARTS):
            seen = of_good_vocoders(cache, chosen & (generators != generator) & (part_of != part))
            heads.append(fit_head(examples(cache, draws, seen, settings), settings))
            names.append(str(generator))
            parts.append(part)
    return {
        "generator": np.array(names),
        "part": np.array(parts),
        "mean": np.stack([each.mean for each in heads]),
        "scale": np.stack([each.scale for each in heads]),
        "weight": np.stack([each.net.state_dict()["weight"][0].numpy() for each in heads]),
        "bias": np.array([float(each.net.state_dict()["bias"]) for each in heads], np.float32),
    }


def train_cepstra(
    cache: VoiceCache, draws: list[Described], settings: HeadSettings, run: Path, without: Sequence[str] = ()
) -> dict[str, float]:
    """Fit the final network and one head for each fold; returns the mean AUC over the left-out families, by draw.

    Args:
        without: families that the network must not see, beside ``AGAINST`` (for measuring what they are found at); no
            fold is fitted then.
    """
    began = time.monotonic()
    run.mkdir(parents=True, exist_ok=True)
    every = trainable(cache, settings, (*AGAINST, *without))
    chosen = of_good_vocoders(cache, every)
    model = fit_network(cache, draws, chosen, settings)
    by_family: dict[str, list[float]] = {}
    for split in () if without else voice_splits(cache.rows, read_voice_folds()):
        if not (split.held & (cache.labels == 1)).any() or not (split.held & (cache.labels == 0)).any():
            continue
        seen = of_good_vocoders(cache, every & split.train)
        own = fit_head(examples(cache, draws, seen, settings), settings)
        for place, draw in enumerate(draws):
            told = clip_logits(draw, own(draw.whole), len(cache))
            for family, value in family_aucs(cache, told, split.held).items():
                by_family.setdefault(family, [np.nan] * len(draws))[place] = value
    if not without:
        np.savez(run / "crossed.npz", **crossed(cache, draws, settings))
    for family, values in sorted(by_family.items()):
        _LOG.info("  %-20s %s", family, " ".join(f"{value:.3f}" for value in values))
    paired = {row.family for row in cache.rows if row.paired}
    paired -= set(AGAINST)
    means = (
        {}
        if without
        else {
            f"draw_{place}": float(
                np.nanmean([values[place] for family, values in by_family.items() if family in paired])
            )
            for place in range(len(draws))
        }
    )
    _LOG.info("mean over the families of copies: %s", {name: round(value, 4) for name, value in means.items()})
    kept = {**asdict(settings), "draws": len(draws), "front": front_mark(), "seconds": time.monotonic() - began}
    torch.save(
        {
            "network": "voice_cepstra",
            "state": model.state_dict(),
            "settings": json.dumps(kept),
            "trained_on": json.dumps([source.model_dump() for source in sources_in(cache, chosen)]),
            "result": json.dumps({"held_out": {k: round(float(np.nanmean(v)), 4) for k, v in by_family.items()}}),
        },
        run / "model.pt",
    )
    return means


def main(arguments: list[str] | None = None) -> int:
    """Train one network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=("voice_cepstra",))
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--run", type=Path)
    parser.add_argument(
        "--draws", type=int, nargs="+", default=[0, 1, 2, 3], help="0 is the clean one, others are damaged"
    )
    parser.add_argument("--without", nargs="+", default=[], metavar="FAMILY", help="families to leave out")
    parser.add_argument("--describe", action="store_true", help="compute the features of these draws and stop")
    parser.add_argument("--shrinkage", type=float, default=HeadSettings.shrinkage)
    parser.add_argument("--logistic", type=float, default=HeadSettings.logistic, help="share of it in the head")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    cache = load_voice_cache(options.cache)
    speech = speech_of_cache(cache)
    draws = [draws_of(cache, speech, [draw], wanted_in(cache, draw, HeadSettings()))[0] for draw in options.draws]
    if options.describe:
        return 0
    run = options.run or Path(".cache/runs") / options.network
    settings = replace(HeadSettings(), shrinkage=options.shrinkage, logistic=options.logistic)
    train_cepstra(cache, draws, settings, run, options.without)
    return 0


if __name__ == "__main__":
    sys.exit(main())
