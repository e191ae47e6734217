"""How an error becomes an HTTP answer: one body for every error, whatever went wrong."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import DeepScanError, InternalError, RequestError

RETRY_AFTER_SECONDS = 1

_STATUS: dict[ErrorCode, int] = {
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.UNAUTHORIZED: 401,
}
"""Codes whose HTTP status differs from that of their exception class."""


def json_response(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer; NaN never gets out, because it is not JSON."""
    return Response(
        json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace"),
        status,
        headers,
        "application/json",
    )


def status_of(error: DeepScanError) -> int:
    """The HTTP status of an error."""
    return _STATUS.get(error.code, error.http_status)


def error_body(error: DeepScanError, request_id: str) -> dict[str, Any]:
    """``{"code", "message", "remedy", "request_id"}``, always with the id of the caller's own request."""
    return {**error.to_dict(), "request_id": request_id}


def error_response(
    error: DeepScanError, request_id: str, status: int | None = None, headers: dict[str, str] | None = None
) -> Response:
    """The standard error answer.

    Args:
        error: what went wrong.
        request_id: of this request.
        status: HTTP status; that of the error where left out.
        headers: more headers, ``Allow`` for example.
    """
    status = status_of(error) if status is None else status
    extra = dict(headers or {})
    if status in (429, 503):
        extra.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    if status == 401:
        extra.setdefault("WWW-Authenticate", "Bearer")
    return json_response({"error": error_body(error, request_id)}, status, extra)


def from_http_status(status: int, detail: str, path: str) -> DeepScanError:
    """The typed error for what the framework itself refuses (no such page, wrong method, malformed form)."""
    if status == 404:
        return RequestError(
            f"there is nothing at {path[:200]}", code=ErrorCode.NOT_FOUND, remedy="GET /docs lists the end points"
        )
    if status == 405:
        return RequestError("this end point does not take that method", remedy="GET /docs lists the end points")
    if status >= 500:
        return InternalError("the gateway failed", remedy="report it with the request id and the gateway's log")
    return RequestError(detail[:300] or "the request is wrong", remedy="docs/rest.md shows what to send")
