"""Fuse the voice networks: ``python -m training.audio.fuse OUT.json voice_cepstra=RUN voice_mfcc=RUN ...``.

All members are scored on the clips of ``training.audio.pairs.held_out``: speakers and families of vocoders that the
convolutional networks never saw; of ``voice_cepstra`` a head is fitted that did not see them either. Each clip is heard
clean and under the named conditions. A member stays where leaving it out lowers the mean AUC over left-out families by
more than 0.005 and the 95 % interval of that lies above 0. Conditions (which measure bends the log-odds) are those of
``training.audio.calibrate``, whose clips are more and of all sources. Each run gets its ``calibration.json``.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cards.record import Calibration, Fusion, OperatingPoint
from cards.repository import ModelRepository
from pipelines.audio.judgement import clip_logit
from pipelines.audio.quality import measure_quality
from pipelines.audio.speech import speech_of
from pipelines.audio.windows import windows_of
from pipelines.metrics import auc, ece, eer, platt, resamples
from pipelines.onnx_infer import OnnxInfer
from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.calibrate import (
    DEFAULT_POINT,
    DRAWS,
    QUANTILES,
    SHORT_S,
    Scored,
    bent,
    mass_of,
    refits_of,
    report,
)
from training.audio.conditions import CONDITIONS, MEASURES, damage_of
from training.audio.damage import apply_damage
from training.audio.features import draws_of, speech_of_cache
from training.audio.heads import HeadSettings, examples, fit_head
from training.audio.pairs import held_out
from training.audio.train import network_of, wanted_in
from training.fusion import member_weights, operating_points
from training.models.registry import read_checkpoint
from training.report import Fit

GAIN, MOST_FLAGGED, RESAMPLES = 0.005, 0.10, 100
DRAWN = (0, 1, 2, 3)
_LOG = logging.getLogger(__name__)
Floats = npt.NDArray[np.float64]


def held_cepstra(cache: VoiceCache) -> nn.Module:
    """``voice_cepstra`` that did not see what stands aside."""
    train, _ = held_out(cache)
    speech, settings = speech_of_cache(cache), HeadSettings()
    draws = [draws_of(cache, speech, [draw], wanted_in(cache, draw, settings))[0] for draw in DRAWN]
    head = fit_head(examples(cache, draws, train, settings), settings)
    return network_of(head, head)


def hear(cache: VoiceCache, rows: Sequence[int], models: dict[str, nn.Module], file: Path) -> list[dict[str, Any]]:
    """What each model says of clips under the conditions; what stands in ``file`` (JSON lines) is not heard again."""
    known = {}
    if file.is_file():
        told = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        known = {(each["path"], each["condition"]): each for each in told if set(each["logits"]) >= set(models)}
    infer = OnnxInfer(ModelRepository(), threads=1)
    voices = [cache.samples(int(row)) for row in np.flatnonzero(cache.labels == 0)[::9]]
    found = []
    for number, row in enumerate(rows, 1):
        path = cache.rows[row].path
        partner = int(cache.partner[row]) if cache.partner[row] >= 0 else row
        seed = int.from_bytes(cache.rows[partner].path.encode()[-6:], "big") % 1_000_003
        for condition in CONDITIONS:
            if (path, condition) not in known:
                samples = apply_damage(cache.samples(row), damage_of(condition, seed), voices)
                speech = speech_of(samples, infer)
                quality, cut = measure_quality(samples, speech), windows_of(samples, speech)
                logits = {}
                if len(cut):
                    audio, mask = torch.from_numpy(cut.audio), torch.from_numpy(cut.mask)
                    with torch.inference_mode():
                        for name, model in models.items():
                            told_of = model(audio, mask).logit[:, 0].tolist()
                            logits[name] = clip_logit(told_of, cut.weight.tolist())
                entry = {
                    "path": path,
                    "condition": condition,
                    "quality": [float(getattr(quality, name)) for name in MEASURES],
                    "logits": logits,
                }
                known[path, condition] = entry
                with file.open("a", encoding="utf-8") as handle:
                    handle.write(json.dumps(entry) + "\n")
            found.append(known[path, condition])
        if number % 25 == 0:
            _LOG.info("heard %d of %d clips", number, len(rows))
    return found


def heard_rows(cache: VoiceCache) -> list[int]:
    """What stands aside: real clips of 1.5 s and more, and their copies by the left-out families."""
    _, held = held_out(cache)
    long = np.array([row.seconds >= 1.5 for row in cache.rows])
    return [int(row) for row in np.flatnonzero(held & long)]


def columns(cache: VoiceCache, entries: Sequence[dict[str, Any]], names: Sequence[str]) -> tuple[Scored, Floats]:
    """Entries that have windows and enough speech, and the logits of the members [e, m]."""
    place = {row.path: number for number, row in enumerate(cache.rows)}
    speech = MEASURES.index("speech_s")
    kept = [each for each in entries if each["logits"] and each["quality"][speech] >= SHORT_S * 0.75]
    rows = np.array([place[each["path"]] for each in kept], np.int64)
    labels = cache.labels[rows]
    kinds = np.where(labels == 1, cache.column("family")[rows], cache.column("source")[rows])
    condition = np.array([CONDITIONS.index(each["condition"]) for each in kept], np.int64)
    quality = np.array([each["quality"] for each in kept])
    logits = np.array([[each["logits"][name] for name in names] for each in kept])
    return Scored(np.zeros(len(kept)), labels, kinds, condition, quality, rows), logits


def family_mean(log_odds: Floats, scored: Scored) -> float:
    """Mean AUC over left-out families and conditions, against the reals under the same condition."""
    found = []
    for place in np.unique(scored.condition):
        some = scored.condition == place
        reals = some & (scored.label == 0)
        for kind in np.unique(scored.family[some & (scored.label == 1)]):
            both = reals | (some & (scored.family == kind) & (scored.label == 1))
            found.append(auc(log_odds[both], scored.label[both]))
    return float(np.mean(found))


def tell_members(logits: Floats, scored: Scored, names: Sequence[str]) -> None:
    """One line for each member: its mean AUC over left-out families and conditions, and AUC and EER by condition."""
    for column, name in enumerate(names):
        told = []
        for place in np.unique(scored.condition):
            some = scored.condition == place
            value, error = (each(logits[some, column], scored.label[some]) for each in (auc, eer))
            told.append(f"{CONDITIONS[place]} {value:.3f} ({100 * error:.0f} %)")
        _LOG.info("%s alone: mean AUC %.4f; %s", name, family_mean(logits[:, column], scored), ", ".join(told))


def loss_without(whole: Floats, part: Floats, scored: Scored, cache: VoiceCache) -> tuple[float, float, float]:
    """What leaving a member out costs in mean AUC, with a 95 % interval over resampled real clips and their copies."""
    own = np.where(cache.partner[scored.row] >= 0, cache.partner[scored.row], scored.row)
    found = []
    for chosen in resamples(scored.label, RESAMPLES, 9, own):
        some = Scored(*(getattr(scored, name)[chosen] for name in Scored.__dataclass_fields__))
        found.append(family_mean(whole[chosen], some) - family_mean(part[chosen], some))
    low, high = np.percentile(found, [2.5, 97.5])
    return family_mean(whole, scored) - family_mean(part, scored), float(low), float(high)


def fuse(
    scored: Scored, logits: Floats, names: list[str], told: str, cache: VoiceCache
) -> tuple[dict[str, Calibration], Floats, float]:
    """Calibrations, weights and bias; weak members are dropped from the end of the list of gains, one at a time."""
    mass = mass_of(scored)
    calibrations = {}
    for column, name in enumerate(names):
        slope, intercept = platt(logits[:, column], scored.label, mass * len(mass))
        calibrations[name] = Calibration(slope=slope, intercept=intercept, fitted_on=told, items=len(scored.label))
    odds = np.stack([calibrations[n].slope * logits[:, c] + calibrations[n].intercept for c, n in enumerate(names)], 1)
    drawn = np.random.default_rng(5).choice(len(mass), DRAWS, p=mass)
    weights, bias = member_weights(odds[drawn], scored.label[drawn], penalty=DRAWS / 40)
    whole = family_mean(odds @ weights, scored)
    _LOG.info("members %s: weights %s, mean AUC %.4f", names, np.round(weights, 3), whole)
    if len(names) > 1:
        losses, lows = [], []
        for column in range(len(names)):
            rest = [other for other in range(len(names)) if other != column]
            part, _ = member_weights(odds[drawn][:, rest], scored.label[drawn], penalty=DRAWS / 40)
            loss, low, high = loss_without(odds @ weights, odds[:, rest] @ part, scored, cache)
            losses.append(loss)
            lows.append(low)
            _LOG.info("  without %s: mean AUC %+.4f (%+.4f to %+.4f)", names[column], -loss, -high, -low)
        weakest = int(np.argmin(losses))
        if losses[weakest] <= GAIN or lows[weakest] <= 0:
            rest = [other for other in range(len(names)) if other != weakest]
            _LOG.info("%s is left out of the verdict", names[weakest])
            kept, part, shift = fuse(scored, logits[:, rest], [names[other] for other in rest], told, cache)
            return {**calibrations, **kept}, np.insert(part, weakest, 0.0), shift
    return calibrations, weights, bias


def main(arguments: Sequence[str] | None = None) -> int:
    """Hear, fuse and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("members", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--part", metavar="I/N", help="hear the I-th of N parts of the clips and stop")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    cache = load_voice_cache(options.cache)
    runs = {name: Path(run) for name, _, run in (each.partition("=") for each in options.members)}
    models: dict[str, nn.Module] = {}
    for name, run in runs.items():
        models[name] = held_cepstra(cache) if name == "voice_cepstra" else read_checkpoint(run / "model.pt", name)[1]
    rows = heard_rows(cache)
    if options.part:
        part, _, parts = options.part.partition("/")
        file = options.out.with_suffix(f".{part}.jsonl")
        hear(cache, rows[int(part) :: int(parts)], models, file)
        return 0
    lines = options.out.with_suffix(".jsonl")
    for piece in sorted(options.out.parent.glob(f"{options.out.stem}.*.jsonl")):
        with lines.open("a", encoding="utf-8") as handle:
            handle.write(piece.read_text(encoding="utf-8"))
        piece.unlink()
    names = list(models)
    scored, logits = columns(cache, hear(cache, rows, models, lines), names)
    told = (
        f"{len(np.unique(scored.row))} clips of speakers and vocoders that no member saw in training, clean and under "
        f"{len(CONDITIONS) - 1} conditions"
    )
    tell_members(logits, scored, names)
    calibrations, weights, bias = fuse(scored, logits, names, told, cache)
    write(options.out, runs, scored, logits, calibrations, dict(zip(names, weights.tolist(), strict=True)), bias)
    return 0


def strictest_needed(
    log_odds: Floats, drowned: npt.NDArray[np.bool_], scored: Scored, points: Mapping[str, OperatingPoint]
) -> str:
    """The loosest operating point, from ``DEFAULT_POINT`` down, at which no condition flags more than a tenth of its
    reals; the strictest where none does."""
    probability = 1 / (1 + np.exp(-np.clip(log_odds, -60, 60)))
    falling = sorted(points, key=lambda name: -points[name].target_fpr)
    for name in falling[falling.index(DEFAULT_POINT) :]:
        flagged = ~drowned & (probability >= points[name].threshold)
        shares = [
            flagged[(scored.condition == place) & (scored.label == 0)].mean() for place in np.unique(scored.condition)
        ]
        if max(shares) <= MOST_FLAGGED:
            return name
    return falling[-1]


def write(
    out: Path,
    runs: dict[str, Path],
    scored: Scored,
    logits: Floats,
    calibrations: dict[str, Calibration],
    weights: dict[str, float],
    bias: float,
) -> None:
    """``calibration.json`` of each run but ``voice_cepstra``'s, and the fusion of the members that count."""
    names, mass = list(runs), mass_of(scored)
    lead = Fusion.model_validate_json((runs["voice_cepstra"] / "fusion.json").read_text(encoding="utf-8"))
    own = Fit.read(runs["voice_cepstra"] / "calibration.json")
    assert own is not None
    assert lead.conditions is not None
    drawn = np.random.default_rng(6).choice(len(mass), DRAWS, p=mass)
    for column, name in enumerate(names):
        if name == "voice_cepstra":
            continue
        odds = calibrations[name].slope * logits[:, column] + calibrations[name].intercept
        chance = 1 / (1 + np.exp(-odds[drawn]))
        calibration = calibrations[name].model_copy(update={"ece": ece(chance, scored.label[drawn])})
        fit = own.model_copy(
            update={
                "calibration": calibration,
                "fitted_on": calibration.fitted_on,
                "refits": refits_of(odds, scored, mass),
                "operating_points": operating_points(chance, scored.label[drawn]),
                "by_kind": {},
            }
        )
        (runs[name] / "calibration.json").write_text(fit.model_dump_json(indent=1) + "\n", encoding="utf-8")
    # The head that ships keeps the calibration of its own folds: the fusion is fitted on that scale.
    scale = {**calibrations, "voice_cepstra": own.calibration}
    odds = np.stack([scale[n].slope * logits[:, c] + scale[n].intercept for c, n in enumerate(names)], 1)
    chosen = [column for column, name in enumerate(names) if weights[name] > 0]
    part, shift = member_weights(odds[drawn][:, chosen], scored.label[drawn], penalty=DRAWS / 40)
    members = {names[column]: float(weight) for column, weight in zip(chosen, part)}
    # What the band does was fitted for the cepstra alone, and counts as much as they do.
    share = members.get("voice_cepstra", 0.0) / lead.weights["voice_cepstra"]
    conditions = lead.conditions.model_copy(
        update={
            "covariates": tuple(
                each.model_copy(update={"intercept": each.intercept * share}) for each in lead.conditions.covariates
            )
        }
    )
    fused = odds[:, chosen] @ part
    plain, _ = bent(fused + shift, scored, conditions)
    slope, again = platt(plain, scored.label, mass * len(mass))
    slope = float(np.clip(slope, 0.5, 2.0))
    members = {name: slope * weight for name, weight in members.items()}
    bias = slope * shift + again
    conditions = conditions.model_copy(
        update={
            "covariates": tuple(
                each.model_copy(update={"intercept": slope * each.intercept}) for each in conditions.covariates
            )
        }
    )
    log_odds, drowned = bent(slope * fused + bias, scored, conditions)
    chance = 1 / (1 + np.exp(-np.clip(log_odds[drawn], -60, 60)))
    points = operating_points(chance, scored.label[drawn])
    default = strictest_needed(log_odds, drowned, scored, points)
    _LOG.info("members %s, bias %.3f, default point %s", members, bias, default)
    _LOG.info("points %s", {name: (round(p.threshold, 3), round(p.tpr, 3)) for name, p in points.items()})
    report(scored, log_odds, drowned, points[default].threshold, 0.0)
    fusion = lead.model_copy(
        update={
            "members": dict.fromkeys(members, ""),
            "weights": members,
            "bias": bias,
            "refits": refits_of(log_odds, scored, mass),
            "real_quantiles": tuple(
                np.quantile(log_odds[drawn][scored.label[drawn] == 0], np.linspace(0, 1, QUANTILES)).tolist()
            ),
            "operating_points": points,
            "default_operating_point": default,
            "conditions": conditions,
            "fitted_on": calibrations[names[0]].fitted_on,
        }
    )
    out.write_text(fusion.model_dump_json(indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
