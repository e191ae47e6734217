"""Transports over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from typing import Any

import grpc
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from deepscan_client._config import Deadline, Health
from deepscan_client._status import deadline_error, error_from_status, silence_error
from deepscan_client._tensors import make_inputs, make_outputs, read_outputs
from deepscan_client._transport import Address, Array, Arrays, CallOptions, health_of, metadata
from deepscan_client.errors import CancelledError, DeepScanError

# The header triton_grpc_error, by which a stream fails with a status, is not sent: it kills a server 2.51 that works on
# other requests beside the stream. Without it an error is a message with Triton's words alone.


_LOOK_SECONDS = 1.0
"""Between two looks whether a silent stream has ended."""


def _channel_arguments(address: Address) -> list[tuple[str, Any]]:
    arguments: list[tuple[str, Any]] = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        # Triton's error messages travel in the trailers, which gRPC caps at 8 KB.
        ("grpc.max_metadata_size", 64 * 1024),
        # A server that is just starting is found within a moment, not after gRPC's second.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # Channels of other objects in this process must not share that back-off.
        ("grpc.use_local_subchannel_pool", 1),
        # Triton's server closes a connection that is pinged more often than every five minutes.
        ("grpc.keepalive_time_ms", 330_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
    if address.loopback:
        arguments.append(("grpc.enable_http_proxy", 0))
    return arguments


def _typed(error: InferenceServerException, request_id: str) -> DeepScanError:
    return error_from_status(error.status(), error.message() or "", request_id or None)


def _seconds(deadline: Deadline | None, request_id: str = "") -> float | None:
    """The time a call may take.

    Raises:
        DeadlineError: it has passed.
    """
    if deadline is None:
        return None
    if deadline.expired:
        raise deadline_error(request_id or None)
    return deadline.remaining()


_Message = tuple[Any, InferenceServerException | None]


def _next_message(
    messages: queue.SimpleQueue[_Message], reader: threading.Thread, silence: float | None
) -> _Message | None:
    """The next message of a stream; None where it has ended.

    Args:
        messages: filled by the reader.
        reader: tritonclient's thread, which ends with the stream.
        silence: seconds to wait at most; None waits for the end.

    Raises:
        queue.Empty: nothing came for so long.
    """
    until = math.inf if silence is None else time.monotonic() + silence
    while True:
        over = not reader.is_alive()
        with contextlib.suppress(queue.Empty):
            return messages.get(timeout=0.0 if over else min(_LOOK_SECONDS, max(0.0, until - time.monotonic())))
        if over:
            return None
        if time.monotonic() >= until:
            raise queue.Empty


def _closed(error: asyncio.CancelledError, request_id: str) -> BaseException:
    """What a call of asyncio that was cancelled raises: ``error`` where its task was cancelled. Else the client was
    closed under it, and a task that nobody cancelled would be lost without a word."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        return error
    return CancelledError("the client was closed", remedy="close it after the last answer", request_id=request_id)


def _not_ready(error: InferenceServerException) -> Health:
    return Health(live=False, ready=False, detail=f"{error.message()}"[:300])


