"""A line for each kind of synthetic speech: none draws another one to itself, and they add up to one number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.metrics import auc
from training.audio.cache import VoiceCache, cache_of
from training.audio.features import Described
from training.audio.heads import HeadSettings, examples, fit_head
from training.audio.kinds import (
    GOOD,
    GROUPS,
    KINDS,
    RECORDED,
    Mask,
    Part,
    chosen_for,
    fit_lines,
    groups_of,
    joined,
    network_of,
    scales_of,
)
from training.audio.manifest import VoiceRow
from training.models.voice_deviations import FEATURES

SOURCES, REALS, SIZE = 4, 80, 6
KIND_OF = {GOOD[0]: 5.0, "griffin_lim": -5.0}


def row(path: str, family: str, number: int, paired: bool = True, generator: str = "") -> VoiceRow:
    return VoiceRow(
        path=path,
        label=int(bool(family)),
        source=f"source_{number % SOURCES}",
        generator=generator or family,
        speaker=str(number),
        pair=f"real/{number}" if paired else "",
        licence="own",
        commercial="yes",
        fold=number % 6,
        family=family,
        paired=int(paired),
        seconds=3.0,
    )


def opposite(size: int = SIZE, seed: int = 3) -> tuple[VoiceCache, Described]:
    """Copies of one kind have more of feature 2 than their reals, those of the other less."""
    rng = np.random.default_rng(seed)
    rows, whole = [], []
    for number in range(REALS):
        speaker = rng.normal(0, 1, size)
        rows.append(row(f"real/{number}", "", number))
        whole.append(speaker)
        for family, shift in KIND_OF.items():
            rows.append(row(f"copies/{family}/{number}", family, number))
            copy = speaker + rng.normal(0, 0.1, size)
            copy[2] += shift
            whole.append(copy)
    x = np.array(whole, np.float32)
    clips = np.arange(len(rows), dtype=np.int64)
    return cache_of(Path(), rows), Described(clips, np.ones(len(rows), np.float32), x, np.repeat(x[:, None], 2, 1))


def everything(cache: VoiceCache) -> Mask:
    return np.ones(len(cache), np.bool_)


def test_kinds_on_either_side_of_the_reals_are_both_found() -> None:
    cache, described = opposite()
    settings = HeadSettings(shrinkage=0.02)
    allowed = everything(cache)
    single = fit_head(examples(cache, [described], allowed, settings), settings)
    lines = fit_lines(cache, [described], allowed, settings, scales_of(cache, [described], allowed, settings))
    assert len(lines.bias) == 2
    families = cache.column("family")
    for family in KIND_OF:
        both = (cache.labels == 0) | (families == family)
        assert auc(lines(described.whole)[both], cache.labels[both]) > 0.95
    assert auc(single(described.whole), cache.labels) < 0.8, "one line cannot hold both"


def test_a_line_that_has_nothing_to_say_adds_little() -> None:
    cache, described = opposite()
    settings, allowed = HeadSettings(shrinkage=0.02), everything(cache)
    scales = scales_of(cache, [described], allowed, settings)
    lines = fit_lines(cache, [described], allowed, settings, scales)
    alone = fit_lines(cache, [described], allowed & ~np.isin(cache.column("family"), "griffin_lim"), settings, scales)
    neural = cache.column("family") == GOOD[0]
    told, first = lines(described.whole), alone(described.whole)
    assert np.abs(told - first)[neural].max() < 0.1
    assert (told - first).min() > -1e-9


def test_log_odds_are_of_left_out_sources() -> None:
    """A cue of one source alone is worth nothing where that source is left out."""
    cache, described = opposite()
    settings, allowed = HeadSettings(shrinkage=0.02), everything(cache)
    plain = scales_of(cache, [described], allowed, settings)
    rng = np.random.default_rng(1)
    blurred = described.whole.copy()
    blurred[:, 2] = rng.normal(0, 1, len(blurred))
    for number in range(SOURCES):
        of = groups_of(cache) == number
        blurred[of, 3] = np.where(cache.labels[of] == 1, 5.0, 0.0) * (-1) ** number
    leaking = replace(described, whole=blurred)
    assert scales_of(cache, [leaking], allowed, settings)[0][0] < 0.3 * plain[0][0]


def test_sources_and_engines_are_left_out_whole() -> None:
    cache, _ = opposite()
    group = groups_of(cache)
    assert set(group) == set(range(GROUPS))
    for source in np.unique(cache.column("source")):
        assert len(set(group[cache.column("source") == source])) == 1
    copies = np.flatnonzero(cache.partner >= 0)
    assert (group[copies] == group[cache.partner[copies]]).all()
    engines = [row(f"given/{name}/{number}", "tts_classic", number, False, name) for name in "ab" for number in (0, 1)]
    group = groups_of(cache_of(Path(), [*cache.rows, *engines]))[len(cache) :]
    assert group[0] == group[1] != group[2] == group[3]


def test_the_neural_line_is_fitted_on_good_vocoders_where_there_are_any() -> None:
    cache, _ = opposite()
    neural = chosen_for(cache, everything(cache), KINDS[0])
    assert set(cache.column("family")[neural]) == {"", GOOD[0]}
    rows = [replace(each, family="own_codec") if each.family == GOOD[0] else each for each in cache.rows]
    without = cache_of(Path(), rows)
    kept = chosen_for(without, everything(without), KINDS[0])
    assert set(without.column("family")[kept]) == {"", "own_codec"}, "none is there: the others, but no other line's"


def test_engines_that_play_recordings_train_no_line() -> None:
    cache, _ = opposite()
    engines = [row(f"given/{name}", "tts_classic", 0, False, name) for name in ("espeak", RECORDED[0])]
    with_engines = cache_of(Path(), [*cache.rows, *engines])
    kept = chosen_for(with_engines, everything(with_engines), KINDS[3])
    names = with_engines.column("generator")[kept & (with_engines.labels == 1)]
    assert names.tolist() == ["espeak"]
    assert not chosen_for(cache, everything(cache), KINDS[3]).any(), "no engine is there: no line"


@pytest.mark.parametrize("lines", ["fitted", "one"])
def test_the_network_says_what_the_lines_say(lines: str) -> None:
    cache, described = opposite(FEATURES)
    settings, allowed = HeadSettings(), everything(cache)
    if lines == "one":
        whole = joined([Part(fit_head(examples(cache, [described], allowed, settings), settings), 1.0)])
        local = joined([Part(fit_head(examples(cache, [described], allowed, settings, local=True), settings), 1.0)])
    else:
        scales = [(0.5, 0.1)] * len(KINDS)
        whole = fit_lines(cache, [described], allowed, settings, scales)
        local = fit_lines(cache, [described], allowed, settings, scales, local=True)
    model = network_of(whole, local)
    some = torch.from_numpy(described.whole[:8])

    class Front(torch.nn.Module):
        def forward(self, audio: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return some, some[:, None]

    model._modules["front"] = Front()
    with torch.inference_mode():
        told = model(torch.zeros(8, 1), torch.zeros(8, 1))
    np.testing.assert_allclose(told.logit[:, 0].numpy(), whole(described.whole[:8]), atol=2e-2)
    np.testing.assert_allclose(told.frames[:, 0].numpy(), local(described.whole[:8]), atol=2e-2)


def test_without_clips_there_is_no_line() -> None:
    cache, described = opposite()
    with pytest.raises(ValueError, match="no kind"):
        fit_lines(cache, [described], cache.labels == 0, HeadSettings(), [(1.0, 0.0)] * len(KINDS))
