"""Make a model of what training left: ``python -m training.audio.network_runs .cache/runs/voice_mfcc``.

Reads ``trained.pt`` (weights, steps, logits of what stood aside; of this machine or another) and writes what exports
and the verdict take: ``model.pt`` with the sources that were trained on, ``calibration.json`` and ``held.npz``.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pipelines.metrics import auc, platt
from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.networks import TRAINED
from training.audio.origins import origin_of
from training.audio.pairs import HELD, aside, held_out
from training.audio.train import family_aucs, sources_in
from training.fusion import calibrate
from training.models.registry import network
from training.report import Fit, with_sources

_LOG = logging.getLogger(__name__)


def finish(run: Path, cache: VoiceCache) -> float:
    """Write the model of a run; returns the AUC on what stood aside.

    Raises:
        ValueError: clips that it was trained or measured on are not in the cache, or it was trained on what stands
            aside.
    """
    told = torch.load(run / TRAINED, map_location="cpu", weights_only=True)
    place = {row.path: number for number, row in enumerate(cache.rows)}
    missing = [path for path in (*told["paths"], *told["held_paths"]) if path not in place]
    if missing:
        raise ValueError(f"{len(missing)} clips of the run are not in the cache, such as {missing[0]}")
    used = np.zeros(len(cache), np.bool_)
    used[[place[path] for path in told["paths"]]] = True
    _, held = held_out(cache)
    if (used & aside(cache)).any():
        raise ValueError("the run was trained on clips that stand aside")
    state = {key: value.float() if value.is_floating_point() else value for key, value in told["state"].items()}
    network(told["network"]).empty().load_state_dict(state)
    scored = np.array([place[path] for path in told["held_paths"]], np.int64)
    logits = np.array(told["held_logits"])
    mean = np.full(len(cache), np.nan)
    mean[scored] = logits
    found, overall = family_aucs(cache, mean, held), auc(logits, cache.labels[scored])
    _LOG.info("%s after %d steps: held out %.3f, %s", told["network"], told["steps"], overall, found)
    words = f"{len(scored)} clips of speakers and vocoders ({', '.join(HELD)}) that were kept out of training"
    calibration = calibrate(logits, cache.labels[scored], words)
    slope, intercept = platt(logits, cache.labels[scored])
    fit = Fit(
        calibration=calibration,
        refits=((slope / calibration.slope, intercept - calibration.intercept * slope / calibration.slope),),
        real_quantiles=(),
        operating_points={},
        default_operating_point="",
        fitted_on=words,
        by_kind=found,
    )
    (run / "calibration.json").write_text(fit.model_dump_json(indent=1) + "\n", encoding="utf-8")
    np.savez(run / "held.npz", paths=told["held_paths"], logits=logits)
    result = {"steps": told["steps"], "wall_minutes": told["wall_minutes"], "held_out_auc": overall, **found}
    before = origin_of(told["network"], Path(told["start"])).trained_on if told.get("start") else ()
    torch.save(
        {
            "network": told["network"],
            "state": state,
            "settings": told["settings"],
            "trained_on": json.dumps([each.model_dump() for each in with_sources(before, sources_in(cache, used))]),
            "result": json.dumps(result),
        },
        run / "model.pt",
    )
    return overall


def main(arguments: Sequence[str] | None = None) -> int:
    """Finish runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cache = load_voice_cache(options.cache)
    for run in options.runs:
        finish(run, cache)
    return 0


if __name__ == "__main__":
    sys.exit(main())
