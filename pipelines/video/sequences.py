"""Networks over many frames: a track's embeddings in stretches, and what each network says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cards.card import ModelCard
from pipelines.infer import Batch, Infer, digest_hex, run_batches

Floats = NDArray[np.float32]
EMBEDDINGS_OF = {"clip_head": "portrait_cnn", "sequence_gru": "portrait_cnn", "sequence_rnn": "portrait_cnn"}
USUAL = "frame_cnn"


def embeddings_of(network: str) -> str:
    """Whose embeddings a network over many frames takes."""
    return EMBEDDINGS_OF.get(network, USUAL)


def stretches(count: int, frames: int) -> list[slice]:
    """Stretches of ``frames`` frames that cover ``count`` frames, each overlapping the one before by half at least."""
    if count <= frames:
        return [slice(0, count)]
    starts = np.linspace(0, count - frames, 1 + int(np.ceil((count - frames) / (frames / 2)))).round().astype(int)
    return [slice(start, start + frames) for start in starts.tolist()]


def stretched(embeddings: NDArray[np.floating[Any]], frames: int) -> tuple[Floats, Floats]:
    """Embeddings [k, d] as float32 [n, frames, d] and a mask [n, frames], 1 for a frame that is there."""
    parts = stretches(len(embeddings), frames)
    told = np.zeros((len(parts), frames, embeddings.shape[1]), np.float32)
    mask = np.zeros((len(parts), frames), np.float32)
    for item, part in enumerate(parts):
        told[item, : part.stop - part.start] = embeddings[part]
        mask[item, : part.stop - part.start] = 1
    return told, mask


def ask_sequences(
    infer: Infer, cards: Sequence[ModelCard], embeddings: Mapping[int, Mapping[str, Floats]]
) -> tuple[dict[int, dict[str, NDArray[np.float64]]], dict[str, str]]:
    """What each network says of each track.

    Args:
        cards: of the networks; their first dimension of EMBEDDINGS is the number of frames that they take.
        embeddings: float32 [k, d] of each track, by its number and by the network that they are of.

    Returns:
        Raw logits of the stretches by track and network, and the sha256 of the weights that ran, by network.
    """
    found: dict[int, dict[str, NDArray[np.float64]]] = {number: {} for number in embeddings}
    weights: dict[str, str] = {}
    if not embeddings:
        return found, weights
    for card in cards:
        frames = card.input_named("EMBEDDINGS").shape[0]
        source = embeddings_of(card.name)
        parts = [stretched(rows, frames) for rows in (each[source] for each in embeddings.values())]
        inputs = {"EMBEDDINGS": np.concatenate([p for p, _ in parts]), "MASK": np.concatenate([m for _, m in parts])}
        batch = Batch(card.name, inputs, ("LOGIT", "RECORD"), card.max_batch_size)
        answer = run_batches(infer, [batch])[card.name]
        weights[card.name] = digest_hex(answer["RECORD"][0])
        ends = np.cumsum([len(mask) for _, mask in parts])[:-1]
        for number, logits in zip(embeddings, np.split(answer["LOGIT"][:, 0].astype(np.float64), ends)):
            found[number][card.name] = logits
    return found, weights
