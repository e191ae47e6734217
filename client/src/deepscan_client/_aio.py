"""The client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from types import TracebackType

from deepscan_client._client import DEFAULT_URL
from deepscan_client._config import Deadline, Health, RetryBudget, RetryPolicy, Timeout
from deepscan_client._media import Recording, Source, read_recording, read_source
from deepscan_client._request import (
    AUDIO,
    IMAGE,
    KINDS,
    MULTIMODAL,
    OUTPUTS,
    STREAM_OUTPUTS,
    VIDEO,
    Detection,
    Listener,
    ended_early,
    make_request,
    next_pause,
    read_progress,
    read_verdict,
)
from deepscan_client._transport import Arrays, AsyncTransport, connect_async
from deepscan_client._video import UPLOAD_MODEL, UPLOAD_OUTPUTS, Clip, Upload, Voice
from deepscan_client.codes import Medium
from deepscan_client.errors import DeepScanError
from deepscan_client.verdict import Progress, Verdict


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
            make_request(
                IMAGE,
                data,
                heatmaps=heatmaps,
                confidence_threshold=confidence_threshold,
                request_id=request_id,
                deadline=until,
                headers=headers,
            )
        )

    async def detect_audio(
        self,
        audio: Recording,
        *,
        analyzers: bool = False,
        confidence_threshold: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        request_id: str | None = None,
        deadline: float | Deadline | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Judge one recording; see :meth:`DeepScanClient.detect_audio`. ``on_progress`` is a plain function."""
        until = Deadline.of(deadline, self.timeout.recording)
        data = audio if isinstance(audio, bytes) else await asyncio.to_thread(read_recording, audio)
        return await self._detect(
            make_request(
                AUDIO,
                data,
                analyzers=analyzers,
                confidence_threshold=confidence_threshold,
                request_id=request_id,
                deadline=until,
                headers=headers,
            ),
            on_progress,
        )

    async def detect_video(
        self,
        video: Clip,
        *,
        num_frames: int | None = None,
        fps: float | None = None,
        heatmaps: bool = False,
        analyzers: bool = False,
        confidence_threshold: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        request_id: str | None = None,
        deadline: float | Deadline | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Judge one video; see :meth:`DeepScanClient.detect_video`. ``on_progress`` is a plain function."""
        until = Deadline.of(deadline, self.timeout.video)
        return await self._detect(
            make_request(
                VIDEO,
                await asyncio.to_thread(Upload.of, video),
                num_frames=num_frames,
                fps=fps,
                heatmaps=heatmaps,
                analyzers=analyzers,
                confidence_threshold=confidence_threshold,
                request_id=request_id,
                deadline=until,
                headers=headers,
                silence=self.timeout.silence,
            ),
            on_progress,
        )

    async def detect_multimodal(
        self,
        video: Clip,
        audio: Voice | None = None,
        *,
        num_frames: int | None = None,
        fps: float | None = None,
        heatmaps: bool = False,
        analyzers: bool = False,
        confidence_threshold: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        request_id: str | None = None,
        deadline: float | Deadline | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Judge pictures and sound together; see :meth:`DeepScanClient.detect_multimodal`. ``on_progress`` is a plain
        function."""
        until = Deadline.of(deadline, self.timeout.video)
        return await self._detect(
            make_request(
                MULTIMODAL,
                await asyncio.to_thread(Upload.of, video),
                None if audio is None else await asyncio.to_thread(Upload.beside, audio),
                num_frames=num_frames,
                fps=fps,
                heatmaps=heatmaps,
                analyzers=analyzers,
                confidence_threshold=confidence_threshold,
                request_id=request_id,
                deadline=until,
                headers=headers,
                silence=self.timeout.silence,
            ),
            on_progress,
        )

    async def health(self, deadline: float | Deadline | None = None, medium: Medium = Medium.IMAGE) -> Health:
        """Whether the server lives and can judge a medium; a server that is away is an answer, no error."""
        return await self.transport.health(KINDS[medium].model, Deadline.of(deadline, self.timeout.health))

    async def is_ready(self, deadline: float | Deadline | None = None, medium: Medium = Medium.IMAGE) -> bool:
        """Whether the server can judge a medium."""
        return (await self.health(deadline, medium)).ready

    async def close(self) -> None:
        """Give the connections back."""
        await self.transport.close()

    async def __aenter__(self) -> AsyncDeepScanClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _detect(self, detection: Detection, on_progress: Callable[[Progress], object] | None = None) -> Verdict:
        options, listener = detection.options, Listener(on_progress)
        tried = 0
        while True:
            tried += 1
            try:
                arrays = await self._ask(detection, listener)
            except DeepScanError as error:
                if error is listener.raised:
                    raise
                error.request_id = error.request_id or options.request_id
                await asyncio.sleep(next_pause(error, tried, self.retry, self._budget, options.deadline))
                continue
            self._budget.give_back()
            return read_verdict(arrays, options.request_id)

    async def _ask(self, detection: Detection, listener: Listener) -> Arrays:
        """One try: the message that holds the verdict."""
        kind, options = detection.kind, detection.options
        inputs, pieces = detection.begin() if not detection.files else await asyncio.to_thread(detection.begin)
        if not (listener.listens or kind.streams_only):
            return await self.transport.infer(kind.model, inputs, OUTPUTS, options)
        messages = self.transport.stream(kind.stream, inputs, STREAM_OUTPUTS, options)
        async with contextlib.aclosing(messages):
            while detection.files:  # before the stream, which begins with its first message
                piece = await asyncio.to_thread(next, pieces, None)
                if piece is None:
                    break
                await self.transport.infer(UPLOAD_MODEL, piece, UPLOAD_OUTPUTS, options)
            async for message in messages:
                progress = read_progress(message, options.request_id)
                if progress is None:
                    return message
                listener.tell(progress)
        raise ended_early(options.request_id)
