"""What every Triton Python model of DeepScan shares: tensors, errors, where the repository is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import triton_python_backend_utils as pb_utils
from pydantic import BaseModel, ValidationError

from cards.card import Profile
from cards.repository import ModelRepository
from deepscan_client.errors import DeepScanError, InputError, InternalError, RequestError
from deepscan_client.verdict import Verdict
from pipelines.infer import Array

Parsed = TypeVar("Parsed", bound=BaseModel)


def open_repository(args: dict[str, str]) -> ModelRepository:
    """The repository that the server loaded this model from."""
    return ModelRepository(Path(args["model_repository"]).parent)


def profile_of(args: dict[str, str]) -> Profile:
    """The profile that the server's configuration of this model belongs to."""
    parameters = json.loads(args["model_config"]).get("parameters", {})
    value: Profile = parameters.get("profile", {}).get("string_value", "cpu")
    return value


def array(request: Any, name: str) -> Array | None:
    """An input as an array without a copy, or None where an optional one was left out."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else np.asarray(tensor.as_numpy())


def single_bytes(request: Any, name: str) -> bytes | None:
    """A BYTES input of one element, or None where it was left out.

    Raises:
        RequestError: it has another number of elements.
    """
    values = array(request, name)
    if values is None:
        return None
    if values.size != 1:
        raise RequestError(f"{name} has {values.size} elements, one is expected", remedy=f"send {name} with shape [1]")
    value = values.reshape(-1)[0]
    return value if isinstance(value, bytes) else bytes(value)


def parsed(request: Any, name: str, kind: type[Parsed]) -> Parsed:
    """A BYTES input of one element with the JSON that another stage wrote. A client may ask a stage as well, and what
    it makes up is its own mistake, not a defect.

    Raises:
        RequestError: it is no such JSON.
    """
    try:
        return kind.model_validate_json(single_bytes(request, name) or b"")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:60]
        raise RequestError(
            f"{name} is not what this stage reads: {where + ': ' if where else ''}{first['msg'][:120]}",
            remedy="ask one of the models that answer with a verdict, such as deepfake_image",
        ) from error


def text_tensor(name: str, text: str) -> Any:
    """A BYTES output of shape [1]."""
    return pb_utils.Tensor(name, np.array([text.encode()], dtype=np.object_))


def probability_tensor(probability: float | None) -> Any:
    """FAKE_PROBABILITY, NaN where nothing was scored."""
    value = np.nan if probability is None else probability
    return pb_utils.Tensor("FAKE_PROBABILITY", np.array([value], dtype=np.float32))


def verdict_tensors(verdict: Verdict) -> list[Any]:
    """VERDICT, FAKE_PROBABILITY and LABEL."""
    return [
        text_tensor("VERDICT", verdict.to_json()),
        probability_tensor(verdict.fake_probability),
        text_tensor("LABEL", str(verdict.label)),
    ]


def answer_each(requests: list[Any], work: Callable[[Any], list[Any]]) -> list[Any]:
    """Answer every request on its own: an error is the answer of its request and of no other.

    A DeepScan error crosses as JSON in Triton's error message; anything else is a defect and is logged with
    its trace, while the caller gets a typed internal error.
    """
    responses = []
    for request in requests:
        try:
            responses.append(pb_utils.InferenceResponse(output_tensors=work(request)))
        except Exception as error:
            responses.append(pb_utils.InferenceResponse(output_tensors=[], error=triton_error(error)))
    return responses


def triton_error(error: Exception) -> Any:
    """Triton's error for any exception."""
    if not isinstance(error, DeepScanError):
        pb_utils.Logger.log_error(f"defect: {type(error).__name__}: {error}")
        error = InternalError(
            f"{type(error).__name__} in the pipeline",
            remedy="report it with the request id and the server's log",
        )
    caller = isinstance(error, (InputError, RequestError))
    code = pb_utils.TritonError.INVALID_ARG if caller else pb_utils.TritonError.INTERNAL
    return pb_utils.TritonError(error.to_json(), code)
