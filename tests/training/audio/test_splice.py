"""Partial fakes: the interval is the copy's, the rest is untouched, and the seams do not click."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.audio.voices import voice
from training.audio.cache import cache_of
from training.audio.folds import read_voice_folds
from training.audio.manifest import VoiceRow
from training.audio.sounds import RATE, rms, write_sound
from training.audio.splice import FADE, SpliceError, measuring_family, splice, spliced_clips
from training.audio.vocoders import griffin_lim


@pytest.mark.parametrize("seed", range(8))
def test_only_the_interval_changes(seed: int) -> None:
    real = voice(4.0, seed)
    copy, _ = griffin_lim(real, np.random.default_rng(seed))
    made = splice(real, copy, np.random.default_rng(seed))
    start, stop = round(made.start * RATE), round(made.stop * RATE)
    assert 1.0 <= made.stop - made.start <= 2.0
    np.testing.assert_array_equal(made.samples[:start], real[:start])
    np.testing.assert_array_equal(made.samples[stop:], real[stop:])
    inside = slice(start + FADE, stop - FADE)
    assert np.corrcoef(made.samples[inside], copy[inside])[0, 1] > 0.9
    assert rms(made.samples[start:stop]) == pytest.approx(rms(real[start:stop]), rel=0.25)
    steps = np.abs(np.diff(made.samples))
    assert steps[max(0, start - 2) : start + 2].max() <= np.abs(np.diff(real)).max() + np.abs(np.diff(copy)).max()


def test_the_mask_tells_the_share_of_each_cell() -> None:
    real = voice(3.0, 1)
    made = splice(real, -real, np.random.default_rng(0))
    mask = made.mask(512)
    assert len(mask) == -(-len(real) // 512)
    assert mask.sum() * 512 == pytest.approx((made.stop - made.start) * RATE, abs=2)
    assert set(np.unique(mask)) >= {0.0, 1.0}


def test_speech_is_replaced_not_silence() -> None:
    real = np.concatenate([np.zeros(3 * RATE, np.float32), voice(2.0, 2)])
    made = splice(real, real[::-1].copy() + voice(5.0, 9), np.random.default_rng(1))
    assert made.start > 2.5


def test_short_clips_give_shorter_pieces_and_too_short_ones_an_error() -> None:
    made = splice(voice(1.4, 3), voice(1.4, 4), np.random.default_rng(0))
    assert 0.5 <= made.stop - made.start <= 0.6 * 1.4 + 1e-3
    with pytest.raises(SpliceError, match="too short"):
        splice(voice(1.0, 3), voice(1.0, 4), np.random.default_rng(0))
    with pytest.raises(SpliceError, match="speech"):
        splice(np.zeros(3 * RATE, np.float32), voice(3.0, 4), np.random.default_rng(0))


def test_splices_of_a_cache_come_from_one_family_and_begin_with_different_speakers(tmp_path: Path) -> None:
    rows = []
    for number, (speaker, seconds) in enumerate([("a", 2.0), ("a", 2.0), ("b", 2.0), ("c", 0.5)]):
        for family in ("", "own_istft", "lpc"):
            path = f"{family or 'real'}/{number}.flac"
            write_sound(tmp_path / path, voice(seconds, number + len(family)))
            pair, label = f"real/{number}.flac", int(bool(family))
            rows.append(VoiceRow(path, label, "s", family, speaker, pair, "", "", 0, family, label))
    cache = cache_of(tmp_path, rows)
    family = measuring_family(read_voice_folds())
    assert family == "own_istft"
    found = spliced_clips(cache, family, 2)
    assert {cache.rows[place].speaker for place, _ in found} == {"a", "b"}
    assert len(spliced_clips(cache, family, 10)) == 3
    for place, made in found:
        assert cache.labels[place] == 0
        assert (made.samples != cache.samples(place)).any()
