"""Many photos, recordings and videos through a server: several in flight, answers in the order of the input."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from deepscan.inputs import MOVING, Found, check_media, read_media, size_of
from deepscan.parts import deciding_part
from deepscan_client import (
    AsyncDeepScanClient,
    DeepScanError,
    ErrorCode,
    InternalError,
    Label,
    MediaError,
    Medium,
    Progress,
    Reason,
    Verdict,
)

_AHEAD = 4
"""Finished answers that wait for a slow one before them, as a multiple of what is in flight."""
_LARGE_BYTES = 32 * 1024 * 1024
"""Larger photos and recordings are sent one at a time: each is in memory here and several times in the server."""
_TOLD_BYTES = 1024 * 1024
"""Smaller recordings are judged before their progress could be shown."""


@dataclass(frozen=True)
class Settings:
    """What every file of a scan is asked."""

    in_flight: int = 4
    heatmaps: frozenset[Medium] = frozenset()
    """Media whose faces get their heat maps."""
    threshold: float | None = None
    deadline: float = 120.0
    """Seconds for one photo; recordings and videos have the client's own deadlines."""
    on_progress: Callable[[Found, Progress], object] | None = None
    """Told how far a long recording has been heard and a video been seen; over gRPC only."""
    num_frames: int | None = None
    """Of each video; five a second where left out."""
    fps: float | None = None
    """Frames a second of each video instead."""
    analyzers: bool = False
    """Measure voices and faces of videos as well."""


@dataclass(frozen=True)
class Result:
    """One file and what came of it: a verdict or an error."""

    found: Found
    verdict: Verdict | None = None
    error: DeepScanError | None = None

    def to_dict(self) -> dict[str, Any]:
        """The line for machines: ``path`` first."""
        if self.verdict is not None:
            return {"path": self.found.path, **self.verdict.to_dict()}
        assert self.error is not None
        told = {"code": str(self.error.code), "message": self.error.message, "remedy": self.error.remedy}
        medium = None if self.found.medium is None else str(self.found.medium)
        return {"path": self.found.path, "medium": medium, "error": told}

    def lean(self) -> Result:
        """The same without the heat maps of a video, as :func:`without_track_maps`."""
        return self if self.verdict is None else dataclasses.replace(self, verdict=without_track_maps(self.verdict))

    def to_line(self) -> str:
        """One line of JSON in ASCII, so that no name can break a terminal or a reader."""
        return json.dumps(self.to_dict(), separators=(",", ":"))


async def scan(client: AsyncDeepScanClient, files: Iterable[Found], settings: Settings) -> AsyncIterator[Result]:
    """Judge files and yield their results in order.

    At most ``in_flight`` files are read and under way at once, so memory does not grow with the folder.
    A file that cannot be judged costs its own line only.
    """
    gate = asyncio.Semaphore(settings.in_flight)
    one_large = asyncio.Semaphore(1)
    waiting: deque[asyncio.Task[Result]] = deque()

    async def judge(found: Found) -> Result:
        async with gate:
            try:
                large = found.medium not in MOVING and size_of(found) > _LARGE_BYTES
                async with one_large if large else contextlib.nullcontext():
                    verdict = await _ask(client, found, settings)
            except DeepScanError as error:
                return Result(found, error=error)
            except Exception as error:  # one odd file must not end the scan of the others
                return Result(found, error=InternalError(f"{type(error).__name__}: {error}", remedy="report it"))
            return Result(found, verdict)

    try:
        for found in files:
            waiting.append(asyncio.create_task(judge(found)))
            if len(waiting) >= settings.in_flight * _AHEAD:
                yield await waiting.popleft()
            while waiting and waiting[0].done():
                yield waiting.popleft().result()
            await asyncio.sleep(0)  # let requests leave while a folder is walked
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _ask(client: AsyncDeepScanClient, found: Found, settings: Settings) -> Verdict:
    tell = settings.on_progress
    if found.medium in MOVING:
        return await _ask_as_video(client, found, settings)
    data = await asyncio.to_thread(read_media, found)
    if found.medium is not Medium.AUDIO:
        try:
            return await client.detect_image(
                data,
                heatmaps=Medium.IMAGE in settings.heatmaps,
                confidence_threshold=settings.threshold,
                deadline=settings.deadline,
            )
        except MediaError as error:
            if error.code is not ErrorCode.ANIMATED:
                raise
        return await _ask_as_video(client, found, settings)  # its first bytes did not tell that it moves
    listener = None if tell is None or len(data) < _TOLD_BYTES else lambda progress: tell(found, progress)
    return await client.detect_audio(
        data, analyzers=settings.analyzers, confidence_threshold=settings.threshold, on_progress=listener
    )


async def _ask_as_video(client: AsyncDeepScanClient, found: Found, settings: Settings) -> Verdict:
    tell = settings.on_progress
    ask = client.detect_multimodal if found.medium is Medium.MULTIMODAL else client.detect_video
    return await ask(
        await asyncio.to_thread(check_media, found),
        num_frames=settings.num_frames,
        fps=settings.fps,
        analyzers=settings.analyzers,
        heatmaps=Medium.VIDEO in settings.heatmaps,
        confidence_threshold=settings.threshold,
        on_progress=None if tell is None else lambda progress: tell(found, progress),
    )


def without_track_maps(verdict: Verdict) -> Verdict:
    """A verdict without the heat maps of a video: once they are drawn they would only fill memory and lines."""
    return dataclasses.replace(
        verdict, tracks=tuple(dataclasses.replace(track, heatmaps=()) for track in verdict.tracks)
    )


def decided(verdict: Verdict) -> str:
    """What decided, in a few words: the reasons of an inconclusive verdict, else the heaviest evidence, or the part
    of pictures and sound together."""
    told = [reason for reason in verdict.reasons if reason is not Reason.CUSTOM_THRESHOLD]
    if verdict.label is Label.INCONCLUSIVE:
        return ", ".join(map(str, told)) or "inconclusive"
    if part := deciding_part(verdict):
        return " ".join([part, *(f"({reason})" for reason in told), *_where(verdict)])
    weighed = [item for item in verdict.evidence if item.weight]
    if not weighed:
        return ", ".join(map(str, told))
    heaviest = max(weighed, key=lambda item: abs(item.score * (item.weight or 0.0)))
    return " ".join([heaviest.name, *(f"({reason})" for reason in told), *_where(verdict)])


def _where(verdict: Verdict) -> list[str]:
    """The suspicious seconds of a recording that is not suspicious as a whole; the first three of them."""
    whole = verdict.input.duration_s or 0.0
    found = verdict.suspicious
    if not found or sum(end - start for start, end in found) > 0.8 * whole:
        return []
    more = ["…"] if len(found) > 3 else []
    return ["at", ", ".join([*(f"{start:.1f}-{end:.1f} s" for start, end in found[:3]), *more])]
