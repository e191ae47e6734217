"""Calibrate and fuse the voice networks: ``python -m training.audio.calibrate RUN [RUN...]``.

Everything is fitted on clips that the scoring model has not seen: each is scored by a head that left its speaker and
its kind of vocoder out, clean and under the named conditions, with the voice activity and the quality that
serving would measure. Written are ``calibration.json`` and ``fusion.json`` of the run; ``export.voice_verdict``
makes the record of ``audio_verdict``. Nothing here touches ``dev/`` or ``librispeech_test_other_10spk``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from cards.record import Calibration, Conditions, Covariate, Fusion, OperatingPoint
from pipelines.metrics import auc, ece, eer, platt, threshold_at_fpr
from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.conditions import CONDITIONS, MEASURES, Heard, chosen_rows, hear_all
from training.audio.quality import nearness
from training.audio.train import PARTS
from training.fusion import REFITS, operating_points
from training.report import Fit

DEFAULT_POINT, FUSION = "fpr_5", "fusion.json"
QUANTILES, DRAWS = 201, 20_000
WORST_FPR = 0.06
"""Share of reals that the default threshold may flag under any one of the conditions: with 0.09 a tenth and more of the
reals of a source that was left out are flagged through Opus."""
CLEAN_SHARE = 0.5
"""Of the mass: recordings that were not damaged beyond what the data holds."""
PENALTY = 0.02
"""Of the squared slopes and intercepts of the measures, beside a loss that sums to 1."""
MOVES = ("bandwidth_hz",)
"""Measures that move the threshold."""
NOISE_FLOOR_DB = 13.0
"""Speech over noise under which the verdict abstains: with white noise at 10 dB the out-of-fold AUC is near 0.7."""
SHORT_S = 2.0
#: Measure: lowest, highest value that counts, and the reason that a verdict gives where it drowns the cue.
COVARIATES = {
    "snr_db": (0.0, 45.0, "noisy"),
    "bandwidth_hz": (3000.0, 8000.0, "narrow_band"),
}
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


def out_of_fold(run: Path, cache: VoiceCache, heard: Heard) -> Scored:
    """Score every clip with heads that saw neither its speaker nor, for a fake, its family; of several the mean.

    Clips with less than 1.5 s of speech and families that no head left out are dropped.
    """
    with np.load(run / "crossed.npz") as held:
        told = {name: held[name] for name in held.files}
    labels, families = cache.labels[heard.row], cache.column("family")[heard.row]
    part = np.array([cache.rows[row].fold % PARTS for row in heard.row])
    total, count = np.zeros(len(heard.row)), np.zeros(len(heard.row))
    for each in range(len(told["bias"])):
        x = (heard.whole - told["mean"][each]) * told["scale"][each]
        mean = heard.clip_mean(x @ told["weight"][each] + told["bias"][each])
        fits = (part == told["part"][each]) & ((labels == 0) | (families == told["family"][each])) & np.isfinite(mean)
        total[fits] += mean[fits]
        count[fits] += 1
    names = np.where(labels == 1, families, cache.column("source")[heard.row])
    whole = Scored(total / np.maximum(count, 1), labels, names, heard.condition, heard.quality, heard.row)
    return whole.subset((count > 0) & (heard.quality[:, MEASURES.index("speech_s")] >= SHORT_S * 0.75))


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


def covariates_of(scored: Scored, mass: Floats) -> tuple[list[Covariate], Floats]:
    """The measures with their standardisation, and their values in units [e, c]."""
    found, units = [], []
    for name, (low, high, reason) in COVARIATES.items():
        values = np.clip(scored.quality[:, MEASURES.index(name)], low, high)
        centre = float(np.average(values, weights=mass))
        scale = float(np.sqrt(np.average((values - centre) ** 2, weights=mass)))
        found.append(
            Covariate(
                name=name, low=low, high=high, centre=centre, scale=max(scale, 1e-6 * (high - low)), reason=reason
            )
        )
        units.append((values - centre) / found[-1].scale)
    return found, np.stack(units, axis=1)


def fit_conditions(
    fused: Floats, scored: Scored, mass: Floats, least: float = 0.1, floor_db: float | None = NOISE_FLOOR_DB
) -> tuple[float, float, Conditions]:
    """Slope and bias of the fused log-odds, and how the slope depends on the measures, by logistic regression.

    Slopes are never negative: more noise never makes a score mean more. The threshold moves with the bandwidth alone
    (a clean narrow recording scores 1.2 higher than a clean wide one, real or fake); moved with the noise as well, it
    flags more reals in white noise, because babble and white noise shift scores in opposite directions.
    """
    covariates, units = covariates_of(scored, mass)
    count, truth = len(covariates), scored.label
    targets = np.where(truth == 1, 0.995, 0.005)
    moves = np.array([each.name in MOVES for each in covariates], dtype=np.float64)

    def loss(p: Floats) -> float:
        line = (p[0] + units @ p[2 : 2 + count]) * fused + p[1] + units @ (p[2 + count :] * moves)
        fit = np.sum(mass * (np.logaddexp(0, line) - targets * line))
        return float(fit + PENALTY * np.sum(p[2:] ** 2) * 0.1)

    start = np.concatenate([[1.0, 0.0], np.zeros(2 * count)])
    bounds = [(0.05, None), (None, None), *[(0.0, None)] * count, *[(None, None)] * count]
    solution = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    base, bias = float(solution[0]), float(solution[1])
    slopes, shifts = solution[2 : 2 + count] / base, solution[2 + count :] * moves
    # The verdict bends base * fused + bias as a whole: what the factor does to the bias goes into the intercepts.
    fitted = [
        each.model_copy(
            update={
                "slope": float(slope),
                "intercept": float(shift - slope * bias),
                "abstain_below": floor_db if each.name == "snr_db" else None,
            }
        )
        for each, slope, shift in zip(covariates, slopes, shifts, strict=True)
    ]
    told = f"{len(truth)} out-of-fold scores"
    return base, bias, Conditions(covariates=tuple(fitted), least_slope=least, fitted_on=told)


def bent(fused: Floats, scored: Scored, conditions: Conditions) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Log-odds under the measured quality, and where the cue is drowned."""
    rows = [dict(zip(MEASURES, values, strict=True)) for values in scored.quality.tolist()]
    log_odds = [conditions.log_odds(value, row) for value, row in zip(fused.tolist(), rows, strict=True)]
    return np.array(log_odds), np.array([conditions.drowned(row) is not None for row in rows])


