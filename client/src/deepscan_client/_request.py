"""What the two clients share: a detection as tensors, its answer as a verdict, when to try again."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from deepscan_client._cancel import Cancellation
from deepscan_client._config import Deadline, RetryBudget, RetryPolicy
from deepscan_client._status import deadline_error
from deepscan_client._transport import Arrays, CallOptions, bytes_tensor
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import DeepScanError, InternalError, OverloadedError, RequestError, UnavailableError
from deepscan_client.verdict import Verdict

IMAGE_MODEL = "deepfake_image"
OUTPUTS = ("VERDICT",)


@dataclass(frozen=True)
class Detection:
    """One request, ready to be sent."""

    model: str
    inputs: Arrays
    options: CallOptions


def image_request(
    data: bytes,
    *,
    heatmaps: bool,
    confidence_threshold: float | None,
    request_id: str | None,
    deadline: Deadline | None,
    headers: Mapping[str, str] | None,
    cancellation: Cancellation | None = None,
) -> Detection:
    """The request of one photo.

    Raises:
        RequestError: the threshold is no number of 0 to 1, or the request id does not fit into a header.
    """
    if confidence_threshold is not None and not 0.0 <= confidence_threshold <= 1.0:
        raise RequestError(
            f"confidence_threshold is {confidence_threshold}", remedy="give a number from 0 to 1", request_id=request_id
        )
    request_id = request_id or uuid.uuid4().hex
    if len(request_id) > 128 or not (request_id.isascii() and request_id.isprintable()):
        raise RequestError(
            "the request id is not usable as a header", remedy="give at most 128 printable ASCII characters"
        )
    asked: dict[str, object] = {"request_id": request_id}
    if heatmaps:
        asked["heatmaps"] = True
    if confidence_threshold is not None:
        asked["confidence_threshold"] = float(confidence_threshold)
    inputs = {"IMAGE": bytes_tensor(data), "OPTIONS": bytes_tensor(json.dumps(asked).encode())}
    return Detection(IMAGE_MODEL, inputs, CallOptions(deadline, request_id, dict(headers or {}), cancellation))


def read_verdict(arrays: Arrays, request_id: str) -> Verdict:
    """The verdict in a server's answer.

    Raises:
        InternalError: there is none (code ``bad_answer``).
    """
    try:
        verdict = Verdict.from_json(arrays["VERDICT"].reshape(-1)[0])
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise InternalError(
            f"the server's answer is no verdict that this client reads: {error}",
            code=ErrorCode.BAD_ANSWER,
            remedy="client and server differ: update both to the same version",
            request_id=request_id,
        ) from error
    # The id of the question is the id of the answer, also where a cache answered.
    return verdict if verdict.request_id == request_id else dataclasses.replace(verdict, request_id=request_id)


def next_pause(
    error: DeepScanError, tried: int, policy: RetryPolicy, budget: RetryBudget, deadline: Deadline | None
) -> float:
    """Seconds to wait before sending again.

    Raises:
        DeadlineError: the deadline would pass meanwhile.
        DeepScanError: ``error`` itself, where it must not or cannot be tried again.
    """
    nothing_done = isinstance(error, OverloadedError) or (isinstance(error, UnavailableError) and not error.sent)
    if not nothing_done or tried >= policy.attempts:
        raise error
    pause = policy.pause(tried)
    if deadline is not None and deadline.expired:
        raise deadline_error(error.request_id) from error
    if deadline is not None and deadline.remaining() <= pause:
        raise error
    if not budget.take():
        raise error
    return pause
