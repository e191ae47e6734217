"""Clips as training material: what a batch holds, what a parcel carries, and that both kinds of network learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.manifest import Row
from training.models.output import CLIP_FRAMES, LinearHead, Output
from training.models.registry import Network
from training.models.sequence_rnn import SequenceRnn
from training.video.folds import Fold
from training.video.material import Embedded, Parcel, Pictures, hidden_frames, read_parcel, write_parcel
from training.video.sequence import SequenceSettings, out_of_fold
from training.video.sweep import Sweep, run_sweep

torch.set_num_threads(1)
WIDTH, COUNT = 24, 24


@dataclass(frozen=True)
class Told:
    left_out: float = 0.0
    tremble: float = 0.0
    flicker: float = 0.0


def parcel() -> Parcel:
    """Clips of different lengths; the fakes' first features and their pictures are stronger."""
    rng = np.random.default_rng(0)
    rows, embeddings, pictures = [], [], []
    for place in range(COUNT):
        label = place % 2
        rows.append(Row(f"{place}.mp4", label, f"source_{place // 2}", ("x",), "CC BY", "yes", "video"))
        values = np.abs(rng.normal(1, 0.3, (8 + place, WIDTH)))
        values[:, :6] += 2.0 * label
        embeddings.append(values.astype(np.float16))
        grey = rng.integers(60 + 80 * label, 100 + 80 * label, (5 + place % 12, 32, 32, 1), dtype=np.uint8)
        pictures.append(np.repeat(grey, 3, axis=3))
    alone = tuple(frozenset({str(place // 2)}) for place in range(COUNT))
    return Parcel(tuple(rows), alone, {"frame_cnn": embeddings}, pictures, {"frame_cnn": "ab"})


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_a_parcel_comes_back_as_it_went(tmp_path: Path) -> None:
    sent = parcel()
    write_parcel(tmp_path, sent)
    got = read_parcel(tmp_path)
    assert (got.rows, got.identities, got.weights) == (sent.rows, sent.identities, sent.weights)
    for one, two in zip(sent.embeddings["frame_cnn"], got.embeddings["frame_cnn"], strict=True):
        np.testing.assert_array_equal(one, two)
    for before, after in zip(sent.pictures, got.pictures, strict=True):
        assert before.shape == after.shape
        assert abs(float(before.mean()) - float(after.mean())) < 3  # WebP


def test_an_undisturbed_batch_holds_a_clips_own_frames_forwards_or_backwards() -> None:
    sent = parcel().embeddings["frame_cnn"]
    made = Embedded.of(sent)
    chosen = torch.tensor([0, 23, 3])
    x, mask, truth = made.batch(chosen, torch.tensor([0.0, 1.0, 1.0]), Told(), generator())
    assert x.shape == (3, CLIP_FRAMES, WIDTH)
    assert mask.sum(dim=1).tolist() == [8, 16, 11]
    assert truth.tolist() == [0, 1, 1]
    for item, place in enumerate(chosen.tolist()):
        own = torch.from_numpy(sent[place].astype(np.float32))
        for frame, there in zip(x[item], mask[item], strict=True):
            near = (own - frame).abs().amax(dim=1).min()
            assert near == 0 if there else frame.abs().max() == 0


def test_left_out_frames_never_leave_a_clip_empty() -> None:
    there = torch.ones(200, CLIP_FRAMES, dtype=torch.bool)
    there[:, 3:] = False
    kept = hidden_frames(there, 1.0, generator())
    assert (kept.sum(dim=1) >= 1).all()
    assert not kept[:, 3:].any()
    assert 1 < kept.sum(dim=1).mean() < 3


def test_flicker_turns_some_reals_into_fakes_and_leaves_the_fakes_alone() -> None:
    made = Embedded.of(parcel().embeddings["frame_cnn"])
    chosen = torch.arange(COUNT)
    before = torch.tensor([float(place % 2) for place in range(COUNT)])
    x, _, truth = made.batch(chosen, before, Told(flicker=0.5), generator())
    plain, _, _ = made.batch(chosen, before, Told(), generator())
    assert before.sum() < truth.sum() < COUNT
    assert (truth[before > 0] == 1).all()
    assert x.shape == plain.shape


def test_pictures_are_moved_and_coloured_alike_in_all_frames_of_a_clip() -> None:
    made = Pictures.of([np.repeat(parcel().pictures[0][:1], 6, axis=0), *parcel().pictures[1:3]])
    x, mask, _ = made.batch(torch.tensor([0, 0]), torch.zeros(2), Told(), generator())
    assert mask.sum(dim=1).tolist() == [6, 6]
    assert float(x.abs().max()) < 1.2
    still = x[0, :6] - x[0, :1]
    assert float(still.abs().mean()) < 0.1, "frames that are the same differ by noise alone"
    assert not torch.allclose(x[0], x[1])
    told, there = made.whole(1)
    assert told.shape == (1, CLIP_FRAMES, 3, 32, 32)
    assert there.sum() == len(parcel().pictures[1])


def test_a_network_over_embeddings_learns_what_carries_over_to_other_sources() -> None:
    sent = parcel()
    half = np.arange(COUNT // 2)
    folds = [Fold(half, half + COUNT // 2), Fold(half + COUNT // 2, half)]
    settings = SequenceSettings(steps=40, batch=12, rate=3e-3, kept=0.8)
    found, seconds = out_of_fold(
        Embedded.of(sent.embeddings["frame_cnn"]), sent.rows, folds, lambda: SequenceRnn(WIDTH, "gru"), settings
    )
    assert found[sent.labels == 1].min() > found[sent.labels == 0].max()
    assert seconds > 0


class _Mean(torch.nn.Module):
    """The smallest network over clips."""

    def __init__(self) -> None:
        super().__init__()
        self.head = LinearHead(3, 0.0)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> Output:
        weights = (mask / mask.sum(dim=1, keepdim=True).clamp(min=1))[:, :, None, None, None]
        return self.head((x * weights).sum(dim=1))  # type: ignore[no-any-return]


def test_a_sweep_tries_chooses_and_leaves_a_run_that_tells_its_data(tmp_path: Path) -> None:
    entry = Network("mean", "hybrid", "clip", _Mean, _Mean, 32, CLIP_FRAMES)
    usual = SequenceSettings(steps=30, batch=12, rate=0.1, kept=0.5)
    variants = {"still": replace(usual, rate=1e-9), "usual": usual}
    run_sweep(Sweep(entry, parcel()), tmp_path, variants, 5.0, 2)
    assert {file.name for file in tmp_path.iterdir()} == {
        *("last.pt", "scores.json", "calibration.json", "facts.json", "sweep.json", "sweep.npz")
    }
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert '"variant": "usual"' in state["result"]
    assert '"CC BY"' in state["trained_on"]
    assert np.load(tmp_path / "sweep.npz")["logits"].shape == (3, COUNT)  # two variants, one of them twice


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_other_settings_of_dropout_reach_the_network(cell: str) -> None:
    assert SequenceRnn(WIDTH, cell, dropout=0.1).dropout == 0.1  # type: ignore[arg-type]
