"""Networks in this process, by ONNX Runtime: one implementation for any network, from its card.

The same sessions serve the Python backend of Triton's ``cpu`` profile and the inference engine.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime

from cards.card import ModelCard, Precision
from cards.repository import ModelRepository
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from pipelines.infer import Array, Arrays, Call


class OnnxNetwork:
    """One ONNX file ready to run.

    Args:
        card: names, session options.
        path: the ONNX file.
        threads: that work at one layer; as the card says where it is left out.

    Raises:
        InstallationError: the file does not load.
    """

    def __init__(self, card: ModelCard, path: Path, threads: int | None = None) -> None:
        self._card, self._path = card, path
        self._threads = threads or card.session.intra_op_threads
        self._always = frozenset(t.name for t in card.outputs if not t.optional)
        self._lock = threading.Lock()
        self._complete: onnxruntime.InferenceSession | None = None
        if len(self._always) == len(card.outputs):
            self._lean = self._complete = self._load(str(path))
        else:
            self._lean = self._load(_without_optional(card, path))

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Arrays:
        """Run one batch, in pieces where the card says so; outputs by name."""
        session = self._lean if self._always.issuperset(outputs) else self._all_outputs()
        step = self._card.session.together
        count = len(next(iter(inputs.values())))
        if step is None or not self._card.max_batch_size or count <= step:
            return dict(zip(outputs, session.run(list(outputs), dict(inputs)), strict=True))
        parts = [
            session.run(list(outputs), {name: rows[start : start + step] for name, rows in inputs.items()})
            for start in range(0, count, step)
        ]
        return {name: np.concatenate(rows) for name, *rows in zip(outputs, *parts, strict=True)}

    def _all_outputs(self) -> onnxruntime.InferenceSession:
        """The session that computes everything, loaded at its first use: heat maps are asked for rarely."""
        with self._lock:
            if self._complete is None:
                self._complete = self._load(str(self._path))
            return self._complete

    def _load(self, model: str | bytes) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = self._card.session.inter_op_threads
        # A spinning thread takes a core from the other instances (recipes: 203 against fewer requests/s).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own untyped errors
            raise _does_not_load(self._card, self._path, error) from error


def _without_optional(card: ModelCard, path: Path) -> bytes:
    """The graph without what only its optional outputs need: ONNX Runtime computes all that a file names.

    Raises:
        InstallationError: the file is none, or lacks a tensor that the card names.
    """
    import onnx  # the only place of serving that needs it, and it takes 0.2 s to import
    from onnx.utils import Extractor

    try:
        whole = Extractor(onnx.load(str(path)))
        names = [t.name for t in card.inputs], [t.name for t in card.outputs if not t.optional]
        return bytes(whole.extract_model(*names).SerializeToString())
    except Exception as error:  # protobuf and onnx raise whatever a damaged file leads to
        raise _does_not_load(card, path, error) from error


def _does_not_load(card: ModelCard, path: Path, error: Exception) -> InstallationError:
    return InstallationError(
        f"{path} does not load: {str(error)[:200]}",
        code=ErrorCode.MODEL_MISSING,
        remedy=f"export it again: deepscan export {card.name}",
    )


def load_network(
    repository: ModelRepository,
    name: str,
    version: int | None = None,
    precision: Precision | None = None,
    threads: int | None = None,
) -> OnnxNetwork:
    """A network of the repository, after its files were compared with the hashes of its record.

    Args:
        threads: see :class:`OnnxNetwork`.

    Raises:
        InstallationError: a file is missing, was changed, or does not load.
    """
    card = repository.card(name)
    repository.verify(name, version)
    file = card.onnx_file(precision or card.serve["cpu"])
    return OnnxNetwork(card, repository.folder(name, version) / file, threads)


class OnnxInfer:
    """The :class:`~pipelines.infer.Infer` of one process. Networks load at their first call.

    Args:
        repository: where the networks are.
        threads: calls that run side by side.
    """

    def __init__(self, repository: ModelRepository, threads: int = 2) -> None:
        self._repository = repository
        self._networks: dict[str, OnnxNetwork] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="onnx")

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        """Run independent calls side by side and answer in order."""
        if len(calls) == 1:
            return [self._one(calls[0])]
        return list(self._pool.map(self._one, calls))

    def _one(self, call: Call) -> Arrays:
        with self._lock:
            if call.model not in self._networks:
                self._networks[call.model] = load_network(self._repository, call.model)
            network = self._networks[call.model]
        return network.run(call.inputs, call.outputs)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