class GrpcTransport:
    """Over gRPC, for threads. The channel is made with the first call, and anew with the first one after ``close``."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: triton.InferenceServerClient | None = None
        self._making = threading.Lock()

    def _channel(self) -> triton.InferenceServerClient:
        return triton.InferenceServerClient(
            self._address.target, ssl=self._address.secure, channel_args=_channel_arguments(self._address)
        )

    def _connected(self) -> triton.InferenceServerClient:
        with self._making:
            if self._client is None:
                self._client = self._channel()
            return self._client

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),  # noqa: B008
    ) -> Arrays:
        """See :class:`~deepscan_client._transport.Transport`."""
        done = threading.Event()
        answer: list[tuple[Any, InferenceServerException | None]] = []

        def receive(result: Any, error: InferenceServerException | None) -> None:
            answer.append((result, error))
            done.set()

        call = self._connected().async_infer(
            model,
            make_inputs(triton, inputs),
            receive,
            outputs=make_outputs(triton, outputs),
            request_id=options.request_id,
            client_timeout=_seconds(options.deadline, options.request_id),
            headers=metadata(options),
        )
        try:
            if options.cancellation is None:
                done.wait()
            else:
                with options.cancellation.runs(call.cancel):
                    done.wait()
        except BaseException:  # Ctrl-C while waiting: the server need not go on
            call.cancel()
            raise
        result, error = answer[0]
        if error is not None:
            raise _typed(error, options.request_id) from error
        return read_outputs(result, outputs)

    def stream(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),  # noqa: B008
    ) -> Generator[Arrays, None, None]:
        """See :class:`~deepscan_client._transport.Transport`.

        Each stream has a channel of its own, because tritonclient's client knows one stream at a time.
        """
        messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        cancellation = options.cancellation
        client = self._channel()
        with contextlib.closing(client):
            client.start_stream(
                lambda result, error: messages.put((result, error)),
                stream_timeout=_seconds(options.deadline, options.request_id),
                headers=metadata(options),
            )
            reader = client._stream._handler  # a stream that ends without a word is told by its end alone
            # Closing the client ends the call: without this it would wait for a server that hangs.
            stop = contextlib.ExitStack()
            stop.callback(client.stop_stream, cancel_requests=True)
            with stop, cancellation.runs(stop.close) if cancellation is not None else contextlib.nullcontext():
                try:
                    client.async_stream_infer(
                        model,
                        make_inputs(triton, inputs),
                        outputs=make_outputs(triton, outputs),
                        request_id=options.request_id,
                        enable_empty_final_response=True,
                    )
                except InferenceServerException as refused:
                    if cancellation is not None:
                        cancellation.raise_if_cancelled(options.request_id)  # before anything was sent
                    why = _next_message(messages, reader, None)  # it broke before that, and was told so
                    refused = refused if why is None or why[1] is None else why[1]
                    raise _typed(refused, options.request_id) from refused
                silence = None
                while True:
                    try:
                        message = _next_message(messages, reader, silence)
                    except queue.Empty:
                        raise silence_error(options.request_id or None) from None
                    if message is None:
                        return
                    result, error = message
                    if error is not None:
                        raise _typed(error, options.request_id) from error
                    answer = result.get_response()
                    if answer.outputs:
                        yield read_outputs(result, outputs)
                    if answer.parameters["triton_final_response"].bool_param:
                        return
                    silence = options.silence

    def health(self, model: str, deadline: Deadline | None = None) -> Health:
        """See :class:`~deepscan_client._transport.Transport`."""
        try:
            client = self._connected()
            ready = client.is_server_ready(client_timeout=_seconds(deadline))
            loaded = ready and client.is_model_ready(model, client_timeout=_seconds(deadline))
        except InferenceServerException as error:
            return _not_ready(error)
        except DeepScanError as error:
            return Health(live=False, ready=False, detail=error.message)
        return health_of(ready, loaded, model)

    def close(self) -> None:
        """Close the channel."""
        with self._making:
            client, self._client = self._client, None
        if client is not None:
            client.close()


class AsyncGrpcTransport:
    """Over gRPC, for asyncio. The channel is made with the first call, inside its event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: Any = None

    def _connected(self) -> Any:
        if self._client is None:
            from tritonclient.grpc.aio import InferenceServerClient

            self._client = InferenceServerClient(
                self._address.target, ssl=self._address.secure, channel_args=_channel_arguments(self._address)
            )
        return self._client

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),  # noqa: B008
    ) -> Arrays:
        """See :class:`~deepscan_client._transport.AsyncTransport`."""
        try:
            result = await self._connected().infer(
                model,
                make_inputs(triton, inputs),
                outputs=make_outputs(triton, outputs),
                request_id=options.request_id,
                client_timeout=_seconds(options.deadline, options.request_id),
                headers=metadata(options),
            )
        except InferenceServerException as error:
            raise _typed(error, options.request_id) from error
        except asyncio.CancelledError as error:
            raise _closed(error, options.request_id) from error
        return read_outputs(result, outputs)

    async def stream(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),  # noqa: B008
    ) -> AsyncGenerator[Arrays, None]:
        """See :class:`~deepscan_client._transport.AsyncTransport`."""

        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield {
                "model_name": model,
                "inputs": make_inputs(triton, inputs),
                "outputs": make_outputs(triton, outputs),
                "request_id": options.request_id,
            }

        call = self._connected().stream_infer(
            requests(),
            stream_timeout=_seconds(options.deadline, options.request_id),
            headers=metadata(options),
        )
        silence = None
        try:
            while True:
                try:
                    async with asyncio.timeout(silence):
                        message = await anext(call, None)
                except TimeoutError:
                    raise silence_error(options.request_id or None) from None
                if message is None:
                    return
                result, error = message
                if error is not None:
                    raise _typed(error, options.request_id) from error
                yield read_outputs(result, outputs)
                silence = options.silence
        except grpc.RpcError as error:
            raise error_from_status(str(error.code()), error.details() or "", options.request_id or None) from error
        except asyncio.CancelledError as error:
            raise _closed(error, options.request_id) from error
        finally:
            call.cancel()

    async def health(self, model: str, deadline: Deadline | None = None) -> Health:
        """See :class:`~deepscan_client._transport.AsyncTransport`."""
        client = self._connected()
        try:
            ready = await client.is_server_ready(client_timeout=_seconds(deadline))
            loaded = ready and await client.is_model_ready(model, client_timeout=_seconds(deadline))
        except InferenceServerException as error:
            return _not_ready(error)
        except DeepScanError as error:
            return Health(live=False, ready=False, detail=error.message)
        return health_of(ready, loaded, model)

    async def close(self) -> None:
        """Close the channel."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
