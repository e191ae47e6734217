"""The robustness rows of clips that no network of the verdict was trained on.

Of ``voice_cepstra`` alone every training clip is scored by the head of the fold that left it out; of several networks
the clips stand for all that ``training.audio.fuse`` scores: speakers, sources and families of vocoders that stand
aside. Of shipped networks it is the other sources alone, since the shipped head of ``voice_cepstra`` has heard the
speakers (and the families, so that its part of the AUC is that much optimistic). The verdict over their scores is the
shipped one: its calibration, its conditions, its threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from training.audio.calibrate import out_of_fold
from training.audio.conditions import CONDITIONS, chosen_rows, hear_all
from training.audio.members import ENGINES, SHIPPED, Members, hear_members
from training.audio.scale import bent
from training.audio.scored import Scored
from training.audio.sound_tracks import TRACKS

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


def fold_rows(
    runs: Mapping[str, Path], cache: Path, repository: ModelRepository, tracks: Path = TRACKS, rounds: int = 1000
) -> list[SoundRow]:
    """A row for each condition.

    Args:
        runs: of the verdict's members, by name; that of ``voice_cepstra`` with ``folds.npz`` where it is alone.
        cache: of training speech; tracks: of the other sources (``training.audio.sound_tracks``).

    Raises:
        InstallationError: the repository's verdict is fused of other members, or they are not calibrated.
        FileNotFoundError: run or cache is missing.
    """
    fusion = repository.record(VERDICT).fusion
    if fusion is None or set(fusion.weights) != set(runs):
        members = "nothing" if fusion is None else " and ".join(fusion.weights)
        raise InstallationError(
            f"{VERDICT} is fused of {members}, not of {' and '.join(runs)}", remedy="name a --run of each member"
        )
    calibrations = {}
    for name in runs:
        calibration = repository.record(name).calibration
        if calibration is None:
            raise InstallationError(f"{name} is not calibrated", remedy="python -m training.audio.fuse")
        calibrations[name] = calibration
    clips = load_voice_cache(cache)
    if set(runs) == {MEMBER}:
        scored = out_of_fold(runs[MEMBER], clips, hear_all(clips, chosen_rows(clips)))
        return scored_rows(scored, {MEMBER: scored.logit}, calibrations, fusion, rounds)
    parts = hear_members(runs, clips, load_voice_cache(tracks))
    held = parts[1] if runs.get(MEMBER) == SHIPPED else Members.join(parts)
    copies = held.scored.family != ENGINES  # synthesisers have no real partner that went the same way
    logits = {name: held.logits[copies, column] for column, name in enumerate(held.names)}
    return scored_rows(held.scored.subset(copies), logits, calibrations, fusion, rounds)


def scored_rows(
    scored: Scored,
    logits: Mapping[str, NDArray[np.float64]],
    calibrations: Mapping[str, Calibration],
    fusion: Fusion,
    rounds: int = 1000,
) -> list[SoundRow]:
    """Rows of out-of-fold scores [e] of the members under the shipped verdict."""
    log_odds = np.full(len(scored.label), fusion.bias)
    for name, values in logits.items():
        log_odds += fusion.weights[name] * (calibrations[name].slope * values + calibrations[name].intercept)
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
