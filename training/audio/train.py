"""Train the voice networks: ``python -m training.audio.train voice_cepstra --run .cache/runs/voice_cepstra``.

``voice_cepstra`` has a fixed front end: features of the whole cache are computed once for each draw of damage, and
lines are fitted in seconds, so that every fold has a model of its own. The run's folder gets ``model.pt`` (for
``export.onnx_export``) and ``crossed.npz``, the lines that calibration scores with; the log has the committed folds.
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
from training.audio.heads import HeadSettings
from training.audio.kinds import GOOD, KINDS, Scales, chosen_for, chosen_in, fit_lines, network_of, scales_of
from training.audio.pairs import AGAINST
from training.models.voice_cepstra import VoiceCepstra
from training.report import sources_of

_LOG = logging.getLogger(__name__)
PARTS = 3
DAMAGED = ("hifigan", "hifigan", "cargan")
"""Turns of the families in damaged draws; of all that train where no good one is there."""
OTHERS = ("griffin_lim", "world", "griffin_lim", "world_vc")
"""Turns of the generators of other kinds there: one copy of each real clip."""
LOCAL_SHRINKAGE = 10.0
"""Of the lines through single seconds."""
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def clip_logits(draw: Described, logits: npt.NDArray[np.floating[Any]], count: int) -> Floats:
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


def trainable(cache: VoiceCache, without: Sequence[str] = ()) -> Mask:
    """Reals and the fakes that the line of some kind may be fitted on."""
    return np.asarray(~np.isin(cache.column("family"), without) & chosen_in(cache, np.ones(len(cache), np.bool_)))


def wanted_in(cache: VoiceCache, draw: int) -> Mask:
    """Clips that a draw describes: all copies and what the engines said in the clean one; in a damaged one, which costs
    four times as much, reals of 1.5 s and more with two copies each for the neural line, their families by turns, and
    one for another kind."""
    copied = (cache.partner >= 0) & ~np.isin(cache.column("family"), AGAINST)
    wanted = (cache.labels == 0) | copied | trainable(cache)
    if not draw:
        return np.asarray(wanted)
    families, generators = cache.column("family"), cache.column("generator")
    there = sorted(set(families[copied].tolist()))
    turns = there if there and not set(there) & set(GOOD) else DAMAGED
    some = (cache.labels == 1) & (cache.partner < 0)
    for real in np.flatnonzero((cache.labels == 0) & np.array([row.seconds >= 1.5 for row in cache.rows])):
        own: dict[str, list[int]] = {}
        for copy in np.flatnonzero(cache.partner == real).tolist():
            for name in {str(families[copy]), str(generators[copy])}:
                own.setdefault(name, []).append(copy)
        some[real] = True
        taken = [(turns[(int(real) * 2 + step + draw - 1) % len(turns)], step) for step in range(2)]
        for name, step in (*taken, (OTHERS[(int(real) + draw) % len(OTHERS)], 0)):
            if name in own:
                some[own[name][(int(real) + step + draw) % len(own[name])]] = True
    return np.asarray(wanted & some)


def fit_network(
    cache: VoiceCache, draws: list[Described], allowed: Mask, settings: HeadSettings, scales: Scales
) -> VoiceCepstra:
    """The network on allowed clips: its lines through whole windows and through single seconds.

    Both have the scale of whole windows, because what calibrates those is applied to seconds too: brought to log-odds
    of seconds they would be calibrated twice (24 % of untouched recordings had a suspicious second, for 2 %).
    """
    near = replace(settings, shrinkage=LOCAL_SHRINKAGE)
    whole = fit_lines(cache, draws, allowed, settings, scales)
    return network_of(whole, fit_lines(cache, draws, allowed, near, scales, local=True))


def crossed(
    cache: VoiceCache, draws: list[Described], settings: HeadSettings, scales: Scales
) -> dict[str, npt.NDArray[Any]]:
    """Lines for calibration: each set leaves out one generator of the neural line and a third of the speakers, so that
    every clip has one that knows neither. ``generator`` and ``part`` [h], ``weight`` [h, k, f], ``bias`` [h, k]."""
    everything, generators = np.ones(len(cache), np.bool_), cache.column("generator")
    part_of = np.array([row.fold % PARTS for row in cache.rows])
    names, parts, lines = [], [], []
    for generator in np.unique(generators[chosen_for(cache, everything, KINDS[0]) & (cache.labels == 1)]):
        for part in range(PARTS):
            seen = (generators != generator) & (part_of != part)
            if not chosen_in(cache, seen).any():
                continue
            lines.append(fit_lines(cache, draws, seen, settings, scales))
            names.append(str(generator))
            parts.append(part)
    return {
        "generator": np.array(names),
        "part": np.array(parts),
        "weight": np.stack([each.weight for each in lines]),
        "bias": np.stack([each.bias for each in lines]),
    }


def train_cepstra(
    cache: VoiceCache, draws: list[Described], settings: HeadSettings, run: Path, without: Sequence[str] = ()
) -> dict[str, float]:
    """Fit the final network and its lines for each fold; returns the mean AUC over the left-out families, by draw.

    Args:
        without: families that the network must not see (for measuring what they are found at); no fold is fitted then.
    """
    began = time.monotonic()
    run.mkdir(parents=True, exist_ok=True)
    every = trainable(cache, without)
    scales = scales_of(cache, draws, every, settings)
    model = fit_network(cache, draws, every, settings, scales)
    by_family: dict[str, list[float]] = {}
    for split in () if without else voice_splits(cache.rows, read_voice_folds()):
        if not (split.held & (cache.labels == 1)).any() or not (split.held & (cache.labels == 0)).any():
            continue
        if not chosen_in(cache, every & split.train).any():
            continue
        own = fit_lines(cache, draws, every & split.train, settings, scales)
        for place, draw in enumerate(draws):
            told = clip_logits(draw, own(draw.whole), len(cache))
            for family, value in family_aucs(cache, told, split.held).items():
                by_family.setdefault(family, [np.nan] * len(draws))[place] = value
    if not without:
        np.savez(run / "crossed.npz", **crossed(cache, draws, settings, scales))
    for family, values in sorted(by_family.items()):
        _LOG.info("  %-20s %s", family, " ".join(f"{value:.3f}" for value in values))
    paired = {row.family for row in cache.rows if row.paired} - set(AGAINST)
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
            "trained_on": json.dumps([source.model_dump() for source in sources_in(cache, every)]),
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
    draws = [draws_of(cache, speech, [draw], wanted_in(cache, draw))[0] for draw in options.draws]
    if options.describe:
        return 0
    run = options.run or Path(".cache/runs") / options.network
    settings = replace(HeadSettings(), shrinkage=options.shrinkage, logistic=options.logistic)
    train_cepstra(cache, draws, settings, run, options.without)
    return 0


if __name__ == "__main__":
    sys.exit(main())
