"""Which voice networks the verdict asks, and how far its scale carries to sources that it was not fitted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.audio.windows import CELL, CELLS, RATE, SAMPLES
from training.audio import heard
from training.audio.cache import cache_of
from training.audio.conditions import MEASURES
from training.audio.crossing import crossed
from training.audio.fuse import fuse
from training.audio.heard import HeardWindows
from training.audio.manifest import VoiceRow
from training.audio.members import Members
from training.audio.pairs import HELD, HELD_SPEAKERS, aside, held_out
from training.audio.scale import fit_verdict
from training.audio.scored import Scored, mass_of
from training.audio.sounds import write_sound
from training.models.output import VoiceOutput

CLIPS = 120
SOURCES = np.array([f"source_{number % 6}" for number in range(CLIPS)])


def members(spread: tuple[float, ...], seed: int = 1) -> Members:
    """Real clips and a copy of each by either of two families, clean and in one condition; a member sees the class
    through noise of this deviation."""
    rng = np.random.default_rng(seed)
    label = np.tile([0, 1, 1], 2 * CLIPS).astype(np.int64)
    own = np.tile(np.repeat(np.arange(CLIPS), 3), 2)
    family = np.where(label == 1, np.tile(["", *HELD[:2]], 2 * CLIPS), SOURCES[own])
    condition = np.repeat([0, 1], 3 * CLIPS)
    logits = np.stack([2.0 * label - 1 + each * rng.standard_normal(len(label)) for each in spread], axis=1)
    quality = np.tile([30.0, 8000.0, 0.0, 4.0, 0.0, 0.0, -60.0, -20.0], (len(label), 1))
    assert quality.shape[1] == len(MEASURES)
    row = 3 * own + np.tile([0, 1, 2], 2 * CLIPS)
    scored = Scored(np.zeros(len(label)), label, family, condition, quality, row)
    return Members(scored, 3 * own, SOURCES[own], logits, tuple(f"voice_{n}" for n in range(len(spread))))


def test_a_member_that_says_nothing_is_left_out_unless_it_is_kept() -> None:
    held = members((1.0, 30.0))
    mass = mass_of(held.scored)
    assert set(fuse(held, held.logits, mass)) == {"voice_0"}
    assert set(fuse(held, held.logits, mass, ("voice_1",))) == {"voice_0", "voice_1"}


def test_two_members_that_err_apart_both_stay() -> None:
    held = members((1.5, 1.5))
    weights = fuse(held, held.logits, mass_of(held.scored))
    assert set(weights) == {"voice_0", "voice_1"}
    assert min(weights.values()) > 0.3


def test_clips_of_two_caches_stay_apart() -> None:
    first, second = members((1.0,)), members((1.0,), seed=2)
    both = Members.join([first, second])
    assert len(np.unique(both.own)) == 2 * CLIPS
    assert len(np.unique(both.scored.row)) == 6 * CLIPS
    assert both.logits.shape == (12 * CLIPS, 1)


def test_what_was_fitted_without_a_source_judges_it_as_well_where_sources_are_alike() -> None:
    held = members((0.7,))
    fused, group = held.logits[:, 0], np.unique(held.source, return_inverse=True)[1]
    log_odds, flagged, drowned = crossed(fused, held.scored, group, {}, 9.0)
    reals = held.scored.label == 0
    assert not drowned.any()
    assert flagged[reals].mean() < 0.1
    assert flagged[~reals].mean() > 0.7
    # The scale is that of all together: the data hold the same class for the same score everywhere.
    whole = fit_verdict({"voice_0": 1.0}, fused, held.scored, mass_of(held.scored))
    told = whole.bias + whole.weights["voice_0"] * fused
    assert np.abs(told - log_odds).mean() < 0.5


def test_a_source_whose_scores_lie_elsewhere_shows_when_it_is_left_out() -> None:
    held = members((0.7,))
    moved = held.logits[:, 0] + 2.0 * (held.source == "source_0")
    group = np.unique(held.source, return_inverse=True)[1]
    _, flagged, _ = crossed(moved, held.scored, group, {}, 9.0)
    reals = held.scored.label == 0
    assert flagged[reals & (held.source == "source_0")].mean() > 0.5
    assert flagged[reals & (held.source != "source_0")].mean() < 0.1


def test_speakers_and_families_that_stand_aside_train_nothing() -> None:
    rows = [
        VoiceRow(f"{family}/{fold}", int(bool(family)), "own", family, str(fold), f"/{fold}", "", "", fold, family, 1)
        for fold in range(6)
        for family in ("", "hifigan", "world", HELD[0])
    ]
    cache = cache_of(Path(), rows)
    train, held = held_out(cache)
    kept = aside(cache)
    assert not (train & kept).any()
    assert (held <= kept).all()
    assert not kept[[n for n, row in enumerate(rows) if row.family == "world" and row.fold != HELD_SPEAKERS]].any()


class Loudness(nn.Module):
    """The mean square of what the mask leaves, as a logit."""

    def forward(self, audio: torch.Tensor, mask: torch.Tensor) -> VoiceOutput:
        cover = mask.repeat_interleave(CELL, dim=1)[:, :SAMPLES]
        value = ((audio * cover) ** 2).sum(dim=1, keepdim=True) / cover.sum(dim=1, keepdim=True)
        return VoiceOutput(value, value, value)


def test_windows_are_heard_once_and_go_on_after_a_call_that_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    rows = []
    for number in range(2):
        path = f"real/own/{number}.flac"
        time = np.arange(3 * RATE) / RATE
        voice = 0.2 * np.sign(np.sin(2 * np.pi * 130 * time)) * (1 + np.sin(2 * np.pi * 3 * time)) / 2
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        write_sound(tmp_path / path, (voice + 1e-3 * rng.standard_normal(len(time))).astype(np.float32))
        rows.append(VoiceRow(path, 0, "own", "", str(number), path, "own", "yes", number, seconds=3.0))
    cache = cache_of(tmp_path, rows)
    monkeypatch.setattr(heard, "speech_of", lambda sound, infer: np.ones(len(sound) // CELL, np.float32))
    windows = HeardWindows(cache)
    first = windows.entries([0], ("clean", "white_20"))
    assert [each.condition for each in first] == ["clean", "white_20"]
    assert all(0 < cells <= CELLS for each in first for cells in each.cells)
    (sound,) = (tmp_path / "features").glob("*-heard.f32")
    with sound.open("ab") as handle:
        handle.write(b"cut off")
    again = HeardWindows(cache)
    monkeypatch.setattr(again, "_hear", lambda *_: pytest.fail("was heard before"))
    assert again.entries([0], ("clean", "white_20")) == first
    whole = HeardWindows(cache).entries([0, 1], ("clean", "white_20"))
    assert whole[:2] == first
    logits = HeardWindows(cache).logits(Loudness(), whole)
    # The level of speech is set, and noise at 20 dB adds a hundredth of it.
    assert logits == pytest.approx(0.06**2, rel=0.2)
