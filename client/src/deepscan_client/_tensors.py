"""Arrays to and from tritonclient's tensors, which gRPC and HTTP have one kind of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from tritonclient.utils import np_to_triton_dtype

from deepscan_client._transport import Array, Arrays
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InternalError


def make_inputs(triton: ModuleType, inputs: Mapping[str, Array]) -> list[Any]:
    """Input tensors of ``tritonclient.grpc`` or ``tritonclient.http``."""
    tensors = []
    for name, value in inputs.items():
        tensor = triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
        tensor.set_data_from_numpy(value)
        tensors.append(tensor)
    return tensors


def make_outputs(triton: ModuleType, outputs: Sequence[str]) -> list[Any]:
    """Requests for outputs."""
    return [triton.InferRequestedOutput(name) for name in outputs]


def read_outputs(result: Any, outputs: Sequence[str]) -> Arrays:
    """Arrays of an answer.

    Raises:
        InternalError: one is missing (code ``bad_answer``).
    """
    arrays: Arrays = {}
    for name in outputs:
        value = result.as_numpy(name)
        if value is None:
            raise InternalError(
                f"the server's answer has no {name}",
                code=ErrorCode.BAD_ANSWER,
                remedy="client and server differ: update both to the same version",
            )
        arrays[name] = value
    return arrays
