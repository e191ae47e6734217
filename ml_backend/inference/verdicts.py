"""From one photo, recording or video to its verdict: cache, admission, deadline, Triton."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from deepscan_client import DeadlineError, DeepScanError, Medium, Progress, ServiceError, Verdict
from ml_backend.inference.admission import Admission
from ml_backend.inference.cache import Key, RecordBook, VerdictCache
from ml_backend.inference.media_client import Film, Media, MediaClient, Tell
from ml_backend.inference.settings import Settings
from ml_backend.inference.stats import Stats
from serving.canary import VIDEO_FRAMES

_GRACE_SECONDS = 0.5
"""The client ends a call at its deadline by itself; this is for one that does not."""
LARGE_BYTES = 32 * 1024 * 1024
"""Larger recordings are taken one at a time: each is in memory here and several times in Triton."""
LONG_BYTES = 1024 * 1024
"""Larger recordings go to the model that streams, so that short ones never wait behind an hour of sound."""
_CANARY_SECONDS = 5.0
_PLACES = {each: Medium.VIDEO if each is Medium.MULTIMODAL else each for each in Medium}
"""Whose places a medium takes: pictures with sound are as much work as pictures."""


@dataclass(frozen=True)
class Asked:
    """What came with a photo, a recording or a video."""

    request_id: str
    heatmaps: bool = False
    """For photos and videos."""
    analyzers: bool = False
    """For recordings and videos."""
    num_frames: int | None = None
    """For videos."""
    fps: float | None = None
    """For videos, instead of ``num_frames``."""
    confidence_threshold: float | None = None
    fresh: bool = False
    """Ask Triton even where the verdict is in the cache."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent to Triton, ``traceparent`` for example."""


