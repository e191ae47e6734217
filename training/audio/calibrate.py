"""Calibrate and fuse the voice networks: ``python -m training.audio.calibrate RUN [RUN...]``.

Everything is fitted on clips that the scoring model has not seen: each is scored by a head that left its speaker and
its vocoder out, clean and under the named conditions, with the voice activity and the quality that
serving would measure. Written are ``calibration.json`` and ``fusion.json`` of the run; ``export.voice_verdict``
makes the record of ``audio_verdict``. Nothing here touches ``dev/`` or ``librispeech_test_other_10spk``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import torch

from cards.record import Calibration
from pipelines.metrics import auc, ece, platt
from training.audio.cache import VoiceCache, load_voice_cache
from training.audio.conditions import CONDITIONS, MEASURES, Heard, chosen_rows, hear_all
from training.audio.kinds import KINDS, of_any
from training.audio.pairs import AGAINST
from training.audio.quality import nearness
from training.audio.scale import DEFAULT_POINT, DRAWS, QUANTILES, fit_verdict, refits_of
from training.audio.scored import SHORT_S, Floats, Scored, mass_of
from training.audio.train import PARTS
from training.fusion import operating_points
from training.report import Fit

FUSION = "fusion.json"
_LOG = logging.getLogger(__name__)


def out_of_fold(run: Path, cache: VoiceCache, heard: Heard) -> Scored:
    """Score every clip with heads that saw neither its speaker nor, for a fake, its generator; of several the mean.

    Clips with less than 1.5 s of speech, families of ``AGAINST`` and those of the other lines are dropped.
    """
    with np.load(run / "crossed.npz") as held:
        told = {name: held[name] for name in held.files}
    labels, families = cache.labels[heard.row], cache.column("family")[heard.row]
    generators = cache.column("generator")[heard.row]
    part = np.array([cache.rows[row].fold % PARTS for row in heard.row])
    total, count = np.zeros(len(heard.row)), np.zeros(len(heard.row))
    others = [family for kind in KINDS for family in kind.families]
    never = ~np.isin(generators, told["generator"]) & ~np.isin(families, [*AGAINST, *others])  # no line has heard these
    for each in range(len(told["part"])):
        mean = heard.clip_mean(of_any(heard.whole, told["weight"][each], told["bias"][each]))
        unheard = (labels == 0) | never | (generators == told["generator"][each])
        fits = (part == told["part"][each]) & unheard & np.isfinite(mean)
        total[fits] += mean[fits]
        count[fits] += 1
    names = np.where(labels == 1, families, cache.column("source")[heard.row])
    whole = Scored(total / np.maximum(count, 1), labels, names, heard.condition, heard.quality, heard.row)
    return whole.subset((count > 0) & (heard.quality[:, MEASURES.index("speech_s")] >= SHORT_S * 0.75))


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
        f"its speaker nor its vocoder, clean and under {len(CONDITIONS) - 1} conditions"
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


def main(arguments: list[str] | None = None) -> int:
    """Fit a run's calibration and its fusion under conditions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run of voice_cepstra")
    parser.add_argument("--cache", type=Path, default=Path(".cache/voice"))
    parser.add_argument("--band", type=float, default=0.0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    cache = load_voice_cache(options.cache)
    fit, scored, mass = fit_run(options.run, cache, hear_all(cache, chosen_rows(cache)))
    _LOG.info("%s", fit.model_dump_json(include={"calibration", "operating_points", "by_kind"}))
    log_odds = fit.calibration.slope * scored.logit + fit.calibration.intercept
    fusion = fit_verdict({"voice_cepstra": 1.0}, log_odds, scored, mass, options.band, fit.fitted_on)
    (options.run / FUSION).write_text(fusion.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