def stricter(
    point: OperatingPoint, log_odds: Floats, scored: Scored, drowned: npt.NDArray[np.bool_], drawn: Ints
) -> OperatingPoint:
    """The point, moved up until no condition flags more than ``WORST_FPR`` of its reals.

    Args:
        drowned: entries whose verdict abstains: they are never flagged.
        drawn: entries that stand for all, by their weight.
    """
    p = 1 / (1 + np.exp(-np.clip(log_odds, -60, 60)))
    threshold = point.threshold
    for condition in np.unique(scored.condition):
        reals = (scored.condition == condition) & (scored.label == 0)
        threshold = max(threshold, threshold_at_fpr(np.where(drowned, 0.0, p)[reals], WORST_FPR))
    flagged, label = p[drawn] >= threshold, scored.label[drawn]
    return point.model_copy(
        update={
            "threshold": float(threshold),
            "fpr": float(flagged[label == 0].mean()),
            "tpr": float(flagged[label == 1].mean()),
        }
    )


def refits_of(log_odds: Floats, scored: Scored, mass: Floats, seed: int = 4) -> tuple[tuple[float, float], ...]:
    """Platt refits over resampled families of fakes and sources of reals: whole kinds come and go."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(REFITS):
        taken = []
        for label in (0, 1):
            kinds = np.unique(scored.family[scored.label == label])
            worth = np.array([mass[(scored.label == label) & (scored.family == kind)].sum() for kind in kinds])
            for kind in rng.choice(kinds, len(kinds), p=worth / worth.sum()):
                members = np.flatnonzero((scored.label == label) & (scored.family == kind))
                taken.append(rng.choice(members, 200, p=mass[members] / mass[members].sum()))
        sample = np.concatenate(taken)
        found.append(platt(log_odds[sample], scored.label[sample]))
    return tuple(found)


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


def fit_run(run: Path, cache: VoiceCache, heard: Heard) -> tuple[Fit, Scored, Floats]:
    """Platt scaling of one network on its out-of-fold scores; ``calibration.json`` beside its checkpoint.

    Returns:
        The fit, the scores, and the weight of each.
    """
    scored = out_of_fold(run, cache, heard)
    families = [str(name) for name in np.unique(scored.family[scored.label == 1])]
    mass = mass_of(scored, nearness(cache, families))
    slope, intercept = platt(scored.logit, scored.label, mass * len(mass))
    log_odds = slope * scored.logit + intercept
    drawn = np.random.default_rng(5).choice(len(mass), DRAWS, p=mass)
    probabilities = 1 / (1 + np.exp(-log_odds[drawn]))
    kinds = np.unique(scored.family[scored.label == 1])
    told = (
        f"{len(np.unique(scored.row))} clips of train/audio and their copies, each scored by a head that saw neither "
        f"its speaker nor its kind of vocoder, clean and under {len(CONDITIONS) - 1} conditions"
    )
    reals = scored.label == 0
    fit = Fit(
        calibration=Calibration(
            slope=slope,
            intercept=intercept,
            fitted_on=told,
            items=len(scored.label),
            ece=ece(probabilities, scored.label[drawn]),
        ),
        refits=refits_of(log_odds, scored, mass),
        real_quantiles=tuple(
            np.quantile(log_odds[drawn][scored.label[drawn] == 0], np.linspace(0, 1, QUANTILES)).tolist()
        ),
        operating_points=operating_points(probabilities, scored.label[drawn]),
        default_operating_point=DEFAULT_POINT,
        fitted_on=told,
        by_kind={
            str(kind): round(auc(log_odds[some], scored.label[some]), 4)
            for kind in kinds
            for some in [reals | (scored.family == kind)]
        },
    )
    (run / "calibration.json").write_text(fit.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return fit, scored, mass


def fit_verdict(
    weights: Mapping[str, float],
    fused: Floats,
    scored: Scored,
    mass: Floats,
    band: float = 0.0,
    told: str = "",
    floor_db: float | None = NOISE_FLOOR_DB,
) -> Fusion:
    """The fusion under conditions; the hashes of its members' records are filled in when the record is written.

    Args:
        weights: of the members' calibrated log-odds; fused: [e], what they add up to.
        band: half-width in probability around the threshold in which the label is inconclusive.
        floor_db: speech over noise under which the verdict abstains.
    """
    base, bias, conditions = fit_conditions(fused, scored, mass, floor_db=floor_db)
    log_odds, drowned = bent(base * fused + bias, scored, conditions)
    drawn = np.random.default_rng(6).choice(len(mass), DRAWS, p=mass)
    probabilities = 1 / (1 + np.exp(-np.clip(log_odds[drawn], -60, 60)))
    points = operating_points(probabilities, scored.label[drawn])
    points[DEFAULT_POINT] = stricter(points[DEFAULT_POINT], log_odds, scored, drowned, drawn)
    quantiles = np.quantile(log_odds[drawn][scored.label[drawn] == 0], np.linspace(0, 1, QUANTILES))
    _LOG.info("conditions %s", [(c.name, round(c.slope, 3), round(c.intercept, 3)) for c in conditions.covariates])
    _LOG.info("points %s", {name: (round(p.threshold, 3), round(p.tpr, 3)) for name, p in points.items()})
    report(scored, log_odds, drowned, points[DEFAULT_POINT].threshold, band)
    return Fusion(
        members=dict.fromkeys(weights, ""),
        weights={name: base * weight for name, weight in weights.items()},
        bias=bias,
        refits=refits_of(log_odds, scored, mass),
        real_quantiles=tuple(quantiles.tolist()),
        operating_points=points,
        default_operating_point=DEFAULT_POINT,
        conditions=conditions,
        abstain_below=band,
        fitted_on=told,
    )


def main(arguments: list[str] | None = None) -> int:
    """Fit a run's calibration and its fusion under conditions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run of voice_cepstra")
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--band", type=float, default=0.0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cache = load_voice_cache(options.cache)
    fit, scored, mass = fit_run(options.run, cache, hear_all(cache, chosen_rows(cache)))
    _LOG.info("%s", fit.model_dump_json(include={"calibration", "operating_points", "by_kind"}))
    log_odds = fit.calibration.slope * scored.logit + fit.calibration.intercept
    fusion = fit_verdict({"voice_cepstra": 1.0}, log_odds, scored, mass, options.band, fit.fitted_on)
    (options.run / FUSION).write_text(fusion.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
