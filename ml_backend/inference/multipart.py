"""The parts of a multipart body, received with limits: bytes are counted while they come in, never after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from cards.limits import MAX_OPTIONS_BYTES
from deepscan_client import ErrorCode, LimitError, RequestError
from deepscan_client.errors import DeepScanError

MAX_FIELDS = 16
"""Plain fields of one form."""
SHOW = "curl -F 'file=@photo.jpg' shows the form that is expected"
_FRAMING_BYTES = 4096
"""What boundaries and headers of one part may take beside its content."""
_IDLE_SECONDS = 20.0
"""A body that sends nothing for so long is given up."""


class _Parser(MultiPartParser):
    """Remembers whether the boundary that ends a form came: without it the last part is left out without a word."""

    ended = False

    def on_end(self) -> None:
        self.ended = True


async def parts_of(request: Request, most_files: int, most_bytes: int) -> list[tuple[str, str | UploadFile]]:
    """Names and values of a form, in order; the caller closes the files.

    Args:
        most_files: files that are allowed; most_bytes: bytes of all of them together.

    Raises:
        RequestError: not a multipart form, malformed, or cut off.
        LimitError: too many bytes, files or fields.
    """
    kind = request.headers.get("content-type", "")
    if kind.split(";")[0].strip().lower() != "multipart/form-data":
        raise RequestError(f"the body is {kind[:100] or 'of no stated type'}, not multipart/form-data", remedy=SHOW)
    allowed = most_bytes + (most_files + MAX_FIELDS) * _FRAMING_BYTES
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > allowed:
        raise _too_large(most_bytes)
    parser = _Parser(
        request.headers,
        _counted(request, allowed, most_bytes),
        max_files=most_files,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_OPTIONS_BYTES,
    )
    try:
        items = (await parser.parse()).multi_items()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise LimitError(
                f"more than {most_files} file{'s' * (most_files > 1)} in one request",
                remedy="send them in several requests; the sound of a video goes with it to /api/predict/multimodal",
            ) from error
        raise RequestError(f"the form cannot be read: {error.message[:200]}", remedy=SHOW) from error
    except DeepScanError:
        raise
    except (ValueError, KeyError, IndexError, UnicodeError) as error:  # the parser stumbles over odd headers
        raise RequestError("the form cannot be read: its headers are malformed", remedy=SHOW) from error
    if not parser.ended:
        for _, value in items:
            if isinstance(value, UploadFile):
                value.file.close()
        raise RequestError(
            "the body ends before its form does: it was cut off, or its boundary is another than the header says",
            remedy=f"send it again as a whole; {SHOW}",
        )
    return items


async def _counted(request: Request, allowed: int, most_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body in pieces, until it is larger than allowed or falls silent."""
    received = 0
    stream = request.stream()
    while True:
        try:
            piece = await asyncio.wait_for(anext(stream), _IDLE_SECONDS)
        except StopAsyncIteration:
            return
        received += len(piece)
        if received > allowed:
            raise _too_large(most_bytes)
        yield piece


def _too_large(most_bytes: int) -> LimitError:
    return LimitError(
        f"the request is larger than {most_bytes:,} bytes",
        code=ErrorCode.TOO_LARGE,
        remedy="send smaller files (photos as JPEG, sound as FLAC or in mono), or fewer in one request",
    )
