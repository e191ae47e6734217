"""The scale of a voice verdict: from fused scores to probabilities under the measured quality, and its thresholds.

Noise and a narrow band move scores; so slope and bias follow the measures (``cards.record.Conditions``), and the
default threshold is moved up until no condition flags more of its reals than ``WORST_FPR``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from cards.record import Conditions, Covariate, Fusion, OperatingPoint
from training.audio.conditions import MEASURES
from training.audio.scored import Floats, Ints, Scored, report
from training.fusion import Refits, moved_up, operating_points, refits_by_kind

DEFAULT_POINT = "fpr_5"
QUANTILES, DRAWS = 201, 20_000
WORST_FPR = 0.06
"""Share of reals that the default threshold may flag under any one of the conditions: with 0.09 a tenth and more of the
reals of a source that was left out are flagged through Opus."""
PENALTY = 0.02
"""Of the squared slopes and intercepts of the measures, beside a loss that sums to 1."""
MOVES = ("bandwidth_hz",)
"""Measures that move the threshold."""
NOISE_FLOOR_DB = 13.0
"""Speech over noise under which the verdict abstains: with white noise at 10 dB the out-of-fold AUC is near 0.7."""
#: Measure: lowest, highest value that counts, and the reason that a verdict gives where it drowns the cue.
COVARIATES = {
    "snr_db": (0.0, 45.0, "noisy"),
    "bandwidth_hz": (3000.0, 8000.0, "narrow_band"),
}
_LOG = logging.getLogger(__name__)


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
    kept = np.where(drowned, 0.0, p)
    reals = [kept[(scored.condition == each) & (scored.label == 0)] for each in np.unique(scored.condition)]
    return moved_up(point, reals, WORST_FPR, p[drawn], scored.label[drawn])


def refits_of(log_odds: Floats, scored: Scored, mass: Floats) -> Refits:
    """Platt refits over resampled families of fakes and sources of reals."""
    return refits_by_kind(log_odds, scored.label, scored.family, mass, seed=4)


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
