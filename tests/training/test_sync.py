"""Lip-sync in training: groups that stay together, batches whose truth is known, and a network that learns it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.video.lips import MEASURES, Lips
from training.models.lip_sync import LipSync
from training.sync.batches import FRAMES, REACH, Talk, draw, ready
from training.sync.cache import TalkingClip
from training.sync.folds import folds_of, groups_of
from training.sync.measure import Guess, guesses, summary
from training.sync.train import OWN, OwnOffsets, Plan, agreement, fit, sync_loss


def talk(name: str, group: str, late: int = 0, frames: int = 120, seed: int = 0) -> Talk:
    """A clip whose lips follow a curve that its sound repeats ``late`` frames later."""
    rng = np.random.default_rng(seed)
    curve = np.convolve(rng.standard_normal(frames + 40), np.ones(3) / 3, mode="same")
    lips = np.zeros((frames, MEASURES), np.float32)
    lips[:, :5] = 3 * curve[20 : 20 + frames, None]
    mel = rng.standard_normal((4 * frames, 40)).astype(np.float32) * 0.3
    mel[:, :20] += 3 * np.repeat(curve[20 - late : 20 - late + frames], 4)[:, None]
    ones = np.ones(frames, np.float32)
    return Talk(name, group, 0, lips, mel[None], ones, ones.astype(bool))


def clip(path: str, source: str, label: int = 0, identities: tuple[str, ...] = ()) -> TalkingClip:
    nothing = Lips(0.0, np.zeros((60, MEASURES), np.float32), np.ones(60, bool))
    return TalkingClip(path, source, label, identities, nothing, np.zeros(40_000, np.float32), np.ones(79, np.float32))


def test_what_shares_a_source_or_a_person_stays_together() -> None:
    clips = [
        clip("a/1.mp4", "a", identities=("clips:x",)),
        clip("a/2.mp4", "a"),
        clip("b/1.mp4", "b", label=1, identities=("clips:x",)),
        clip("c/1.mp4", "c"),
        clip("real_clips/p_1.mp4", "real_clips"),
        clip("real_clips/p_2.mp4", "real_clips"),
        clip("real_clips/q_1.mp4", "real_clips"),
    ]
    groups = groups_of(clips)
    assert groups[0] == groups[1] == groups[2]
    assert groups[4] == groups[5]
    assert len(set(groups)) == 4
    folds = folds_of(groups, 2)
    assert set(folds) == set(groups)
    assert set(folds.values()) == {0, 1}


def test_a_batch_knows_where_its_sound_begins() -> None:
    talks = [talk("a", "a"), talk("b", "b", seed=1, frames=75)]
    lips, mel, begins, which = draw(talks, 16, np.random.default_rng(0))
    assert lips.shape == (16, FRAMES, MEASURES)
    assert mel.shape == (16, 4 * (FRAMES + 2 * REACH), 40)
    assert set(which.tolist()) == {0, 1}
    for item in range(16):
        own = lips[item, :, 0].numpy()
        sound = mel[item].reshape(-1, 4, 40).mean(dim=(1, 2)).numpy()
        rows = [float(np.corrcoef(own, sound[p : p + FRAMES])[0, 1]) for p in range(2 * REACH + 1)]
        assert abs(int(np.argmax(rows)) - int(begins[item])) <= 1


def test_the_loss_prefers_the_true_offset_and_forgives_a_clips_own() -> None:
    lips = torch.nn.functional.normalize(torch.randn(3, FRAMES, 8, generator=torch.manual_seed(0)), dim=2)
    sound = torch.nn.functional.normalize(torch.randn(3, FRAMES + 30, 8), dim=2)
    begins = torch.tensor([4, 15, 26])
    for item, begin in enumerate(begins):
        sound[item, begin : begin + FRAMES] = lips[item]
    weight = torch.full((3, FRAMES), 1 / FRAMES)
    scores = agreement(lips, sound, weight)
    assert scores.shape == (3, 3, 31)
    assert [int(scores[i, i].argmax()) for i in range(3)] == begins.tolist()
    own, scale = OwnOffsets(3)(torch.arange(3)), torch.tensor(3.0)
    right, near, wrong = (sync_loss(scores, begins + by, own, scale).item() for by in (0, -2, -5))
    assert right < near < wrong
    assert OwnOffsets(2).expected() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert OwnOffsets(2)(torch.tensor([0])).shape == (1, 2 * OWN + 1)


def test_a_short_training_finds_the_shift_of_an_unseen_clip() -> None:
    torch.set_num_threads(1)
    taught = [talk(f"t{i}", f"g{i}", seed=i) for i in range(6)]
    network, own = fit(taught, Plan(steps=60, batch=8, hidden=16), seed=1)
    assert set(own) == {each.name for each in taught}
    fresh = talk("new", "new", seed=99)
    with torch.inference_mode():
        mouth = network.see(torch.from_numpy(fresh.lips[None]))[0].numpy()
        sound = network.hear(torch.from_numpy(fresh.mels[:1]))[0].numpy()
    found = guesses(fresh, mouth, sound)
    assert {guess.shift for guess in found} == {0, 2, -2, 5, -5, 10, -10}
    told = summary(found)
    assert told["right"] > 0.9
    assert told["change_right"] == 1.0


def test_a_clips_own_offset_is_told_apart_from_the_shift() -> None:
    found = [Guess("late", "g", shift, shift + 3, 0.5) for shift in (0, 2, 5) for _ in range(4)]
    told = summary(found)
    assert told["right"] == 0.0
    assert told["right_of_own"] == 1.0
    assert told["by_clip"]["late"]["own_offset"] == 3.0


def test_sound_of_a_clip_is_cut_where_its_lips_begin() -> None:
    one = clip("a/1.mp4", "a")
    late = TalkingClip("a/1.mp4", "a", 0, (), Lips(1.0, one.lips.measures, one.lips.seen), one.samples, one.speech)
    assert len(ready(one, "a")) == 60
    assert len(ready(late, "a")) == 37
    assert ready(one, "a", variants=2).mels.shape == (3, 240, 40)


def test_both_towers_take_any_length() -> None:
    network = LipSync(hidden=8).eval()
    for frames in (1, 5, 64, 101):
        mouth, sound = network(torch.zeros(2, frames, MEASURES), torch.zeros(2, 4 * frames, 40))
        assert mouth.shape == sound.shape == (2, frames, 32)
