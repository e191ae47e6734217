"""Embeddings of the frames of tracks by a shipped network: what sequence networks are trained on and served with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cards.repository import ModelRepository
from pipelines.image.align import align_faces
from pipelines.infer import run_in_batches
from pipelines.onnx_infer import OnnxInfer
from pipelines.video.sequences import embeddings_of
from training.data.tracks import MARGIN, SIDE, TrackCache
from training.models.registry import Base

NETWORK = embeddings_of("sequence_rnn")


def embedded_by(repository: ModelRepository) -> dict[str, str]:
    """What the record of a sequence network says of its embeddings: it is sound with these weights alone."""
    return {
        "embeddings_of": NETWORK,
        "embeddings_weights_sha256": repository.record(NETWORK).weights_sha256 or "",
    }


def base_of(repository: ModelRepository) -> Base:
    """The embedding network as what a sequence network builds on; without a record its terms are not known."""
    there = repository.versions(NETWORK) and repository.has_record(NETWORK)
    record = repository.record(NETWORK) if there else None
    return Base(NETWORK, (record and record.licence) or "not told", bool(record and record.commercial))


def embed_tracks(
    tracks: TrackCache,
    repository: ModelRepository,
    file: Path,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> npt.NDArray[np.float32]:
    """Embeddings float32 [n, t, d], zeros where a frame is missing; cached in ``file`` (``.npy``).

    The cache is used again where tracks and weights are the same.

    Args:
        repository: where ``NETWORK`` is; its card says how crops are cut.
        told: called with the tracks done and their number.
    """
    card = repository.card(NETWORK)
    assert card.preprocessing is not None
    size, margin = card.preprocessing.size, card.preprocessing.margin
    digest = hashlib.sha256((repository.record(NETWORK).weights_sha256 or "").encode())
    for row, mask in zip(tracks.rows, tracks.mask, strict=True):
        digest.update(f"{row.path} {mask.tolist()}".encode())
    digest.update(np.ascontiguousarray(tracks.crops[:, :, ::16, ::16]).tobytes())
    key = file.with_suffix(".key")
    if file.is_file() and key.is_file() and key.read_text(encoding="utf-8") == digest.hexdigest():
        return np.asarray(np.load(file), np.float32)
    width = next(tensor.shape[0] for tensor in card.outputs if tensor.name == "EMBEDDING")
    result = np.zeros((*tracks.mask.shape, width), np.float32)
    infer = OnnxInfer(repository)
    try:
        for number in range(len(tracks)):
            told(number, len(tracks))
            places = np.flatnonzero(tracks.mask[number])
            crops = np.ascontiguousarray(tracks.crops[number, places])
            if (size, margin) != (SIDE, MARGIN):
                points = tracks.landmarks[number, places]
                cut = [align_faces(crop, each[None], size, margin)[0] for crop, each in zip(crops, points, strict=True)]
                crops = np.stack(cut)
            answer = run_in_batches(infer, NETWORK, "IMAGES", crops, ("EMBEDDING",), card.max_batch_size)
            result[number, places] = answer["EMBEDDING"]
    finally:
        infer.close()
    told(len(tracks), len(tracks))
    file.parent.mkdir(parents=True, exist_ok=True)
    key.unlink(missing_ok=True)
    np.save(file, result)
    key.write_text(digest.hexdigest(), encoding="utf-8")
    return result
