"""The robustness rows of training clips, each scored by the head of the fold that left it out.

The shipped network has heard these clips; the fold heads have not. The verdict over their scores is the shipped one:
its calibration, its conditions, its threshold. Features and measures are those that the calibration heard.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cards.record import Calibration, Fusion
from cards.repository import ModelRepository
from deepscan_client.errors import InstallationError
from pipelines.assessment.curves import wilson
from pipelines.assessment.voices import SoundRow, measured
from pipelines.metrics import auc, eer
from training.audio.cache import load_voice_cache
from training.audio.calibrate import Scored, bent, out_of_fold
from training.audio.conditions import CONDITIONS, chosen_rows, hear_all

GROUP = "out of fold"
"""Name of the rows."""
MEMBER, VERDICT = "voice_cepstra", "audio_verdict"
NAMES = {
    "clean": "none",
    "mp3_64": "mp3 64 kbit/s",
    "opus_16": "opus 16 kbit/s",
    "telephone": "telephone 8 kHz",
    "white_20": "white 20 dB",
    "white_10": "white 10 dB",
    "babble_20": "babble 20 dB",
    "babble_10": "babble 10 dB",
}
"""The calibration's conditions by their names in the report."""


def fold_rows(run: Path, cache: Path, repository: ModelRepository, rounds: int = 1000) -> list[SoundRow]:
    """A row for each condition.

    Args:
        run: of ``voice_cepstra``, with ``folds.npz``; cache: of training speech.

    Raises:
        InstallationError: the repository's verdict is fused of other members, or not calibrated.
        FileNotFoundError: run or cache is missing.
    """
    fusion, calibration = repository.record(VERDICT).fusion, repository.record(MEMBER).calibration
    if fusion is None or calibration is None or set(fusion.weights) != {MEMBER}:
        raise InstallationError(
            f"{VERDICT} is not fused of {MEMBER} alone", remedy="leave --run out, or fuse fold scores of all members"
        )
    clips = load_voice_cache(cache)
    return scored_rows(out_of_fold(run, clips, hear_all(clips, chosen_rows(clips))), calibration, fusion, rounds)


def scored_rows(scored: Scored, calibration: Calibration, fusion: Fusion, rounds: int = 1000) -> list[SoundRow]:
    """Rows of out-of-fold scores under the shipped verdict."""
    log_odds = fusion.weights[MEMBER] * (calibration.slope * scored.logit + calibration.intercept) + fusion.bias
    drowned = np.zeros(len(log_odds), bool)
    if fusion.conditions is not None:
        log_odds, drowned = bent(log_odds, scored, fusion.conditions)
    probability = 1 / (1 + np.exp(-np.clip(log_odds, -60, 60)))
    threshold = fusion.operating_points[fusion.default_operating_point].threshold
    settled = ~drowned & (np.abs(probability - threshold) >= fusion.abstain_below)
    flagged = settled & (probability >= threshold)
    return [
        _row(NAMES[name], scored.condition == place, scored, log_odds, settled, flagged, rounds)
        for place, name in enumerate(CONDITIONS)
        if name in NAMES and (scored.condition == place).any()
    ]


def _row(
    name: str,
    some: NDArray[np.bool_],
    scored: Scored,
    log_odds: NDArray[np.float64],
    settled: NDArray[np.bool_],
    flagged: NDArray[np.bool_],
    rounds: int,
) -> SoundRow:
    real, fake = some & (scored.label == 0), some & (scored.label == 1)
    reals, fakes = int(real.sum()), int(fake.sum())
    return SoundRow(
        condition=name,
        group=GROUP,
        real=reals,
        fake=fakes,
        unscored=0,
        flagged=wilson(int(flagged[real].sum()), reals),
        conclusive=wilson(int(settled[real].sum()), reals),
        found=wilson(int(flagged[fake].sum()), fakes),
        fakes_conclusive=wilson(int(settled[fake].sum()), fakes),
        auc=measured(auc, log_odds[some], scored.label[some], rounds),
        eer=measured(eer, log_odds[some], scored.label[some], rounds),
    )
