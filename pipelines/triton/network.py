"""Any ONNX network as a Triton model of the ``cpu`` profile: ONNX Runtime behind the Python backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from deepscan_client.errors import RequestError
from pipelines.infer import Arrays
from pipelines.onnx_infer import load_network
from pipelines.triton.backend import array, open_repository, triton_error


class TritonPythonModel:
    """Joins the batches of waiting requests whose shapes agree, runs them once, and splits the answer."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network of this version, after its hashes were checked."""
        repository = open_repository(args)
        self._card = repository.card(args["model_name"])
        self._network = load_network(repository, self._card.name, int(args["model_version"]))
        self._inputs = [tensor.name for tensor in self._card.inputs]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one scheduling step."""
        groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        inputs: list[Arrays] = []
        for index, request in enumerate(requests):
            given: Arrays = {}
            for name in self._inputs:
                values = array(request, name)
                assert values is not None  # Triton refuses a request without a required input
                given[name] = values
            inputs.append(given)
            groups.setdefault(tuple(values.shape[1:] for values in given.values()), []).append(index)
        responses: list[Any] = [None] * len(requests)
        for members in groups.values():
            try:
                self._answer_group(requests, inputs, members, responses)
            except Exception as error:
                error = self._named(error, inputs[members[0]])
                for index in members:
                    responses[index] = pb_utils.InferenceResponse(output_tensors=[], error=triton_error(error))
        return responses

    def _answer_group(
        self, requests: list[Any], inputs: list[Arrays], members: list[int], responses: list[Any]
    ) -> None:
        wanted = [list(requests[index].requested_output_names()) for index in members]
        union = [t.name for t in self._card.outputs if any(t.name in names for names in wanted)]
        batch = {
            name: inputs[members[0]][name] if len(members) == 1 else np.concatenate([inputs[i][name] for i in members])
            for name in self._inputs
        }
        answer: Arrays = self._network.run(batch, union)
        start = 0
        for index, names in zip(members, wanted):
            stop = start + len(inputs[index][self._inputs[0]])
            tensors = [pb_utils.Tensor(name, np.ascontiguousarray(answer[name][start:stop])) for name in names]
            responses[index] = pb_utils.InferenceResponse(output_tensors=tensors)
            start = stop

    def _named(self, error: Exception, given: Arrays) -> Exception:
        """Where a card leaves a side open Triton lets every length through, and ONNX Runtime stumbles over one that the
        graph does not fit: that is the caller's to mend. Any other error stays a defect."""
        if not type(error).__module__.startswith("onnxruntime"):
            return error
        left_open = [tensor for tensor in self._card.inputs if -1 in tensor.shape]
        if not left_open:
            return error
        shapes = ", ".join(f"{tensor.name} {list(given[tensor.name].shape)}" for tensor in left_open)
        return RequestError(
            f"{self._card.name} does not run on {shapes}",
            remedy="; ".join(f"{tensor.name}: {tensor.description or tensor.shape}" for tensor in left_open),
        )
