"""Fuse the voice networks: ``python -m training.audio.fuse OUT.json voice_cepstra=RUN voice_raw=RUN ...``.

Members are scored on what none of them was trained on (``training.audio.members``), clean and under the named
conditions. The scale gives copies and whole synthesisers half of the fakes each: a fake of unknown origin is as likely
to come from the one as from the other. A member stays where leaving it out lowers the mean AUC over left-out families
by more than 0.005 and the 95 % interval of that lies above 0, or where ``--keep`` names it. Each run gets its
``calibration.json``; OUT is the fusion, whose scale is checked by leaving whole sources out. ``NAME=shipped`` is the
network of the repository, where its run is gone; the shipped ``voice_cepstra`` has heard what stands aside, so that its
weight would come out too large: with ``--scale-only`` the weights to each other stay as they are.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from cards.record import Calibration, Fusion
from cards.repository import ModelRepository
from pipelines.metrics import auc, ece, eer, platt, resamples
from training.audio.cache import load_voice_cache
from training.audio.conditions import CONDITIONS
from training.audio.crossing import tell_crossed
from training.audio.members import ENGINES, SHIPPED, Members, hear_members
from training.audio.pairs import HELD
from training.audio.quality import nearness
from training.audio.scale import DEFAULT_POINT, DRAWS, fit_verdict, refits_of
from training.audio.scored import Scored, mass_of
from training.audio.sound_tracks import TRACKS
from training.fusion import member_weights, operating_points
from training.report import Fit

GAIN, RESAMPLES = 0.005, 400
VERDICT = "audio_verdict"
FLOOR_DB = 9.0
"""Speech over noise under which the verdict abstains: at 10 dB of white noise the AUC is 0.91, sources left out."""
_LOG = logging.getLogger(__name__)
Floats = npt.NDArray[np.float64]


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


def tell_members(held: Members, where: str) -> None:
    """One line for each member: its mean AUC over left-out families and conditions, and AUC and EER by condition."""
    for column, name in enumerate(held.names):
        told = []
        for place in np.unique(held.scored.condition):
            some = held.scored.condition == place
            value, error = (each(held.logits[some, column], held.scored.label[some]) for each in (auc, eer))
            told.append(f"{CONDITIONS[place]} {value:.3f} ({100 * error:.0f} %)")
        mean = family_mean(held.logits[:, column], held.scored)
        _LOG.info("%s alone on %s: mean AUC %.4f; %s", name, where, mean, ", ".join(told))


def loss_without(whole: Floats, part: Floats, held: Members) -> tuple[float, float, float]:
    """What leaving a member out costs in mean AUC, with a 95 % interval over resampled real clips and their copies."""
    found = []
    for chosen in resamples(held.scored.label, RESAMPLES, 9, held.own):
        some = Scored(*(getattr(held.scored, name)[chosen] for name in Scored.__dataclass_fields__))
        found.append(family_mean(whole[chosen], some) - family_mean(part[chosen], some))
    low, high = np.percentile(found, [2.5, 97.5])
    return family_mean(whole, held.scored) - family_mean(part, held.scored), float(low), float(high)


def fuse(held: Members, odds: Floats, mass: Floats, keep: Sequence[str] = ()) -> dict[str, float]:
    """Weights of the members' calibrated log-odds [e, m]; weak members are dropped, the weakest first, but for those
    to ``keep``."""
    scored, names = held.scored, held.names
    drawn = np.random.default_rng(5).choice(len(mass), DRAWS, p=mass)

    def weights_of(some: list[int]) -> Floats:
        return member_weights(odds[drawn][:, some], scored.label[drawn], penalty=DRAWS / 40)[0]

    chosen = list(range(len(names)))
    while True:
        weights = weights_of(chosen)
        whole = odds[:, chosen] @ weights
        told = {names[column]: round(float(weight), 3) for column, weight in zip(chosen, weights)}
        _LOG.info("members %s: mean AUC %.4f", told, family_mean(whole, scored))
        if len(chosen) == 1:
            break
        losses = []
        for column in chosen:
            rest = [other for other in chosen if other != column]
            loss, low, high = loss_without(whole, odds[:, rest] @ weights_of(rest), held)
            if names[column] not in keep:
                losses.append((loss, low, column))
            _LOG.info("  without %s: mean AUC %+.4f (%+.4f to %+.4f)", names[column], -loss, -high, -low)
        loss, low, weakest = min(losses, default=(np.inf, np.inf, -1))
        if loss > GAIN and low > 0:
            break
        _LOG.info("%s is left out of the verdict", names[weakest])
        chosen.remove(weakest)
    return {names[column]: float(weight) for column, weight in zip(chosen, weights)}


def calibrated(held: Members, runs: Mapping[str, Path], mass: Floats, told: str) -> dict[str, Calibration]:
    """Calibrations of the members: of the record for what is shipped; ``voice_cepstra`` keeps that of its own folds,
    the others get theirs here.

    Raises:
        FileNotFoundError: the run of ``voice_cepstra``, or a network that is shipped, was not calibrated.
    """
    found: dict[str, Calibration] = {}
    drawn = np.random.default_rng(6).choice(len(mass), DRAWS, p=mass)
    records = ModelRepository()
    for column, name in enumerate(held.names):
        if runs[name] == SHIPPED or name == "voice_cepstra":
            own = records.record(name) if runs[name] == SHIPPED else Fit.read(runs[name] / "calibration.json")
            if own is None or own.calibration is None:
                raise FileNotFoundError(f"{name} has no calibration: python -m training.audio.calibrate RUN")
            found[name] = own.calibration
            continue
        slope, intercept = platt(held.logits[:, column], held.scored.label, mass * len(mass))
        odds = slope * held.logits[:, column] + intercept
        chance, labels = 1 / (1 + np.exp(-np.clip(odds[drawn], -60, 60))), held.scored.label[drawn]
        found[name] = Calibration(
            slope=slope, intercept=intercept, fitted_on=told, items=len(held.scored.label), ece=ece(chance, labels)
        )
        fit = Fit(
            calibration=found[name],
            refits=refits_of(odds, held.scored, mass),
            real_quantiles=(),
            operating_points=operating_points(chance, labels),
            default_operating_point=DEFAULT_POINT,
            fitted_on=told,
        )
        (runs[name] / "calibration.json").write_text(fit.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return found


def kept_weights(fusion: Fusion | None, calibrations: Mapping[str, Calibration]) -> dict[str, float]:
    """The weights of a verdict for members that may have a new calibration: their logits stay as they are to each
    other (``training.audio.readout`` keeps the spread of a network's logits).

    Raises:
        ValueError: the members are not those of the verdict, or one is not calibrated in the repository.
    """
    if fusion is None or set(fusion.weights) != set(calibrations):
        raise ValueError(f"the verdict of the repository is not fused of {', '.join(calibrations)}")
    found, records = {}, ModelRepository()
    for name, weight in fusion.weights.items():
        before = records.record(name).calibration
        if before is None:
            raise ValueError(f"{name} is a member of the verdict and has no calibration")
        found[name] = weight * before.slope / calibrations[name].slope
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Hear, fuse and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("members", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--tracks", type=Path, default=TRACKS)
    parser.add_argument(
        "--keep", action="append", default=[], metavar="NAME", help="members that stay for their timeline"
    )
    parser.add_argument("--scale-only", action="store_true", help="the shipped verdict's weights stay")
    parser.add_argument("--floor", type=float, default=FLOOR_DB, help="dB of noise under which it abstains")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    cache = load_voice_cache(options.cache)
    runs = {name: Path(run) for name, _, run in (each.partition("=") for each in options.members)}
    parts = hear_members(runs, cache, load_voice_cache(options.tracks))
    for part, where in zip(parts, ("other speakers and synthesisers", "other sources")):
        tell_members(part, where)
    held = Members.join(parts)
    count = len(np.unique(held.scored.row))
    told = (
        f"{count} clips of speakers, sources, vocoders and synthesisers that trained no member, "
        f"clean and under {len(CONDITIONS) - 1} conditions"
    )
    if runs.get("voice_cepstra") == SHIPPED:
        told += "; voice_cepstra has heard the speakers and vocoders, neither the sources nor the synthesisers"
    near = nearness(cache, HELD)
    worth = {family: value / sum(near.values()) for family, value in near.items()} | {ENGINES: 1.0}
    mass = mass_of(held.scored, worth)
    calibrations = calibrated(held, runs, mass, told)
    scale = [calibrations[name] for name in held.names]
    odds = np.stack([c.slope * held.logits[:, at] + c.intercept for at, c in enumerate(scale)], axis=1)
    verdict = ModelRepository().record(VERDICT).fusion
    weights = kept_weights(verdict, calibrations) if options.scale_only else fuse(held, odds, mass, options.keep)
    fused = odds[:, [held.names.index(name) for name in weights]] @ np.array(list(weights.values()))
    fusion = fit_verdict(weights, fused, held.scored, mass, told=told, floor_db=options.floor)
    tell_crossed(fused, held.scored, held.source, worth, options.floor)
    options.out.write_text(fusion.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
