"""The client for threads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from deepscan_client._cancel import Cancellation
from deepscan_client._config import Deadline, Health, RetryBudget, RetryPolicy, Timeout
from deepscan_client._media import Source, read_source
from deepscan_client._request import IMAGE_MODEL, OUTPUTS, Detection, image_request, next_pause, read_verdict
from deepscan_client._transport import Transport, connect
from deepscan_client.errors import DeepScanError
from deepscan_client.verdict import Verdict

DEFAULT_URL = "127.0.0.1:8001"


class DeepScanClient:
    """Asks a DeepScan server; one object serves many threads.

    Args:
        url: ``host:port`` is gRPC; ``grpc://``, ``grpcs://``, ``http://`` and ``https://`` are understood.
        timeout: deadlines for calls that bring none.
        retry: when a request is sent again.
        transport: speaks to the server instead of one for ``url``, for example a
            :class:`~deepscan_client.FakeTransport`.

    Raises:
        ValueError: the URL is none.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout: Timeout | None = None,
        retry: RetryPolicy | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.timeout = timeout or Timeout()
        self.retry = retry or RetryPolicy()
        self.transport: Transport = connect(url, self.timeout) if transport is None else transport
        self._budget = RetryBudget(self.retry)

    def detect_image(
        self,
        image: Source,
        *,
        heatmaps: bool = False,
        confidence_threshold: float | None = None,
        request_id: str | None = None,
        deadline: float | Deadline | None = None,
        headers: Mapping[str, str] | None = None,
        cancellation: Cancellation | None = None,
    ) -> Verdict:
        """Judge one photo.

        Args:
            image: a path, the bytes of a file, or UINT8 [height, width, 3] RGB (sent without loss).
            heatmaps: add a class-activation map to each face.
            confidence_threshold: ``fake`` where the probability is at least this (0 to 1); the operating
                point of the server's record where left out.
            request_id: at most 128 printable ASCII characters; made up where left out.
            deadline: seconds, or a moment that several calls share; the client's timeout where left out.
            headers: passed on, for example ``{"traceparent": "00-…"}``.
            cancellation: cancels from another thread.

        Raises:
            OSError: the path cannot be read (a lost file is FileNotFoundError); nothing was sent.
            InputError: the photo cannot be judged, another one can.
            RequestError: the request is wrong.
            ServiceError: the service did not answer (unavailable, overloaded, deadline, cancelled, defect).
            InstallationError: the server's models are missing or damaged.
        """
        until = Deadline.of(deadline, self.timeout.request)
        return self._detect(
            image_request(
                read_source(image),
                heatmaps=heatmaps,
                confidence_threshold=confidence_threshold,
                request_id=request_id,
                deadline=until,
                headers=headers,
                cancellation=cancellation,
            )
        )

    def health(self, deadline: float | Deadline | None = None) -> Health:
        """Whether the server lives and can judge photos; a server that is away is an answer, no error."""
        return self.transport.health(IMAGE_MODEL, Deadline.of(deadline, self.timeout.health))

    def is_ready(self, deadline: float | Deadline | None = None) -> bool:
        """Whether the server can judge photos."""
        return self.health(deadline).ready

    def close(self) -> None:
        """Give the connections back."""
        self.transport.close()

    def __enter__(self) -> DeepScanClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _detect(self, detection: Detection) -> Verdict:
        options = detection.options
        tried = 0
        while True:
            if options.cancellation is not None:
                options.cancellation.raise_if_cancelled(options.request_id)
            tried += 1
            try:
                arrays = self.transport.infer(detection.model, detection.inputs, OUTPUTS, options)
            except DeepScanError as error:
                error.request_id = error.request_id or options.request_id
                pause = next_pause(error, tried, self.retry, self._budget, options.deadline)
                if options.cancellation is not None:
                    options.cancellation.wait(pause)
                else:
                    time.sleep(pause)
                continue
            self._budget.give_back()
            return read_verdict(arrays, options.request_id)
