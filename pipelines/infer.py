"""The seam between analysis and inference: who runs the networks is somebody else's business.

Three implementations: in process (:mod:`pipelines.onnx_infer`), inside Triton
(:mod:`pipelines.triton.bls`), and through Triton (the client's transport).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Call:
    """One call of a network: named inputs with a batch dimension, and the outputs that are wanted."""

    model: str
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]


class Infer(Protocol):
    """Runs networks."""

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        """Run independent calls, side by side where the implementation can, and answer in order.

        Raises:
            deepscan_client.errors.ServiceError: a network did not answer.
            deepscan_client.errors.InstallationError: a network is missing or damaged.
        """
        ...


@dataclass(frozen=True)
class Batch:
    """Items for one model, in any number above 0, and the largest batch that it takes."""

    model: str
    inputs: Mapping[str, Array]
    """By name, each with one row an item."""
    outputs: tuple[str, ...]
    largest: int


def run_batches(infer: Infer, batches: Sequence[Batch]) -> dict[str, Arrays]:
    """Run the items of several models, cut at each model's largest batch; answers by model, joined in order.

    All parts of all models go in with one ``run``, so that they can run side by side.

    Args:
        infer: runs the parts.
        batches: at most one for each model.
    """
    calls = [
        Call(
            batch.model,
            {name: rows[start : start + batch.largest] for name, rows in batch.inputs.items()},
            batch.outputs,
        )
        for batch in batches
        for start in range(0, len(next(iter(batch.inputs.values()))), batch.largest)
    ]
    parts: dict[str, list[Arrays]] = {}
    for call, answer in zip(calls, infer.run(calls), strict=True):
        parts.setdefault(call.model, []).append(answer)
    return {
        batch.model: {key: np.concatenate([answer[key] for answer in parts[batch.model]]) for key in batch.outputs}
        for batch in batches
    }


def run_in_batches(infer: Infer, model: str, name: str, items: Array, outputs: tuple[str, ...], largest: int) -> Arrays:
    """:func:`run_batches` for one model with one input."""
    return run_batches(infer, [Batch(model, {name: items}, outputs, largest)])[model]


def digest_words(sha256_hex: str) -> NDArray[np.int32]:
    """A sha256 as the eight big-endian int32 values of a network's RECORD output, shape [8]."""
    return np.frombuffer(bytes.fromhex(sha256_hex), dtype=">i4").astype(np.int32)


def digest_hex(words: Array) -> str:
    """The sha256 that :func:`digest_words` packed."""
    return bytes(np.asarray(words, dtype=np.int32).astype(">i4").tobytes()).hex()
