"""From one photo's bytes to its verdict: cache, admission, deadline, Triton."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from deepscan_client import DeadlineError, DeepScanError, ServiceError, Verdict
from ml_backend.inference.admission import Admission
from ml_backend.inference.cache import Key, RecordBook, VerdictCache
from ml_backend.inference.settings import Settings
from ml_backend.inference.stats import Stats

_GRACE_SECONDS = 0.5
"""The client ends a call at its deadline by itself; this is for one that does not."""


class ImageClient(Protocol):
    """What the gateway needs of :class:`deepscan_client.AsyncDeepScanClient`."""

    async def detect_image(
        self,
        image: bytes,
        *,
        heatmaps: bool = False,
        confidence_threshold: float | None = None,
        request_id: str | None = None,
        deadline: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Judge one photo."""
        ...

    async def close(self) -> None:
        """Give the connections back."""
        ...


@dataclass(frozen=True)
class Asked:
    """What came with a photo."""

    request_id: str
    heatmaps: bool = False
    confidence_threshold: float | None = None
    fresh: bool = False
    """Ask Triton even where the verdict is in the cache."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent to Triton, ``traceparent`` for example."""


class Verdicts:
    """Answers photos.

    Args:
        client: speaks to Triton.
        settings: limits.
        stats: counts verdicts.
        records: which records are serving.
    """

    def __init__(self, client: ImageClient, settings: Settings, stats: Stats, records: RecordBook) -> None:
        self._client = client
        self._settings = settings
        self._stats = stats
        self._running: dict[Key, asyncio.Task[Verdict]] = {}
        self.records = records
        self.cache = VerdictCache(settings.cache_mb, settings.cache_seconds)
        self.admission = Admission(settings.in_flight, settings.queue)
        self.lost_triton = asyncio.Event()
        """Set by an answer that lets health be looked at before its time."""

    async def image(self, data: bytes, asked: Asked, patient: bool = False) -> Verdict:
        """The verdict on one photo.

        Same bytes and options that are asked again while the first are at work share its answer.

        Args:
            data: as the caller sent them.
            asked: options, ids.
            patient: an item of a batch, see :meth:`Admission.place`.

        Raises:
            DeepScanError: typed by what the caller can do.
        """
        start = time.perf_counter()
        verdict = await self._image(data, asked, patient)
        milliseconds = (time.perf_counter() - start) * 1e3
        if verdict.cached:
            verdict = dataclasses.replace(verdict, timing_ms={"total": milliseconds})
        self._stats.verdict(verdict, milliseconds)
        return verdict

    async def _image(self, data: bytes, asked: Asked, patient: bool) -> Verdict:
        digest = await asyncio.to_thread(_sha256, data) if len(data) > 1 << 20 else _sha256(data)
        key = (digest, asked.heatmaps, asked.confidence_threshold, self.records.fingerprint)
        if asked.fresh:
            return await self._ask(data, digest, asked, patient)
        known = self.cache.get(key)
        if known is not None:
            return dataclasses.replace(known, request_id=asked.request_id, cached=True)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(data, digest, asked, patient))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
            return await task
        try:
            verdict = await asyncio.shield(task)
        except DeepScanError as error:
            raise _for_request(error, asked.request_id) from error
        except asyncio.CancelledError:
            if not task.cancelled():
                raise  # this caller went away, not the first one
            return await self._ask(data, digest, asked, patient)
        return dataclasses.replace(verdict, request_id=asked.request_id)

    async def _ask(self, data: bytes, digest: str, asked: Asked, patient: bool) -> Verdict:
        """Ask Triton, and keep the answer."""
        limit = time.monotonic() + self._settings.deadline
        try:
            async with asyncio.timeout(self._settings.deadline + _GRACE_SECONDS), self.admission.place(patient):
                verdict = await self._client.detect_image(
                    data,
                    heatmaps=asked.heatmaps,
                    confidence_threshold=asked.confidence_threshold,
                    request_id=asked.request_id,
                    deadline=max(0.001, limit - time.monotonic()),
                    headers=asked.headers,
                )
        except TimeoutError as error:
            raise DeadlineError(
                f"no verdict within {self._settings.deadline:g} s",
                remedy="send it again, smaller or when there is less to do",
                request_id=asked.request_id,
            ) from error
        except ServiceError:
            self.lost_triton.set()
            raise
        self.records.observe(verdict)
        self.cache.put((digest, asked.heatmaps, asked.confidence_threshold, self.records.fingerprint), verdict)
        return verdict

    async def canary(self, data: bytes) -> Verdict:
        """A verdict on the canary photo: not counted, not cached, not queued."""
        self.records.refresh()
        verdict = await self._client.detect_image(data, request_id="canary", deadline=5.0)
        self.records.observe(verdict)
        return verdict

    async def close(self) -> None:
        """Give the client's connections back."""
        await self._client.close()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _for_request(error: DeepScanError, request_id: str) -> DeepScanError:
    return type(error)(error.message, code=error.code, remedy=error.remedy, request_id=request_id)
