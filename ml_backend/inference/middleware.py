"""What happens around every request: its id, its guard, its count, its log line, and errors as JSON."""

from __future__ import annotations

import json
import logging
import math
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepscan_client import DeepScanError, InternalError
from ml_backend.inference.answers import error_response
from ml_backend.inference.guard import Guard, RateLimitedError
from ml_backend.inference.stats import Stats

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, level 1, section 3.2."""

access_log = logging.getLogger("deepscan.access")
log = logging.getLogger("deepscan.gateway")


def request_id_of(headers: Headers) -> str:
    """The caller's request id where it is well formed, else a new one."""
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def trace_headers(headers: Headers) -> dict[str, str]:
    """The trace context to hand on to Triton: nothing where it is malformed."""
    parent = headers.get("traceparent", "")
    if not TRACEPARENT.fullmatch(parent):
        return {}
    state = headers.get("tracestate", "")
    good_state = state and len(state) <= 512 and state.isascii() and state.isprintable()
    return {"traceparent": parent} | ({"tracestate": state} if good_state else {})


class Around:
    """ASGI middleware around the whole application.

    ``scope["state"]["request_id"]`` is the request's id; ``X-Request-Id`` comes back with every answer.
    """

    def __init__(self, app: ASGIApp, guard: Guard, stats: Stats, json_log: bool) -> None:
        self._app = app
        self._guard = guard
        self._stats = stats
        self._json_log = json_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; lifespan messages pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = request_id_of(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        seen = {"status": 0, "bytes": 0}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                out = MutableHeaders(scope=message)
                out["X-Request-Id"] = request_id
                out["X-Content-Type-Options"] = "nosniff"
            elif message["type"] == "http.response.body":
                seen["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            refused = self._refused(scope, headers, request_id)
            await (refused or self._app)(scope, receive, sending)
        except ClientDisconnect:
            seen["status"] = seen["status"] or 499
        except Exception as error:
            log.exception("defect in request %s", request_id)
            if seen["status"]:
                raise  # the answer has begun: only the connection can be closed
            defect = InternalError(
                f"{type(error).__name__} in the gateway", remedy="report it with the request id and the gateway's log"
            )
            self._stats.error(defect)
            await error_response(defect, request_id)(scope, receive, sending)
        finally:
            self._finish(scope, request_id, seen, time.perf_counter() - start)

    def _refused(self, scope: Scope, headers: Headers, request_id: str) -> Response | None:
        try:
            self._guard.check(scope["path"], headers, (scope.get("client") or ("?",))[0])
        except DeepScanError as error:
            self._stats.error(error)
            extra = {"Retry-After": str(math.ceil(error.wait))} if isinstance(error, RateLimitedError) else None
            return error_response(error, request_id, headers=extra)
        return None

    def _finish(self, scope: Scope, request_id: str, seen: dict[str, int], seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "OPTIONS") else "other"
        self._stats.request(route, method, seen["status"], seconds)
        # The raw path is percent-encoded, so that nobody writes lines into the log.
        path = (scope.get("raw_path") or b"").decode("ascii", "backslashreplace")[:300]
        path = "".join(c if c.isprintable() else "?" for c in path)
        line = {
            "client": (scope.get("client") or ("?",))[0],
            "method": scope["method"][:20],
            "path": path,
            "status": seen["status"],
            "bytes": seen["bytes"],
            "ms": round(seconds * 1e3, 2),
            "request_id": request_id,
        }
        if self._json_log:
            access_log.info(json.dumps(line))
        else:
            access_log.info('%s "%s %s" %s %sB %sms %s', *line.values())
