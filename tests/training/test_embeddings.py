"""Tracks are embedded by the network whose embeddings the served sequence networks take."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cards import ModelRepository
from pipelines.image.align import align_faces
from pipelines.infer import run_in_batches
from pipelines.onnx_infer import OnnxInfer
from pipelines.video.sequences import embeddings_of
from training.data.manifest import Row
from training.data.tracks import TrackCache
from training.embeddings import NETWORK, embed_tracks, embedded_by

POINTS = np.array([[60, 70], [100, 70], [80, 92], [64, 112], [96, 112]], np.float32)


def test_frames_are_cut_and_embedded_as_serving_does(tmp_path: Path) -> None:
    repository = ModelRepository()
    crops = np.random.default_rng(1).integers(0, 256, (1, 16, 160, 160, 3), dtype=np.uint8)
    mask = np.array([[1, 1] + [0] * 14], np.uint8)
    rows = [Row("a.mp4", 0, "s", (), "", "no", "video")]
    points = np.broadcast_to(POINTS, (1, 16, 5, 2)).copy()
    tracks = TrackCache(crops, mask, points, np.ones(1, np.float32), np.zeros(1, np.int32), rows)
    found = embed_tracks(tracks, repository, tmp_path / "embeddings.npy")
    assert not found[0, 2:].any()
    card = repository.card(embeddings_of("sequence_gru"))
    assert card.name == embeddings_of("sequence_rnn") == NETWORK
    assert card.preprocessing is not None
    size, margin = card.preprocessing.size, card.preprocessing.margin
    cut = np.concatenate([align_faces(crops[0, place], POINTS[None], size, margin) for place in (0, 1)])
    infer = OnnxInfer(repository)
    told = run_in_batches(infer, card.name, "IMAGES", cut, ("EMBEDDING",), card.max_batch_size)["EMBEDDING"]
    infer.close()
    np.testing.assert_allclose(found[0, :2], told, rtol=1e-4, atol=1e-4)


def test_the_record_names_the_weights_that_it_is_sound_with() -> None:
    told = embedded_by(ModelRepository())
    assert told["embeddings_of"] == NETWORK
    assert told["embeddings_weights_sha256"] == ModelRepository().record(NETWORK).weights_sha256
