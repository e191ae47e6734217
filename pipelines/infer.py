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


def run_in_batches(infer: Infer, model: str, name: str, items: Array, outputs: tuple[str, ...], largest: int) -> Arrays:
    """Run ``items`` (a batch of any length above 0) cut at the model's largest batch.

    All parts go in with one ``run``, so that they can run side by side.
    """
    parts = [items[start : start + largest] for start in range(0, len(items), largest)]
    answers = infer.run([Call(model, {name: part}, outputs) for part in parts])
    return {key: np.concatenate([answer[key] for answer in answers]) for key in outputs}


def digest_words(sha256_hex: str) -> NDArray[np.int32]:
    """A sha256 as the eight big-endian int32 values of a network's RECORD output, shape [8]."""
    return np.frombuffer(bytes.fromhex(sha256_hex), dtype=">i4").astype(np.int32)


def digest_hex(words: Array) -> str:
    """The sha256 that :func:`digest_words` packed."""
    return bytes(np.asarray(words, dtype=np.int32).astype(">i4").tobytes()).hex()
