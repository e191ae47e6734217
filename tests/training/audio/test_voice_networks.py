"""Training of the convolutional voice networks: pairs, cheap damage, a run that leaves what exports need."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.audio.windows import CELL, CELLS, SAMPLES
from training.audio.cache import VoiceCache, cache_of
from training.audio.cuts import write_packs
from training.audio.manifest import VoiceRow
from training.audio.network_runs import finish
from training.audio.networks import Recipe, train_network
from training.audio.pairs import (
    HELD,
    HELD_SPEAKERS,
    STEP,
    Cut,
    Pairs,
    held_out,
    masks,
    packed,
    read_packs,
    rehearsal,
    unpacked,
)
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


def test_pairs_hold_a_real_window_and_its_copy_and_nothing_that_stands_aside() -> None:
    cache, cut = made()
    train, held = held_out(cache)
    assert not (train & held).any()
    families = cache.column("family")
    assert not (train & np.isin(families, HELD)).any()
    assert all(row.fold == HELD_SPEAKERS for row, kept in zip(cache.rows, held) if kept)
    source = Pairs(cache, cut, train, 1, torch.device("cpu"))
    assert len(source) == 10
    audio, cells = source.batch(12)
    assert audio.shape == (12, 2, SAMPLES)
    assert masks(cells).sum(dim=1).tolist() == cells.tolist()
    assert 60 <= int(cells.min()) < CELLS
    reals = {number: cut.audio[3 * number] * STEP for number in range(12)}
    for pair, count in zip(audio.numpy(), cells.tolist(), strict=True):
        assert not pair[:, count * CELL :].any()
        places = [
            (number, start)
            for number, real in reals.items()
            for start in range(CELLS - count + 1)
            if np.array_equal(real[start * CELL :][:900], pair[0, :900].astype(np.float64))
        ]
        assert len(places) == 1
        assert cache.rows[3 * places[0][0]].fold != HELD_SPEAKERS
        assert np.corrcoef(pair[0, :900], pair[1, :900])[0, 1] > 0.4


@pytest.mark.filterwarnings("ignore")
def test_a_run_is_measured_on_what_stands_aside_and_can_be_read(tmp_path: Path) -> None:
    torch.manual_seed(1)
    cache, cut = made()
    train_network("voice_mfcc", cache, cut, Recipe(minutes=0.02, pairs=2), tmp_path)
    finish(tmp_path, cache)
    entry, _, state = read_checkpoint(tmp_path / "model.pt", "voice_mfcc")
    assert entry.family == "audio"
    result = json.loads(state["result"])
    assert result["steps"] >= 1
    assert 0.0 <= result["held_out_auc"] <= 1.0
    assert json.loads(state["settings"])["pairs"] == 2
    with np.load(tmp_path / "held.npz") as held:
        assert sorted(held["paths"]) == [f"{HELD[0]}/11", f"{HELD[0]}/5", "real/11", "real/5"]
    sources = json.loads(state["trained_on"])
    assert {each["generator"] for each in sources} == {"", "hifigan"}
    assert json.loads((tmp_path / "calibration.json").read_text())["calibration"]["slope"] > 0


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_goes_on_begins_with_the_other_and_names_what_that_has_seen(tmp_path: Path) -> None:
    cache, cut = made()
    before = tmp_path / "before"
    train_network("voice_mfcc", cache, cut, Recipe(minutes=0.02, pairs=2), before)
    finish(before, cache)
    state = torch.load(before / "model.pt", weights_only=True)
    seen = json.loads(state["trained_on"])
    torch.save({**state, "trained_on": json.dumps([*seen, seen[0] | {"source": "elsewhere"}])}, before / "model.pt")
    after = tmp_path / "after"
    train_network("voice_mfcc", cache, cut, Recipe(steps=1, minutes=1.0, pairs=2, rate=0.0), after, before)
    finish(after, cache)
    ours, theirs = (read_checkpoint(run / "model.pt", "voice_mfcc") for run in (after, before))
    audio = 0.06 * torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        told = [each[1].eval()(audio, torch.ones(2, CELLS)).logit for each in (ours, theirs)]
    assert (told[0] - told[1]).abs().max() < 0.2
    assert {each["source"] for each in json.loads(ours[2]["trained_on"])} == {"own", "elsewhere"}
    assert json.loads(ours[2]["settings"])["begun_from"] == "before"


def test_a_rehearsal_measures_inside_what_trains_alone() -> None:
    cache, _ = made()
    whole, held = held_out(cache)
    train, told = rehearsal(cache, ["hifigan"], 4)
    assert not (train & told).any()
    assert not (train & ~whole).any()
    assert not (told & ~whole).any()
    assert not (told & held).any()
    families = cache.column("family")
    assert sorted(set(families[told])) == ["", "hifigan"]
    assert {row.fold for row, kept in zip(cache.rows, told) if kept} == {4}
    assert not (train & (families == "hifigan")).any()


def test_training_ends_by_minutes_or_by_steps() -> None:
    assert Recipe(minutes=2).done(60, 10_000) == 0.5
    assert Recipe(minutes=2, steps=100).done(60, 75) == 0.75
    assert Recipe(minutes=2, steps=100).done(119, 1) > 0.99
    assert Recipe(minutes=0).done(0.1, 0) == 1.0


def test_a_run_that_saw_what_stands_aside_is_refused(tmp_path: Path) -> None:
    cache, cut = made()
    train_network("voice_mfcc", cache, cut, Recipe(minutes=0, pairs=2), tmp_path)
    told = torch.load(tmp_path / "trained.pt", weights_only=True)
    torch.save({**told, "paths": [*told["paths"], "real/5"]}, tmp_path / "trained.pt")
    with pytest.raises(ValueError, match="stand aside"):
        finish(tmp_path, cache)
    torch.save({**told, "paths": ["real/none"]}, tmp_path / "trained.pt")
    with pytest.raises(ValueError, match="not in the cache"):
        finish(tmp_path, cache)


def test_packed_windows_come_back_bit_for_bit() -> None:
    rng = np.random.default_rng(4)
    for sound in (rng.integers(-32768, 32768, 5000), np.zeros(700), np.tile([32767, -32768], 300)):
        whole = sound.astype(np.int16)
        assert np.array_equal(unpacked(packed(whole)), whole)


def test_packs_hold_whole_groups_and_what_stands_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, cut = made()
    monkeypatch.setattr("training.audio.cuts.speech_of_cache", lambda cache: [np.ones(CELLS, np.float32)] * len(cache))
    monkeypatch.setattr(type(cache), "samples", lambda self, index: cut.audio[index] * np.float32(STEP))
    folders = [tmp_path / "a", tmp_path / "b"]
    count = write_packs(cache, cut, folders, 2_500_000, copies=1)
    packs, found = read_packs(folders)
    assert len(found.clip) == count
    assert all(0 < (folder / "windows.xz").stat().st_size <= 2_500_000 for folder in folders)
    train, held = held_out(packs)
    ours = {row.path: number for number, row in enumerate(cache.rows)}
    assert sum(held[found.clip]) == 4
    assert train.sum() >= 20
    for window, clip in enumerate(found.clip):
        path = packs.rows[clip].path
        if "#" not in path:
            assert np.array_equal(found.audio[window][: found.cells[window] * CELL], cut.audio[ours[path]][:SAMPLES])
    coded = [row for row in packs.rows if "#" in row.path]
    assert {row.label for row in coded} == {0, 1}
    assert (packs.partner[packs.labels == 1] >= 0).all()
    source = Pairs(packs, found, train, 1, torch.device("cpu"))
    assert len(source) == sum(train[found.clip] & (packs.labels[found.clip] == 0))
