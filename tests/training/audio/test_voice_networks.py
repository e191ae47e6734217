"""Training of the convolutional voice networks: pairs, cheap damage, a run that leaves what exports need."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.audio.windows import CELL, CELLS, SAMPLES
from training.audio.cache import VoiceCache, cache_of
from training.audio.manifest import VoiceRow
from training.audio.networks import HELD, HELD_SPEAKERS, STEP, Cut, Pairs, damaged, held_out, train_network
from training.models.registry import read_checkpoint


def made(reals: int = 12) -> tuple[VoiceCache, Cut]:
    """Noise as reals; copies are the same, smoothed."""
    rng = np.random.default_rng(1)
    rows, audio = [], []
    for number in range(reals):
        sound = rng.standard_normal(SAMPLES).astype(np.float32) * 0.06
        for family in ("", "hifigan", HELD[0]):
            rows.append(
                VoiceRow(
                    path=f"{family or 'real'}/{number}",
                    label=int(bool(family)),
                    source="own",
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
            smooth = np.convolve(sound, np.ones(3) / 3, mode="same") if family else sound
            audio.append(np.round(smooth / STEP).astype(np.int16))
    count = len(rows)
    clips = np.arange(count, dtype=np.int64)
    return cache_of(Path(), rows), Cut(
        np.stack(audio), np.full(count, CELLS), clips, np.zeros(count, np.int64), np.ones(count, np.float32)
    )


def test_damage_is_the_same_for_both_of_a_pair() -> None:
    rng = np.random.default_rng(2)
    sound = rng.standard_normal(SAMPLES).astype(np.float32) * 0.06
    changed = 0
    for seed in range(12):
        both = damaged(np.stack([sound, sound]), 100, np.random.default_rng(seed))
        np.testing.assert_allclose(both[0], both[1], atol=1e-6)
        assert not both[:, 100 * CELL :].any()
        assert np.isfinite(both).all()
        changed += not np.allclose(both[0, : 90 * CELL], sound[: 90 * CELL], atol=1e-4)
    assert changed >= 6


def test_pairs_hold_a_real_window_and_its_copy_and_nothing_that_stands_aside() -> None:
    cache, cut = made()
    train, held = held_out(cache)
    assert not (train & held).any()
    families = cache.column("family")
    assert not (train & np.isin(families, HELD)).any()
    assert all(row.fold == HELD_SPEAKERS for row, kept in zip(cache.rows, held) if kept)
    audio, mask, labels = Pairs(cache, cut, train, 1).batch(4)
    assert audio.shape == (8, SAMPLES)
    assert mask.shape == (8, CELLS)
    assert labels.tolist() == [0.0, 1.0] * 4


@pytest.mark.filterwarnings("ignore")
def test_a_run_is_measured_on_what_stands_aside_and_can_be_read(tmp_path: Path) -> None:
    torch.manual_seed(1)
    cache, cut = made()
    train_network("voice_mfcc", cache, cut, 0.02, tmp_path, 1e-3, 1)
    entry, _, state = read_checkpoint(tmp_path / "model.pt", "voice_mfcc")
    assert entry.family == "audio"
    result = json.loads(state["result"])
    assert result["steps"] >= 1
    assert 0.0 <= result["held_out_auc"] <= 1.0
    sources = json.loads(state["trained_on"])
    assert {each["generator"] for each in sources} == {"", "hifigan"}
    assert json.loads((tmp_path / "calibration.json").read_text())["calibration"]["slope"] > 0
