"""Heads on fixed features: pairs teach what speakers hide; masses; conditions that are found again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cards.record import OperatingPoint
from training.audio.cache import VoiceCache, cache_of
from training.audio.conditions import MEASURES
from training.audio.features import Described
from training.audio.heads import HeadSettings, clip_mass, examples, fit_head
from training.audio.kinds import GOOD
from training.audio.manifest import VoiceRow
from training.audio.scale import NOISE_FLOOR_DB, WORST_FPR, bent, fit_conditions, stricter
from training.audio.scored import Scored, mass_of
from training.audio.train import clip_logits, wanted_in


def world(reals: int = 40, seed: int = 1) -> tuple[VoiceCache, Described]:
    """Reals of two sources with two copies each; one feature holds the cue, larger ones the speaker."""
    rng = np.random.default_rng(seed)
    rows, whole = [], []
    for number in range(reals):
        speaker = rng.normal(0, 3, 12)
        for family in ("", "a", "b"):
            path = f"real/{number}" if not family else f"copies/{family}/{number}"
            rows.append(
                VoiceRow(
                    path=path,
                    label=int(bool(family)),
                    source="many" if number % 4 else "few",
                    generator=family,
                    speaker=str(number),
                    pair=f"real/{number}",
                    licence="own",
                    commercial="yes",
                    fold=number % 6,
                    family=family,
                    paired=int(bool(family)),
                )
            )
            cue = np.zeros(12)
            cue[3] = 1.0 if family else 0.0
            whole.append(speaker + cue + rng.normal(0, 0.1, 12))
    x = np.array(whole, np.float32)
    clips = np.arange(len(rows), dtype=np.int64)
    return cache_of(Path(), rows), Described(clips, np.ones(len(rows), np.float32), x, np.repeat(x[:, None], 2, 1))


def test_copies_weigh_as_much_as_their_reals() -> None:
    cache, _ = world()
    mass = clip_mass(cache, np.ones(len(cache), np.bool_), 0.0)
    for label in (0, 1):
        assert mass[cache.labels == label].sum() == pytest.approx(1.0, rel=1e-5)
    few = np.array([row.source == "few" for row in cache.rows])
    assert mass[few & (cache.labels == 0)].max() > mass[~few & (cache.labels == 0)].max()


@pytest.mark.parametrize("logistic", [0.0, 0.5, 1.0])
def test_pairs_find_a_cue_that_is_smaller_than_what_speakers_differ_by(logistic: float) -> None:
    cache, described = world()
    settings = HeadSettings(shrinkage=0.02, penalty=1e-4, logistic=logistic)
    head = fit_head(examples(cache, [described], np.ones(len(cache), np.bool_), settings), settings)
    logits = clip_logits(described, head(described.whole), len(cache))
    above = [logits[row] > logits[cache.partner[row]] for row in np.flatnonzero(cache.partner >= 0)]
    assert np.mean(above) > 0.95


def test_a_head_is_the_mean_of_both_kinds() -> None:
    cache, described = world()
    data = examples(cache, [described], np.ones(len(cache), np.bool_), HeadSettings())
    fisher, logistic, both = (fit_head(data, HeadSettings(logistic=share))(described.whole) for share in (0, 1, 0.5))
    np.testing.assert_allclose(both, (fisher + logistic) / 2, atol=1e-4)


def test_copies_of_a_clip_share_its_weight_and_families_share_alike() -> None:
    cache, _ = world()
    chosen = np.ones(len(cache), np.bool_)
    chosen[1] = False  # the copy by "a" of the first real clip
    mass = clip_mass(cache, chosen, 0.0)
    assert mass[1] == 0
    assert mass[2] / mass[0] == pytest.approx(2 * mass[3 * 4 + 2] / mass[3 * 4], rel=1e-5)


def test_near_copies_weigh_more_in_the_calibration() -> None:
    label = np.array([0, 0, 1, 1, 1])
    families = np.array(["x", "x", "near", "far", "far"])
    scored = Scored(np.zeros(5), label, families, np.zeros(5, np.int64), np.zeros((5, len(MEASURES))), np.arange(5))
    alike, weighed = mass_of(scored), mass_of(scored, {"near": 3.0, "far": 1.0})
    assert alike[label == 1].sum() == weighed[label == 1].sum() == pytest.approx(0.5)
    assert alike[2] == pytest.approx(0.25)
    assert weighed[2] == pytest.approx(0.375)


def test_no_condition_flags_more_reals_than_the_limit() -> None:
    rng = np.random.default_rng(4)
    count = 2000
    label, condition = np.arange(count) % 2, rng.integers(0, 3, count)
    log_odds = np.where(label == 1, 2.0, -1.0) + rng.normal(0, 1, count) + 1.5 * (condition == 2)
    quality = np.zeros((count, len(MEASURES)))
    scored = Scored(log_odds, label, np.full(count, "a"), condition, quality, np.arange(count))
    point = OperatingPoint(target_fpr=0.05, threshold=0.6, fpr=0.5, tpr=0.5)
    everything = np.arange(count)
    moved = stricter(point, log_odds, scored, np.zeros(count, np.bool_), everything)
    flagged = 1 / (1 + np.exp(-log_odds)) >= moved.threshold
    noisy = (condition == 2) & (label == 0)
    assert 0.9 * WORST_FPR < flagged[noisy].mean() <= WORST_FPR
    assert moved.fpr == pytest.approx(flagged[label == 0].mean())
    # What abstains flags nobody, and moves nothing.
    assert stricter(point, log_odds, scored, condition == 2, everything).threshold < moved.threshold


def test_conditions_find_that_noise_hides_the_cue() -> None:
    rng = np.random.default_rng(3)
    count = 4000
    label = rng.integers(0, 2, count)
    snr = rng.uniform(0, 45, count)
    logit = (2 * label - 1) * 2.0 * snr / 45 + rng.normal(0, 1, count)
    quality = np.zeros((count, len(MEASURES)))
    quality[:, MEASURES.index("snr_db")] = snr
    quality[:, MEASURES.index("bandwidth_hz")] = 8000
    scored = Scored(logit, label, np.where(label == 1, "a", "b"), np.zeros(count, np.int64), quality, np.arange(count))
    base, bias, conditions = fit_conditions(logit, scored, mass_of(scored))
    told, drowned = bent(base * logit + bias, scored, conditions)
    assert conditions.slope({"snr_db": 45.0}) > 2 * conditions.slope({"snr_db": 2.0})
    assert (drowned == (snr < NOISE_FLOOR_DB)).all()
    quiet = np.abs(told[snr < 5]).mean()
    assert quiet < 0.5 * np.abs(told[snr > 40]).mean()


def test_a_damaged_draw_holds_good_vocoders_and_where_there_are_none_those_that_are_there() -> None:
    cache, _ = world(reals=6)
    rows = [replace(row, seconds=2.0) for row in cache.rows]
    good = [replace(row, family=GOOD[0]) if row.family == "a" else row for row in rows]
    for each, families in ((rows, {"", "a", "b"}), (good, {"", GOOD[0]})):
        kept = wanted_in(cache_of(Path(), each), 1)
        assert {row.family for row, some in zip(each, kept, strict=True) if some} == families
