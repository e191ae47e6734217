"""Triton's answers to typed errors."""

from __future__ import annotations

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import (
    CancelledError,
    DeadlineError,
    DeepScanError,
    InstallationError,
    InternalError,
    LimitError,
    OverloadedError,
    RequestError,
    UnavailableError,
    find_error,
)

_OF_HTTP = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "TOO_LARGE",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

_NOTHING_DONE = (
    "failed to connect",
    "connection refused",
    "dns resolution failed",
    "has no available versions",
    "stopped accepting new inference requests",
)
"""Words of gRPC and Triton that say that no model saw the request."""

START = "start one with: deepscan serve"


def unreachable(url: str, why: str) -> UnavailableError:
    """The error for a server that could not even be spoken to."""
    error = UnavailableError(f"no DeepScan server answers at {url}: {why}", remedy=START)
    error.sent = False
    return error


def deadline_error(request_id: str | None = None) -> DeadlineError:
    """The error for an answer that did not come in time."""
    return DeadlineError(
        "the deadline passed before an answer came",
        remedy="allow more time, or send fewer requests at once",
        request_id=request_id,
    )


def silence_error(request_id: str | None = None) -> UnavailableError:
    """The error for a stream that began and then fell silent: Triton does not end it when its model is killed."""
    return UnavailableError(
        "the server fell silent: the model at work stopped",
        remedy="send it again in a few seconds: the server repairs itself",
        request_id=request_id,
    )


def error_from_status(status: str | int | None, message: str, request_id: str | None = None) -> DeepScanError:
    """The typed error for a failed call.

    Args:
        status: gRPC's name (``StatusCode.INTERNAL`` or ``INTERNAL``) or HTTP's number.
        message: the server's words; a DeepScan error inside them wins over the status.
        request_id: of the request, kept where the server named none.
    """
    name = str(status or "UNKNOWN").removeprefix("StatusCode.")
    if name.isdigit():
        name = _OF_HTTP.get(int(name), "UNKNOWN")
    error = find_error(message) or _by_words(message) or _by_name(name, message)
    if isinstance(error, UnavailableError):
        error.sent = not any(words in message.lower() for words in _NOTHING_DONE)
    error.request_id = error.request_id or request_id
    return error


def _by_words(message: str) -> DeepScanError | None:
    """Cases in which Triton's words say more than its status."""
    lower = message.lower()
    if "request for unknown model" in lower and "no available versions" not in lower:
        return InstallationError(
            f"the server is not a DeepScan server, or its models are not loaded: {message[:200]}",
            code=ErrorCode.MODEL_MISSING,
            remedy="point the client at a DeepScan server, or look at the server's log",
        )
    if "stub process" in lower:
        return UnavailableError(
            "a model of the server stopped", remedy="send it again in a few seconds: the server repairs itself"
        )
    if "maximum queue size" in lower:
        return OverloadedError("the server's queue is full", remedy="send fewer requests at once")
    if "larger than max" in lower:
        return LimitError("the message is larger than the server takes", remedy="send a smaller file")
    return None


def _by_name(name: str, message: str) -> DeepScanError:
    words = message[:300] or "no message"
    if name == "INVALID_ARGUMENT":
        return RequestError(words, remedy="check that client and server have the same version")
    if name in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return RequestError(words, code=ErrorCode.UNAUTHORIZED, remedy="send the server's key")
    if name == "NOT_FOUND":
        return RequestError(words, code=ErrorCode.NOT_FOUND, remedy="check the URL")
    if name == "TOO_LARGE":
        return LimitError(words, remedy="send a smaller file")
    if name == "UNAVAILABLE":
        return UnavailableError(words, remedy=START)
    if name == "RESOURCE_EXHAUSTED":
        return OverloadedError(words, remedy="send fewer requests at once")
    if name == "DEADLINE_EXCEEDED":
        return deadline_error()
    if name == "CANCELLED":
        return CancelledError("the request was cancelled")
    return InternalError(words, remedy="report it with the request id and the server's log")
