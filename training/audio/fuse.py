"""Fuse the voice networks: ``python -m training.audio.fuse OUT.json voice_cepstra=RUN voice_raw=RUN ...``.

Members are scored on two sets that none of them was trained on: the clips of ``training.audio.pairs.held_out``
(speakers and families of vocoders that stand aside; of ``voice_cepstra`` a head is fitted that did not see them
either), and the real speech of other sources of ``training.audio.sound_tracks`` with its copies by the same families.
Each clip is heard clean and under the named conditions. A member stays where leaving it out lowers the mean AUC over
left-out families by more than 0.005 and the 95 % interval of that lies above 0, or where ``--keep`` names it. Each run
gets its ``calibration.json``; OUT is the fusion, whose scale is checked by leaving whole sources out.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cards.record import Calibration
from pipelines.metrics import auc, ece, eer, platt, resamples
from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.calibrate import DRAWS, SHORT_S, Scored, fit_verdict, mass_of, refits_of
from training.audio.conditions import CONDITIONS, MEASURES
from training.audio.crossing import tell_crossed
from training.audio.features import draws_of, speech_of_cache
from training.audio.heads import HeadSettings, examples, fit_head
from training.audio.heard import Entry, HeardWindows
from training.audio.pairs import HELD, held_out
from training.audio.quality import nearness
from training.audio.sound_tracks import TRACKS
from training.audio.train import network_of, wanted_in
from training.fusion import member_weights, operating_points
from training.models.registry import read_checkpoint
from training.report import Fit

GAIN, RESAMPLES = 0.005, 400
DRAWN = (0, 1, 2, 3)
FLOOR_DB = 9.0
"""Speech over noise under which the verdict abstains: at 10 dB of white noise the AUC is 0.91, sources left out."""
_LOG = logging.getLogger(__name__)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Members:
    """What the members said of the entries.

    Attributes:
        scored: the entries, of all caches; own: int64 [e], the real clip that each is of, across the caches.
        source: [e], of that clip.
        logits: float64 [e, m]; names: of the members [m].
    """

    scored: Scored
    own: npt.NDArray[np.int64]
    source: npt.NDArray[np.str_]
    logits: Floats
    names: tuple[str, ...]

    @staticmethod
    def join(parts: Sequence[Members]) -> Members:
        """All entries; the rows of a later cache are counted on from those of the one before."""
        shifts = np.cumsum([0, *(1 + max(part.scored.row.max(), part.own.max()) for part in parts[:-1])])
        fields = {
            name: np.concatenate([getattr(part.scored, name) for part in parts]) for name in Scored.__dataclass_fields__
        }
        fields["row"] = np.concatenate([part.scored.row + shift for part, shift in zip(parts, shifts)])
        return Members(
            Scored(**fields),
            np.concatenate([part.own + shift for part, shift in zip(parts, shifts)]),
            np.concatenate([part.source for part in parts]),
            np.concatenate([part.logits for part in parts]),
            parts[0].names,
        )


def held_cepstra(cache: VoiceCache) -> nn.Module:
    """``voice_cepstra`` that did not see what stands aside."""
    train, _ = held_out(cache)
    speech, settings = speech_of_cache(cache), HeadSettings()
    draws = [draws_of(cache, speech, [draw], wanted_in(cache, draw, settings))[0] for draw in DRAWN]
    head = fit_head(examples(cache, draws, train, settings), settings)
    return network_of(head, head)


def heard_rows(cache: VoiceCache, everybody: bool = False) -> list[int]:
    """What stands aside: real clips of 1.5 s and more, and their copies by the left-out families; of a cache that
    nothing was trained on the clips of ``everybody``."""
    _, held = held_out(cache)
    if everybody:
        held = (cache.labels == 0) | np.isin(cache.column("family"), HELD)
    long = np.array([row.seconds >= 1.5 for row in cache.rows])
    return [int(row) for row in np.flatnonzero(held & long)]


def columns(cache: VoiceCache, entries: Sequence[Entry], logits: Mapping[str, Floats]) -> Members:
    """Entries that have windows and enough speech, with what each member says of them."""
    place = {row.path: number for number, row in enumerate(cache.rows)}
    speech = MEASURES.index("speech_s")
    kept = [at for at, each in enumerate(entries) if each.cells and each.quality[speech] >= SHORT_S * 0.75]
    rows = np.array([place[entries[at].path] for at in kept], np.int64)
    labels = cache.labels[rows]
    kinds = np.where(labels == 1, cache.column("family")[rows], cache.column("source")[rows])
    condition = np.array([CONDITIONS.index(entries[at].condition) for at in kept], np.int64)
    quality = np.array([entries[at].quality for at in kept])
    return Members(
        Scored(np.zeros(len(kept)), labels, kinds, condition, quality, rows),
        np.where(cache.partner[rows] >= 0, cache.partner[rows], rows),
        cache.column("source")[rows],
        np.stack([values[kept] for values in logits.values()], axis=1),
        tuple(logits),
    )


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
    """Calibrations of the members; ``voice_cepstra`` keeps that of its own folds, the others get theirs here."""
    own = Fit.read(runs["voice_cepstra"] / "calibration.json")
    if own is None:
        raise FileNotFoundError(f"{runs['voice_cepstra']} has no calibration: python -m training.audio.calibrate")
    found = {"voice_cepstra": own.calibration}
    drawn = np.random.default_rng(6).choice(len(mass), DRAWS, p=mass)
    for column, name in enumerate(held.names):
        if name in found:
            continue
        slope, intercept = platt(held.logits[:, column], held.scored.label, mass * len(mass))
        odds = slope * held.logits[:, column] + intercept
        chance, labels = 1 / (1 + np.exp(-np.clip(odds[drawn], -60, 60))), held.scored.label[drawn]
        found[name] = Calibration(
            slope=slope, intercept=intercept, fitted_on=told, items=len(held.scored.label), ece=ece(chance, labels)
        )
        fit = own.model_copy(
            update={
                "calibration": found[name],
                "fitted_on": told,
                "refits": refits_of(odds, held.scored, mass),
                "operating_points": operating_points(chance, labels),
                "by_kind": {},
            }
        )
        (runs[name] / "calibration.json").write_text(fit.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return found


def hear_members(runs: Mapping[str, Path], cache: VoiceCache, tracks: VoiceCache) -> Members:
    """What the networks of some runs say of clips that none of them was trained on, clean and under the conditions."""
    models: dict[str, nn.Module] = {}
    for name, run in runs.items():
        models[name] = held_cepstra(cache) if name == "voice_cepstra" else read_checkpoint(run / "model.pt", name)[1]
    parts = []
    for each, other in ((cache, False), (tracks, True)):
        windows = HeardWindows(each)
        entries = windows.entries(heard_rows(each, other))
        part = columns(each, entries, {name: windows.logits(model, entries) for name, model in models.items()})
        tell_members(part, "other sources" if other else "other speakers")
        parts.append(part)
    return Members.join(parts)


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
    parser.add_argument("--floor", type=float, default=FLOOR_DB, help="dB of noise under which it abstains")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    cache = load_voice_cache(options.cache)
    runs = {name: Path(run) for name, _, run in (each.partition("=") for each in options.members)}
    held = hear_members(runs, cache, load_voice_cache(options.tracks))
    told = (
        f"{len(np.unique(held.scored.row))} clips of speakers, sources and vocoders that no member saw in training, "
        f"clean and under {len(CONDITIONS) - 1} conditions"
    )
    worth = nearness(cache, HELD)
    mass = mass_of(held.scored, worth)
    calibrations = calibrated(held, runs, mass, told)
    scale = [calibrations[name] for name in held.names]
    odds = np.stack([c.slope * held.logits[:, at] + c.intercept for at, c in enumerate(scale)], axis=1)
    weights = fuse(held, odds, mass, options.keep)
    fused = odds[:, [held.names.index(name) for name in weights]] @ np.array(list(weights.values()))
    fusion = fit_verdict(weights, fused, held.scored, mass, told=told, floor_db=options.floor)
    tell_crossed(fused, held.scored, held.source, worth, options.floor)
    options.out.write_text(fusion.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