class Verdicts:
    """Answers photos, recordings and videos.

    Args:
        client: speaks to Triton.
        settings: limits.
        stats: counts verdicts.
        records: which records are serving.
    """

    def __init__(self, client: MediaClient, settings: Settings, stats: Stats, records: RecordBook) -> None:
        self._client = client
        self._stats = stats
        self._running: dict[Key, asyncio.Task[Verdict]] = {}
        self._deadlines = {
            Medium.IMAGE: settings.deadline,
            Medium.AUDIO: settings.recording_deadline,
            Medium.VIDEO: settings.video_deadline,
            Medium.MULTIMODAL: settings.video_deadline,
        }
        self.records = records
        self.cache = VerdictCache(settings.cache_mb, settings.cache_seconds)
        # A recording can take a minute: photos have places of their own.
        self.admissions = {
            Medium.IMAGE: Admission(settings.in_flight, settings.queue),
            Medium.AUDIO: Admission(settings.recordings, settings.queue, "recordings"),
            Medium.VIDEO: Admission(settings.videos, settings.queue, "videos"),
        }
        self._large = Admission(1, settings.queue, "large recordings")
        self.lost_triton = asyncio.Event()
        """Set by an answer that lets health be looked at before its time."""

    @property
    def at_work(self) -> int:
        """Files that Triton works on."""
        return sum(each.at_work for each in self.admissions.values())

    @property
    def waiting(self) -> int:
        """Files that wait for their turn."""
        return sum(each.waiting for each in (*self.admissions.values(), self._large))

    @property
    def shed(self) -> int:
        """Files that were told to come back later."""
        return sum(each.shed for each in (*self.admissions.values(), self._large))

    @asynccontextmanager
    async def room(self, size: int, patient: bool = False) -> AsyncIterator[None]:
        """Room for a file of so many bytes; to be held from before it is read until it is judged.

        Raises:
            OverloadedError: too many large files wait already.
            DeadlineError: those before it took too long.
        """
        async with AsyncExitStack() as held:
            if size > LARGE_BYTES:
                try:
                    async with asyncio.timeout(self._deadlines[Medium.AUDIO]):
                        await held.enter_async_context(self._large.place(patient))
                except TimeoutError as error:
                    raise DeadlineError(
                        "other large files were at work all the time", remedy="send it again when there is less to do"
                    ) from error
            yield

    async def judge(
        self, medium: Medium, data: Media, asked: Asked, patient: bool = False, tell: Tell | None = None
    ) -> Verdict:
        """The verdict on one photo, recording or video.

        Same bytes and options that are asked again while the first are at work share its answer, unless they want to be
        told of its progress.

        Args:
            medium: image, audio, video or multimodal.
            data: as the caller sent them.
            asked: options, ids.
            patient: an item of a batch, see :meth:`Admission.place`.
            tell: gets the progress of a video.

        Raises:
            DeepScanError: typed by what the caller can do.
        """
        start = time.perf_counter()
        verdict = await self._judge(medium, data, asked, patient, tell)
        milliseconds = (time.perf_counter() - start) * 1e3
        if verdict.cached:
            verdict = dataclasses.replace(verdict, timing_ms={"total": milliseconds})
        self._stats.verdict(verdict, milliseconds)
        return verdict

    async def _judge(self, medium: Medium, data: Media, asked: Asked, patient: bool, tell: Tell | None) -> Verdict:
        small = isinstance(data, bytes) and len(data) <= 1 << 20
        digest = _sha256(data) if small else await asyncio.to_thread(_sha256, data)
        key = self._key(medium, digest, asked)
        if asked.fresh:
            return await self._ask(medium, data, digest, asked, patient, tell)
        known = self.cache.get(key)
        if known is not None:
            return dataclasses.replace(known, request_id=asked.request_id, cached=True)
        if tell is not None:
            return await self._ask(medium, data, digest, asked, patient, tell)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(medium, data, digest, asked, patient))
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
            return await self._ask(medium, data, digest, asked, patient)
        return dataclasses.replace(verdict, request_id=asked.request_id)

    def _key(self, medium: Medium, digest: str, asked: Asked) -> Key:
        heat = asked.heatmaps and medium is not Medium.AUDIO
        more = asked.analyzers and medium is not Medium.IMAGE
        frames = (asked.num_frames, asked.fps) if medium in (Medium.VIDEO, Medium.MULTIMODAL) else (None, None)
        return (str(medium), digest, heat, more, *frames, asked.confidence_threshold, self.records.fingerprint)

    async def _ask(
        self, medium: Medium, data: Media, digest: str, asked: Asked, patient: bool, tell: Tell | None = None
    ) -> Verdict:
        """Ask Triton, and keep the answer."""
        seconds = self._deadlines[medium]
        limit = time.monotonic() + seconds
        try:
            async with asyncio.timeout(seconds + _GRACE_SECONDS), self.admissions[_PLACES[medium]].place(patient):
                verdict = await self._send(medium, data, asked, max(0.001, limit - time.monotonic()), tell)
        except TimeoutError as error:
            raise DeadlineError(
                f"no verdict within {seconds:g} s",
                remedy="send it again, smaller or when there is less to do",
                request_id=asked.request_id,
            ) from error
        except ServiceError:
            self.lost_triton.set()
            raise
        self.records.observe(verdict)
        self.cache.put(self._key(medium, digest, asked), verdict)
        return verdict

    async def _send(
        self, medium: Medium, data: Media, asked: Asked, seconds: float, tell: Tell | None = None
    ) -> Verdict:
        common: dict[str, Any] = {
            "confidence_threshold": asked.confidence_threshold,
            "request_id": asked.request_id,
            "deadline": seconds,
            "headers": asked.headers,
        }
        if isinstance(data, Film):
            common |= {"num_frames": asked.num_frames, "fps": asked.fps, "on_progress": tell}
            common |= {"heatmaps": asked.heatmaps, "analyzers": asked.analyzers}
            if medium is Medium.MULTIMODAL:
                return await self._client.detect_multimodal(data.video, data.audio, **common)
            return await self._client.detect_video(data.video, **common)
        if medium is Medium.AUDIO:
            told = _not_shown if len(data) > LONG_BYTES else None
            return await self._client.detect_audio(data, analyzers=asked.analyzers, on_progress=told, **common)
        return await self._client.detect_image(data, heatmaps=asked.heatmaps, **common)

    async def canary(self, medium: Medium, data: bytes) -> Verdict:
        """A verdict on a canary: not counted, not cached, not queued."""
        self.records.refresh()
        if medium is Medium.VIDEO:
            asked = Asked("canary", num_frames=VIDEO_FRAMES)
            verdict = await self._send(medium, Film(io.BytesIO(data)), asked, _CANARY_SECONDS)
        else:
            verdict = await self._send(medium, data, Asked("canary"), _CANARY_SECONDS)
        self.records.observe(verdict)
        return verdict

    async def close(self) -> None:
        """Give the client's connections back."""
        await self._client.close()


def _not_shown(progress: Progress) -> None:
    """A form has one answer: nobody is told of progress."""


def _sha256(data: Media) -> str:
    """Of the bytes; of a video and a recording one after the other."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    digests = []
    for file in (data.video, data.audio):
        if file is not None:
            file.seek(0)
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
            digests.append(digest.hexdigest())
    return "+".join(digests)


def _for_request(error: DeepScanError, request_id: str) -> DeepScanError:
    return type(error)(error.message, code=error.code, remedy=error.remedy, request_id=request_id)
