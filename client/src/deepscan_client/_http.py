"""The HTTP transport for threads.

It uses Python's own ``http.client``: tritonclient's is bound to one thread and has one
timeout for its life, so that a deadline could not be kept. Bodies are made and read by tritonclient.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import ssl
import threading
from collections.abc import Generator, Mapping, Sequence
from urllib.parse import quote, urlsplit

import tritonclient.http as triton

from deepscan_client._config import Deadline, Health
from deepscan_client._status import deadline_error, error_from_status, unreachable
from deepscan_client._tensors import make_inputs, make_outputs, read_outputs
from deepscan_client._transport import Address, Array, Arrays, CallOptions, cannot_stream, health_of, metadata
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import DeepScanError, InternalError, UnavailableError

STATUS_DETAIL = 300


class HttpTransport:
    """Over HTTP, for threads: each call takes a kept connection, or makes one."""

    def __init__(self, address: Address, connect_timeout: float = 5.0) -> None:
        self._address = address
        self._connect_timeout = connect_timeout
        parts = urlsplit(f"http://{address.target}")
        self._host, self._port, self._base = parts.hostname or "", parts.port, parts.path
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),  # noqa: B008
    ) -> Arrays:
        """See :class:`~deepscan_client._transport.Transport`."""
        body, header_length = triton.InferenceServerClient.generate_request_body(
            make_inputs(triton, inputs), outputs=make_outputs(triton, outputs), request_id=options.request_id
        )
        headers = metadata(options) | {"content-type": "application/octet-stream"}
        if header_length is not None:
            headers["inference-header-content-length"] = str(header_length)
        response, answer = self._exchange("POST", f"/v2/models/{quote(model)}/infer", body, headers, options)
        if response.status != 200:
            raise error_from_status(response.status, _words(answer), options.request_id or None)
        length = response.getheader("Inference-Header-Content-Length")
        try:
            parsed = triton.InferenceServerClient.parse_response_body(
                answer, header_length=None if length is None else int(length)
            )
            return read_outputs(parsed, outputs)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise not_triton(error, options.request_id or None) from error

    def stream(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),  # noqa: B008
    ) -> Generator[Arrays, None, None]:
        """See :class:`~deepscan_client._transport.Transport`.

        Raises:
            RequestError: always.
        """
        raise cannot_stream(self._address, model, options.request_id)

    def health(self, model: str, deadline: Deadline | None = None) -> Health:
        """See :class:`~deepscan_client._transport.Transport`."""
        try:
            options = CallOptions(deadline=deadline)
            ready = self._exchange("GET", "/v2/health/ready", None, {}, options)[0].status == 200
            path = f"/v2/models/{quote(model)}/ready"
            loaded = ready and self._exchange("GET", path, None, {}, options)[0].status == 200
        except DeepScanError as error:
            return Health(live=False, ready=False, detail=error.message)
        return health_of(ready, loaded, model)

    def close(self) -> None:
        """Close what is kept; calls under way end on their own."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], options: CallOptions
    ) -> tuple[http.client.HTTPResponse, bytes]:
        request_id = options.request_id or None
        connection = self._connection(options.deadline, request_id)
        cancellation = options.cancellation
        guard = cancellation.runs(lambda: _abort(connection)) if cancellation else contextlib.nullcontext()
        try:
            with guard:
                _limit(connection, options.deadline, request_id)
                connection.request(method, self._base + path, body=body, headers=headers)
                _limit(connection, options.deadline, request_id)
                response = connection.getresponse()
                answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if cancellation is not None:
                cancellation.raise_if_cancelled(request_id)
            if isinstance(error, TimeoutError):
                raise deadline_error(request_id) from error
            if isinstance(error, http.client.BadStatusLine) and not isinstance(error, OSError):
                raise not_http(self._address, request_id) from error
            raise UnavailableError(
                f"the connection to {self._address} broke: {error or type(error).__name__}",
                remedy="send it again if it may be judged twice",
                request_id=request_id,
            ) from error
        except BaseException:
            connection.close()
            raise
        self._keep(connection, response)
        return response, answer

    def _connection(self, deadline: Deadline | None, request_id: str | None) -> http.client.HTTPConnection:
        """A kept connection that the server has not closed meanwhile, or a new one."""
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            if kept is None:
                break
            # An idle connection that has something to read is one that the server closed.
            if kept.sock is not None and not select.select([kept.sock], [], [], 0)[0]:
                return kept
            kept.close()
        seconds = self._connect_timeout
        if deadline is not None:
            if deadline.expired:
                raise deadline_error(request_id)
            seconds = min(seconds, deadline.remaining())
        if self._address.secure:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=seconds, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=seconds)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            if deadline is not None and deadline.expired:
                raise deadline_error(request_id) from error
            raise unreachable(str(self._address), str(error)) from error
        return connection

    def _keep(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        if response.will_close or connection.sock is None:
            connection.close()
            return
        with self._lock:
            self._idle.append(connection)


def _limit(connection: http.client.HTTPConnection, deadline: Deadline | None, request_id: str | None) -> None:
    """Give the socket what is left of the deadline."""
    if deadline is not None and deadline.expired:
        raise deadline_error(request_id)
    if connection.sock is not None:
        connection.sock.settimeout(None if deadline is None else deadline.remaining() or 1e-3)


def _abort(connection: http.client.HTTPConnection) -> None:
    """Wake the thread that waits on the socket; it then closes it."""
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _words(body: bytes) -> str:
    """Triton's words inside its JSON, or what is there instead."""
    try:
        return words_of(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:STATUS_DETAIL].decode(errors="replace")


def words_of(error: object) -> str:
    """Triton's errors are words; that of DeepScan's gateway is an object, which is kept whole."""
    return error if isinstance(error, str) else json.dumps(error)


def not_http(address: Address, request_id: str | None) -> UnavailableError:
    """The error for a port that speaks something else."""
    return UnavailableError(
        f"what answers at {address} does not speak HTTP",
        remedy="name Triton's HTTP port, 8000 by default, or leave http:// out for gRPC",
        request_id=request_id,
    )


def not_triton(error: Exception, request_id: str | None) -> InternalError:
    """The error for an answer that says it is good and cannot be read."""
    return InternalError(
        f"what answers is not Triton: {error}"[:STATUS_DETAIL],
        code=ErrorCode.BAD_ANSWER,
        remedy="name Triton's HTTP port, 8000 by default",
        request_id=request_id,
    )
