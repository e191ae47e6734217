"""Trivial numbers see planted shortcuts and nothing in fair pairs; the committed measurement keeps the limit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.audio.voices import voice
from training.audio.cache import VoiceCache, cache_of
from training.audio.manifest import VoiceRow
from training.audio.shortcuts import both, pair_table, seen, trivial_numbers
from training.audio.sounds import low_pass, write_sound
from training.data.shortcuts import Shortcuts

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "voice_shortcuts.json"


def cache(folder: Path, change: str) -> VoiceCache:
    """Forty pairs whose fakes are the reals three samples later, and changed in one trivial way."""
    rows = []
    for number in range(40):
        real = voice(1.0, number)
        for label, sound in enumerate((real, changed(np.roll(real, 3), change))):
            path = f"{label}/{number}.flac"
            write_sound(folder / path, sound)
            rows.append(VoiceRow(path, label, "s", "x" * label, f"p{number}", f"0/{number}.flac", "", "", 0, "", label))
    return cache_of(folder, rows)


def changed(sound: NDArray[np.float32], change: str) -> NDArray[np.float32]:
    if change == "band":
        return low_pass(sound, 3500.0)
    if change == "silence":
        return np.concatenate([np.zeros(8000, np.float32), sound[8000:]])
    return sound


@pytest.mark.parametrize(("change", "least", "most"), [("none", 0.0, 0.62), ("band", 0.9, 1.0), ("silence", 0.9, 1.0)])
def test_planted_shortcuts_are_seen(tmp_path: Path, change: str, least: float, most: float) -> None:
    data = cache(tmp_path, change)
    found, traits = both(pair_table(data, data.pairs, False, []), "pairs", change)
    assert (found.view, traits.view) == ("pairs", "traits")
    assert least <= found.auc <= most


def test_level_offset_and_zeros_do_not_pass_the_preprocessing() -> None:
    sound = voice(2.0, 1)
    plain = trivial_numbers(seen(sound))
    other = trivial_numbers(seen(sound * np.float32(0.2) + np.float32(0.1)))
    np.testing.assert_allclose(plain[:7], other[:7], atol=0.3)
    assert abs(trivial_numbers(sound + np.float32(0.1))[0]) > 0.5


def test_empty_sounds_have_numbers_too() -> None:
    assert len(trivial_numbers(np.zeros(0, np.float32))) == len(trivial_numbers(voice(0.1))) == 11
    assert np.isfinite(trivial_numbers(np.zeros(100, np.float32))).all()


#: Generators whose copies still differ from their reals by more than the limit allows, by 0.01 to 0.03, after their
#: loudness was evened (training/EXPERIMENTS.md). All pairs together keep the limit.
OVER = {"own_autoregressive", "own_codec", "own_upsampling"}


def test_the_committed_pairs_keep_the_limit_but_for_the_known_generators() -> None:
    report = Shortcuts.model_validate(json.loads(RESULTS.read_text(encoding="utf-8")))
    pairs = [result for result in report.results if result.view == "pairs"]
    assert {"all", "griffin_lim", "lpc", "world", "hifigan", "own_istft"} <= {result.group for result in pairs}
    assert report.limit == 0.60
    over = {result.group for result in pairs if not result.passes}
    assert over <= OVER
