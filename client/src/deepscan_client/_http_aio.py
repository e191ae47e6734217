"""The HTTP transport for asyncio (aiohttp, through tritonclient)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast

import tritonclient.http as triton
from aiohttp import ClientConnectorError, ClientError, ClientResponseError
from tritonclient.utils import InferenceServerException

from deepscan_client._config import Deadline, Health
from deepscan_client._http import STATUS_DETAIL, not_http, not_triton, words_of
from deepscan_client._status import deadline_error, error_from_status, unreachable
from deepscan_client._tensors import make_inputs, make_outputs, read_outputs
from deepscan_client._transport import Address, Array, Arrays, CallOptions, cannot_stream, health_of, metadata
from deepscan_client.errors import DeadlineError, DeepScanError, UnavailableError


class AsyncHttpTransport:
    """Over HTTP, for asyncio (aiohttp). The session is made with the first call, inside its event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: Any = None

    def _connected(self) -> Any:
        if self._client is None:
            from tritonclient.http.aio import InferenceServerClient

            # Deadlines are kept around each call, so that the session itself needs none.
            self._client = InferenceServerClient(
                self._address.target,
                ssl=self._address.secure,
                ssl_context=ssl.create_default_context() if self._address.secure else False,
                conn_limit=1000,
                conn_timeout=cast(float, None),
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
        request_id = options.request_id or None
        call = self._connected().infer(
            model,
            make_inputs(triton, inputs),
            outputs=make_outputs(triton, outputs),
            request_id=options.request_id,
            headers=metadata(options),
        )
        try:
            return read_outputs(await _within(call, options.deadline, request_id), outputs)
        except InferenceServerException as error:
            raise error_from_status(error.status(), words_of(error.message() or ""), request_id) from error
        except (OSError, ClientError) as error:
            raise self._broken(error, request_id) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise not_triton(error, request_id) from error

    def stream(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        options: CallOptions = CallOptions(),  # noqa: B008
    ) -> AsyncGenerator[Arrays, None]:
        """See :class:`~deepscan_client._transport.AsyncTransport`.

        Raises:
            RequestError: always.
        """
        raise cannot_stream(self._address, model, options.request_id)

    async def health(self, model: str, deadline: Deadline | None = None) -> Health:
        """See :class:`~deepscan_client._transport.AsyncTransport`."""
        client = self._connected()
        try:
            ready = await _within(client.is_server_ready(), deadline, None)
            loaded = ready and await _within(client.is_model_ready(model), deadline, None)
        except (InferenceServerException, OSError, ClientError, DeadlineError) as error:
            return Health(live=False, ready=False, detail=str(error)[:STATUS_DETAIL])
        return health_of(ready, loaded, model)

    async def close(self) -> None:
        """Close the session."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _broken(self, error: OSError | ClientError, request_id: str | None) -> DeepScanError:
        """aiohttp's errors of a connection; those before sending, and of what is no HTTP, have classes of their own."""
        if isinstance(error, ClientResponseError):
            return not_http(self._address, request_id)
        if isinstance(error, ClientConnectorError):
            return unreachable(str(self._address), str(error))
        return UnavailableError(
            f"the connection to {self._address} broke: {error}",
            remedy="send it again if it may be judged twice",
            request_id=request_id,
        )


async def _within(call: Any, deadline: Deadline | None, request_id: str | None) -> Any:
    """Await a call no longer than its deadline.

    Raises:
        DeadlineError: it passed; the call was cancelled.
    """
    if deadline is None:
        return await call
    try:
        return await asyncio.wait_for(call, deadline.remaining())
    except TimeoutError as error:
        raise deadline_error(request_id) from error
