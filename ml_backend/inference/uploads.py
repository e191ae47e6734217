"""The forms that the end points take, and how many of them are received at the same time.

Files beyond one megabyte are spooled to an unnamed temporary file that ends with the request. The name that
a caller gives to a file is only ever shown back, never used as a path.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from starlette.datastructures import UploadFile
from starlette.requests import Request

from cards.limits import MAX_JUDGED_FRAMES
from deepscan_client import LimitError, RequestError
from deepscan_client.errors import OverloadedError
from ml_backend.inference.multipart import parts_of
from pipelines.options import RANGES, Options, refused

_FPS: Any = Options.model_fields["fps"]
"""With the limits that the models have."""


class MediaForm(BaseModel):
    """The plain fields of any form. An unknown one is an error, so that a typing mistake is not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence_threshold: float | None = Field(default=None, ge=0.0, le=1.0, allow_inf_nan=False)
    """``fake`` where the probability is at least this; the record's operating point where left out."""
    fresh: bool = False
    """Ask the models even where the verdict is in the cache."""

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_left_out(cls, value: Any, info: Any) -> Any:
        """A browser sends an empty field for a box that nobody filled in."""
        return cls.model_fields[info.field_name].default if value == "" else value


class PhotoForm(MediaForm):
    """The plain fields of a form that takes photos."""

    heatmaps: bool = False
    """Add a class-activation map to each face."""


class RecordingForm(MediaForm):
    """The plain fields of a form that takes recordings."""

    analyzers: bool = False
    """Measure the voice as well (pitch, jitter, pauses, breaths, speaker drift), as evidence without weight."""


class VideoForm(MediaForm):
    """The plain fields of a form that takes videos."""

    heatmaps: bool = False
    """Add a heat map of each face in each frame that is judged to its track."""
    analyzers: bool = False
    """Measure the body of the main face as well (blinks, gaze, head pose, pulse), as evidence without weight."""
    num_frames: int | None = Field(default=None, ge=1, le=MAX_JUDGED_FRAMES)
    """Frames to judge, spread evenly over the video's time; five a second where left out."""
    fps: float | None = _FPS
    """Frames a second to judge instead, as far as the limit of frames allows."""

    @model_validator(mode="after")
    def _one_rate(self) -> VideoForm:
        if self.num_frames is not None and self.fps is not None:
            raise ValueError("give num_frames or fps, not both")
        return self


class BatchForm(PhotoForm, RecordingForm, VideoForm):
    """The plain fields of a form that takes all media: each file takes what concerns it."""


@dataclass(frozen=True)
class Form:
    """A parsed form: its files in order, and its options."""

    files: tuple[UploadFile, ...]
    options: MediaForm
    beside: UploadFile | None = None
    """The file of the second field, where a form has one and it was sent."""


class UploadDoor:
    """Counts the bodies that are being received.

    Args:
        together: bodies at the same time.
        seconds: that one may take.
    """

    def __init__(self, together: int, seconds: float) -> None:
        self._together = together
        self._seconds = seconds
        self.open = 0

    @asynccontextmanager
    async def form(
        self,
        request: Request,
        field: str,
        most_files: int,
        most_bytes: int,
        fields: type[MediaForm] = PhotoForm,
        beside: str | None = None,
    ) -> AsyncIterator[Form]:
        """Receive a form; its files are gone after the block.

        Args:
            request: with a multipart body.
            field: the name under which files come.
            most_files: files that are allowed.
            most_bytes: bytes of all files together.
            fields: its plain fields.
            beside: the name under which one more file may come.

        Raises:
            RequestError: not a multipart form, malformed, a wrong field, no file, an option in the URL.
            LimitError: too many bytes, files or fields.
            OverloadedError: too many bodies are being received.
        """
        if strays := fields.model_fields.keys() & request.query_params.keys():
            raise RequestError(
                f"{min(strays)} came in the URL, where it is not read", remedy="send options as fields of the form"
            )
        if self.open >= self._together:
            raise OverloadedError(
                f"{self.open} uploads are being received", remedy="send it again after the seconds in Retry-After"
            )
        self.open += 1
        items: Sequence[tuple[str, str | UploadFile]] = ()
        try:
            async with asyncio.timeout(self._seconds):
                items = await parts_of(request, most_files, most_bytes)
            yield _form(items, field, fields, beside)
        except TimeoutError as error:
            raise RequestError("the body did not arrive in time", remedy="send it again over a faster link") from error
        finally:
            self.open -= 1
            for _, value in items:
                if isinstance(value, UploadFile):
                    value.file.close()


def _form(
    items: Sequence[tuple[str, str | UploadFile]], field: str, fields: type[MediaForm], beside: str | None
) -> Form:
    files: list[UploadFile] = []
    second: UploadFile | None = None
    plain: dict[str, str] = {}
    show = f"with curl: -F '{field}=@photo.jpg'"
    for name, value in items:
        if isinstance(value, UploadFile):
            if name == field:
                files.append(value)
            elif name == beside and second is None:
                second = value if value.filename or value.size else None  # a browser sends what nobody chose
            else:
                expected = f"{field!r}" if beside is None else f"{field!r}, and {beside!r} once"
                raise RequestError(f"a file came as {name[:60]!r}, expected is {expected}", remedy=show)
        elif name in plain:
            raise RequestError(f"{name[:60]!r} came twice", remedy="send each option once")
        else:
            plain[name] = value
    if texts := {field, beside} & plain.keys():
        raise RequestError(f"{min(map(str, texts))!r} came as text, not as a file", remedy=f"@ sends a file, {show}")
    if not files:
        raise RequestError(f"there is no file in the field {field!r}", remedy=show)
    try:
        return Form(tuple(files), fields.model_validate(plain), second)
    except ValidationError as error:
        raise refused(error, f"options are {', '.join(fields.model_fields)}: {RANGES}", "form") from error


async def read_file(upload: UploadFile, limit: int) -> bytes:
    """The bytes of one file.

    Raises:
        LimitError: it has more than ``limit``.
    """
    check_size(upload, limit)
    return await upload.read()


def check_size(upload: UploadFile, limit: int) -> None:
    """
    Raises:
        LimitError: a file has more bytes than ``limit``.
    """
    if (upload.size or 0) > limit:
        raise LimitError(
            f"the file has {upload.size:,} bytes, {limit:,} are allowed",
            remedy="send a smaller one, for example as JPEG, FLAC or H.264",
        )


def shown_name(upload: UploadFile) -> str:
    """A caller's file name, fit to be shown: no control characters, at most 255 characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in (upload.filename or ""))[:255]
