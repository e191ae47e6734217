"""Any ONNX network as a Triton model of the ``cpu`` profile: ONNX Runtime behind the Python backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from pipelines.infer import Array, Arrays
from pipelines.onnx_infer import load_network
from pipelines.triton.backend import array, open_repository, triton_error


class TritonPythonModel:
    """Joins the batches of waiting requests whose shapes agree, runs them once, and splits the answer."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network of this version, after its hashes were checked."""
        repository = open_repository(args)
        self._card = repository.card(args["model_name"])
        self._network = load_network(repository, self._card.name, int(args["model_version"]))
        self._input = self._card.inputs[0].name

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one scheduling step."""
        groups: dict[tuple[int, ...], list[int]] = {}
        inputs: list[Array] = []
        for index, request in enumerate(requests):
            images = array(request, self._input)
            assert images is not None  # Triton refuses a request without a required input
            inputs.append(images)
            groups.setdefault(images.shape[1:], []).append(index)
        responses: list[Any] = [None] * len(requests)
        for members in groups.values():
            try:
                self._answer_group(requests, inputs, members, responses)
            except Exception as error:
                for index in members:
                    responses[index] = pb_utils.InferenceResponse(output_tensors=[], error=triton_error(error))
        return responses

    def _answer_group(self, requests: list[Any], inputs: list[Array], members: list[int], responses: list[Any]) -> None:
        wanted = [list(requests[index].requested_output_names()) for index in members]
        union = [t.name for t in self._card.outputs if any(t.name in names for names in wanted)]
        batch = inputs[members[0]] if len(members) == 1 else np.concatenate([inputs[i] for i in members])
        answer: Arrays = self._network.run({self._input: batch}, union)
        start = 0
        for index, names in zip(members, wanted):
            stop = start + len(inputs[index])
            tensors = [pb_utils.Tensor(name, np.ascontiguousarray(answer[name][start:stop])) for name in names]
            responses[index] = pb_utils.InferenceResponse(output_tensors=tensors)
            start = stop
