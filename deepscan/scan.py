"""Many photos and recordings through a server: several in flight, answers in the order of the input."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscan.inputs import Found, read_media, size_of
from deepscan_client import AsyncDeepScanClient, DeepScanError, InternalError, Label, Medium, Progress, Reason, Verdict

_AHEAD = 4
"""Finished answers that wait for a slow one before them, as a multiple of what is in flight."""
_LARGE_BYTES = 32 * 1024 * 1024
"""Larger files are sent one at a time: each is in memory here and several times in the server."""
_TOLD_BYTES = 1024 * 1024
"""Smaller recordings are judged before their progress could be shown."""


@dataclass(frozen=True)
class Settings:
    """What every file of a scan is asked."""

    in_flight: int = 4
    heatmaps: bool = False
    """For photos."""
    threshold: float | None = None
    deadline: float = 120.0
    """Seconds for one photo; a recording has the client's own deadline."""
    on_progress: Callable[[Found, Progress], object] | None = None
    """Told how far a long recording has been heard; over gRPC only."""


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
                async with one_large if size_of(found) > _LARGE_BYTES else contextlib.nullcontext():
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
    data = await asyncio.to_thread(read_media, found)
    if found.medium is not Medium.AUDIO:
        return await client.detect_image(
            data,
            heatmaps=settings.heatmaps,
            confidence_threshold=settings.threshold,
            deadline=settings.deadline,
        )
    tell = settings.on_progress
    listener = None if tell is None or len(data) < _TOLD_BYTES else lambda progress: tell(found, progress)
    return await client.detect_audio(data, confidence_threshold=settings.threshold, on_progress=listener)


def decided(verdict: Verdict) -> str:
    """What decided, in a few words: the reasons of an inconclusive verdict, else the heaviest evidence."""
    told = [reason for reason in verdict.reasons if reason is not Reason.CUSTOM_THRESHOLD]
    if verdict.label is Label.INCONCLUSIVE:
        return ", ".join(map(str, told)) or "inconclusive"
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


def write_picture(result: Result, folder: Path, number: int) -> Path | None:
    """Write the picture of one result, ``<number>_<name>``, so that no name can leave the folder.

    A photo gets its boxes and heat maps (.jpg), a recording its spectrogram and timeline (.png).

    Returns:
        The file, or None where there is nothing to draw.
    """
    import cv2

    if result.verdict is None:
        return None
    if result.verdict.medium is Medium.AUDIO:
        drawn, form = _recording(result.found, result.verdict), ".png"
    elif result.verdict.faces:
        drawn, form = _overlay(result.found, result.verdict), ".jpg"
    else:
        return None
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in Path(result.found.path).stem)[:80]
    file = folder / f"{number:05d}_{stem.lstrip('.') or 'file'}{form}"
    folder.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(form, drawn[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92] if form == ".jpg" else [])
    if not encoded:
        raise InternalError(f"the picture of {result.found.path} cannot be encoded")
    file.write_bytes(data.tobytes())
    return file


def _overlay(found: Found, verdict: Verdict) -> Any:
    from pipelines.image.decode import decode_image
    from pipelines.image.overlay import draw_overlay
    from pipelines.image.probe import probe_image

    return draw_overlay(decode_image(probe_image(read_media(found)).picture), verdict)


def _recording(found: Found, verdict: Verdict) -> Any:
    from pipelines.audio.picture import draw_recording
    from pipelines.audio.source import open_audio

    return draw_recording(open_audio(read_media(found)).blocks(), verdict)
