"""Pooling over the frames of a face, stretches of embeddings, and the timeline."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from cards.card import ModelCard, Tensor
from pipelines.infer import Arrays, Call
from pipelines.video.pooling import pooled
from pipelines.video.sequences import ask_sequences, stretched, stretches
from pipelines.video.timeline import stretches_of


def test_a_few_bad_frames_decide_nothing() -> None:
    values = np.full(20, -2.0)
    values[[3, 9, 15]] = 40.0
    assert pooled(values, np.ones(20)) == pytest.approx(-2.0)
    assert pooled(np.array([-2.0, -2.0, -2.0, -2.0, 40.0]), np.array([1.0, 1, 1, 1, 0])) == pytest.approx(-2.0)


def test_the_worst_frames_by_quality_are_left_out() -> None:
    values = np.concatenate([np.zeros(15), np.full(5, 3.0)])
    quality = np.concatenate([np.ones(15), np.full(5, 0.1)])
    assert pooled(values, quality) == 0.0
    assert pooled(values, quality[::-1].copy()) > 0.5


def test_one_frame_is_its_own_value() -> None:
    assert pooled(np.array([1.5]), np.array([0.0])) == 1.5


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40, 300])
def test_stretches_cover_every_frame_and_overlap(count: int) -> None:
    parts = stretches(count, 16)
    assert sorted({place for part in parts for place in range(part.start, part.stop)}) == list(range(count))
    assert all(part.stop - part.start == min(16, count) for part in parts)
    assert all(after.start - before.start <= 8 for before, after in itertools.pairwise(parts))


def test_a_short_track_is_masked() -> None:
    told, mask = stretched(np.ones((5, 3), np.float32), 16)
    assert told.shape == (1, 16, 3)
    assert mask[0].tolist() == [1.0] * 5 + [0.0] * 11
    assert told[0, 5:].sum() == 0


class _Means:
    """Answers the mean of what is there."""

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        answers = []
        for call in calls:
            told, mask = call.inputs["EMBEDDINGS"], call.inputs["MASK"]
            means = told[..., 0].sum(axis=1) / mask.sum(axis=1)
            answers.append({"LOGIT": means[:, None], "RECORD": np.zeros((len(told), 8), np.int32)})
        return answers


def test_each_network_is_asked_about_each_track_with_the_embeddings_that_it_takes() -> None:
    def card(name: str) -> ModelCard:
        tensors = (
            Tensor(name="EMBEDDINGS", dtype="FP32", shape=(16, 1)),
            Tensor(name="MASK", dtype="FP32", shape=(16,)),
        )
        return ModelCard(
            name=name, kind="network", title="", description="", inputs=tensors, outputs=(), max_batch_size=4
        )

    rows = {
        number: {
            "frame_cnn": np.full((count, 1), number, np.float32),
            "portrait_cnn": np.full((count, 1), 9, np.float32),
        }
        for number, count in ((2, 5), (7, 60))
    }
    found, weights = ask_sequences(_Means(), [card("sequence_new"), card("clip_head")], rows)
    assert found[2]["sequence_new"].tolist() == [2.0]
    assert found[7]["sequence_new"].tolist() == [7.0] * len(stretches(60, 16))
    assert set(found[7]["clip_head"].tolist()) == {9.0}
    assert set(weights) == {"sequence_new", "clip_head"}
    assert ask_sequences(_Means(), [card("clip_head")], {}) == ({}, {})


def test_the_timeline_tells_the_strongest_face_and_leaves_gaps() -> None:
    times = np.arange(10) / 5
    rows = stretches_of([(times, np.full(10, -1.0)), (times[:5], np.full(5, 2.0))], 0.2, 4.0)
    assert rows == [(0.0, 1.0, 2.0), (1.0, 2.0, -1.0)]
    assert len(stretches_of([(np.arange(300) * 12.0, np.zeros(300))], 12.0, 3600.0)) <= 240
