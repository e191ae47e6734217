"""Many photos through a server: several in flight, answers in the order of the input."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscan.inputs import Found, read_photo
from deepscan_client import AsyncDeepScanClient, DeepScanError, InternalError, Label, Medium, Reason, Verdict

_AHEAD = 4
"""Finished answers that wait for a slow one before them, as a multiple of what is in flight."""


@dataclass(frozen=True)
class Settings:
    """What every photo of a scan is asked."""

    in_flight: int = 4
    heatmaps: bool = False
    threshold: float | None = None
    deadline: float = 120.0


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
    waiting: deque[asyncio.Task[Result]] = deque()

    async def judge(found: Found) -> Result:
        async with gate:
            try:
                data = await asyncio.to_thread(read_photo, found)
                verdict = await client.detect_image(
                    data,
                    heatmaps=settings.heatmaps,
                    confidence_threshold=settings.threshold,
                    deadline=settings.deadline,
                )
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


def decided(verdict: Verdict) -> str:
    """What decided, in a few words: the reasons of an inconclusive verdict, else the heaviest evidence."""
    told = [reason for reason in verdict.reasons if reason is not Reason.CUSTOM_THRESHOLD]
    if verdict.label is Label.INCONCLUSIVE:
        return ", ".join(map(str, told)) or "inconclusive"
    weighed = [item for item in verdict.evidence if item.weight]
    if not weighed:
        return ", ".join(map(str, told))
    heaviest = max(weighed, key=lambda item: abs(item.score * (item.weight or 0.0)))
    return " ".join([heaviest.name, *(f"({reason})" for reason in told)])


def write_overlay(result: Result, folder: Path, number: int) -> Path | None:
    """Write the overlay of one result: ``<number>_<name>.jpg``, so that no name can leave the folder.

    Returns:
        The file, or None where there is nothing to draw.
    """
    import cv2

    from pipelines.image.decode import decode_image
    from pipelines.image.overlay import draw_overlay
    from pipelines.image.probe import probe_image

    if result.verdict is None or result.verdict.medium is not Medium.IMAGE or not result.verdict.faces:
        return None
    pixels = decode_image(probe_image(read_photo(result.found)).picture)
    drawn = draw_overlay(pixels, result.verdict)
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in Path(result.found.path).stem)[:80]
    file = folder / f"{number:05d}_{stem.lstrip('.') or 'photo'}.jpg"
    folder.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(".jpg", drawn[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not encoded:
        raise InternalError(f"the overlay of {result.found.path} cannot be encoded")
    file.write_bytes(data.tobytes())
    return file
