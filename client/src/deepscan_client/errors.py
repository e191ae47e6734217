"""What can go wrong, split by what a caller can do about it.

::

    DeepScanError                 every error of DeepScan
    ├── InputError                this input cannot be judged; another one can
    │   ├── MediaError            not media, truncated, corrupt, animated, without sound, unsupported
    │   └── LimitError            too many bytes, pixels or seconds
    ├── RequestError              the request is wrong: change it
    ├── ServiceError              the service did not answer
    │   ├── UnavailableError      not reachable or not ready: try again later
    │   ├── OverloadedError       shed on purpose: try again, slower
    │   ├── DeadlineError         the time ran out
    │   ├── CancelledError        the caller cancelled
    │   └── InternalError         a defect: report it with the request id
    └── InstallationError         models or environment are wrong: an operator must act

Every error carries ``code`` (a stable word), ``message``, ``remedy`` (what to do next) and, where a
request was made, ``request_id``. ``to_json`` and ``from_json`` are what crosses the wire.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from deepscan_client.codes import ErrorCode


class DeepScanError(Exception):
    """Base of all errors of DeepScan.

    Args:
        message: what happened, for a person.
        code: the stable word for it; its class's default where left out.
        remedy: what to do next.
        request_id: the id of the request that failed, where there was one.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.INTERNAL
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode | None = None,
        remedy: str = "",
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.remedy = remedy
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f" ({self.remedy})" if self.remedy else "")

    def to_dict(self) -> dict[str, Any]:
        """The error as plain JSON types."""
        return {
            "code": str(self.code),
            "message": self.message,
            "remedy": self.remedy,
            "request_id": self.request_id,
        }

    def to_json(self) -> str:
        """The error as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


class InputError(DeepScanError):
    """This input cannot be judged; another one can."""

    default_code = ErrorCode.NOT_MEDIA
    http_status = 422


class MediaError(InputError):
    """The bytes are not media that DeepScan reads: not media, truncated, corrupt, animated, no sound, unsupported."""

    default_code = ErrorCode.CORRUPT


class LimitError(InputError):
    """The input is larger than a limit allows (see ``cards/limits.py``)."""

    default_code = ErrorCode.TOO_LARGE
    http_status = 413


class RequestError(DeepScanError):
    """The request is wrong: change it before sending it again."""

    default_code = ErrorCode.BAD_REQUEST
    http_status = 400


class ServiceError(DeepScanError):
    """The service did not answer."""

    default_code = ErrorCode.UNAVAILABLE
    http_status = 503


class UnavailableError(ServiceError):
    """The service is not reachable or not ready."""

    sent: bool = True
    """False where no work can have been done for the request: it never left this machine, or the server
    refused it before a model saw it. Only then does the client send it again by itself."""


class OverloadedError(ServiceError):
    """The service shed this request on purpose; no work was done for it."""

    default_code = ErrorCode.OVERLOADED
    http_status = 429


class DeadlineError(ServiceError):
    """The deadline passed before an answer came."""

    default_code = ErrorCode.DEADLINE
    http_status = 504


class CancelledError(ServiceError):
    """The caller cancelled the request."""

    default_code = ErrorCode.CANCELLED
    http_status = 499


class InternalError(ServiceError):
    """A defect in the service; report it with the request id."""

    default_code = ErrorCode.INTERNAL
    http_status = 500


class InstallationError(DeepScanError):
    """A model file, card, record or the environment is wrong: an operator must act."""

    default_code = ErrorCode.ENVIRONMENT
    http_status = 503


_CLASS_OF_CODE: dict[ErrorCode, type[DeepScanError]] = {
    ErrorCode.EMPTY: MediaError,
    ErrorCode.NOT_MEDIA: MediaError,
    ErrorCode.UNSUPPORTED: MediaError,
    ErrorCode.TRUNCATED: MediaError,
    ErrorCode.CORRUPT: MediaError,
    ErrorCode.ANIMATED: MediaError,
    ErrorCode.TOO_LARGE: LimitError,
    ErrorCode.TOO_MANY_PIXELS: LimitError,
    ErrorCode.TOO_LONG: LimitError,
    ErrorCode.NO_SOUND: MediaError,
    ErrorCode.BAD_REQUEST: RequestError,
    ErrorCode.NOT_FOUND: RequestError,
    ErrorCode.UNAUTHORIZED: RequestError,
    ErrorCode.UNAVAILABLE: UnavailableError,
    ErrorCode.OVERLOADED: OverloadedError,
    ErrorCode.RATE_LIMITED: OverloadedError,
    ErrorCode.DEADLINE: DeadlineError,
    ErrorCode.CANCELLED: CancelledError,
    ErrorCode.INTERNAL: InternalError,
    ErrorCode.BAD_ANSWER: InternalError,
    ErrorCode.BAD_CARD: InstallationError,
    ErrorCode.BAD_RECORD: InstallationError,
    ErrorCode.HASH_MISMATCH: InstallationError,
    ErrorCode.MODEL_MISSING: InstallationError,
    ErrorCode.ENVIRONMENT: InstallationError,
}


def error_from_dict(data: dict[str, Any]) -> DeepScanError:
    """Rebuild the error that ``to_dict`` wrote; an unknown code becomes an :class:`InternalError`."""
    try:
        code = ErrorCode(str(data.get("code")))
    except ValueError:
        code = ErrorCode.INTERNAL
    request_id = data.get("request_id")
    return _CLASS_OF_CODE[code](
        str(data.get("message", "no message")),
        code=code,
        remedy=str(data.get("remedy") or ""),
        request_id=None if request_id is None else str(request_id),
    )


def find_error(text: str) -> DeepScanError | None:
    """The DeepScan error inside a longer message (Triton puts words in front), or None."""
    start = text.find('{"code"')
    if start < 0:
        return None
    try:
        data, _ = json.JSONDecoder().raw_decode(text[start:])
    except ValueError:
        return None
    return error_from_dict(data) if isinstance(data, dict) else None
