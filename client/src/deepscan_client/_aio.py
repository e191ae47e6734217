"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType

from deepscan_client._client import DEFAULT_URL
from deepscan_client._config import Deadline, Health, RetryBudget, RetryPolicy, Timeout
from deepscan_client._media import Source, read_source
from deepscan_client._request import IMAGE_MODEL, OUTPUTS, Detection, image_request, next_pause, read_verdict
from deepscan_client._transport import AsyncTransport, connect_async
from deepscan_client.errors import DeepScanError
from deepscan_client.verdict import Verdict


class AsyncDeepScanClient:
    """Asks a DeepScan server from one event loop. Cancel the task, and the call on the server is cancelled.

    The arguments are those of :class:`~deepscan_client.DeepScanClient`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: Timeout | None = None,
        retry: RetryPolicy | None = None,
        transport: AsyncTransport | None = None,
    ) -> None:
        self.timeout = timeout or Timeout()
        self.retry = retry or RetryPolicy()
        self.transport: AsyncTransport = connect_async(url) if transport is None else transport
        self._budget = RetryBudget(self.retry)

    async def detect_image(
        self,
        image: Source,
        *,
        heatmaps: bool = False,
        confidence_threshold: float | None = None,
        request_id: str | None = None,
        deadline: float | Deadline | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Judge one photo; see :meth:`DeepScanClient.detect_image`."""
        until = Deadline.of(deadline, self.timeout.request)
        data = image if isinstance(image, bytes) else await asyncio.to_thread(read_source, image)
        return await self._detect(
            image_request(
                data,
                heatmaps=heatmaps,
                confidence_threshold=confidence_threshold,
                request_id=request_id,
                deadline=until,
                headers=headers,
            )
        )

    async def health(self, deadline: float | Deadline | None = None) -> Health:
        """Whether the server lives and can judge photos; a server that is away is an answer, no error."""
        return await self.transport.health(IMAGE_MODEL, Deadline.of(deadline, self.timeout.health))

    async def is_ready(self, deadline: float | Deadline | None = None) -> bool:
        """Whether the server can judge photos."""
        return (await self.health(deadline)).ready

    async def close(self) -> None:
        """Give the connections back."""
        await self.transport.close()

    async def __aenter__(self) -> AsyncDeepScanClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _detect(self, detection: Detection) -> Verdict:
        options = detection.options
        tried = 0
        while True:
            tried += 1
            try:
                arrays = await self.transport.infer(detection.model, detection.inputs, OUTPUTS, options)
            except DeepScanError as error:
                error.request_id = error.request_id or options.request_id
                await asyncio.sleep(next_pause(error, tried, self.retry, self._budget, options.deadline))
                continue
            self._budget.give_back()
            return read_verdict(arrays, options.request_id)
