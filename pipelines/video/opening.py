"""Open a video file with FFmpeg: within the limits, and only in containers that name no other file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from cards.limits import MAX_IMAGE_PIXELS, MAX_VIDEO_BYTES
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.mp4_index import begins_like_mp4, check_index
from pipelines.video.faults import BROKEN, not_opened
from pipelines.video.leaving import Check, WatchedFile
from pipelines.video.packets import picture_track

_MP4 = "mov,mp4,"
_OTHERS = "matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,h264,hevc,m4v,mjpeg"
#: What may be opened. Play lists are left out: they name other files and addresses.
FORMATS = _MP4 + _OTHERS


def check_file(path: Path, check: Check) -> str:
    """The formats that the file may be opened as.

    Raises:
        MediaError: it is missing or empty.
        LimitError: it has too many bytes, or its index would.
    """
    if not path.is_file():
        raise MediaError(f"{path.name} is no file", code=ErrorCode.NOT_MEDIA, remedy="name a local video file")
    size = path.stat().st_size
    if size == 0:
        raise MediaError("the file is empty", code=ErrorCode.EMPTY, remedy="send the bytes of a video")
    if size > MAX_VIDEO_BYTES:
        raise LimitError(f"the video has {size:,} bytes, {MAX_VIDEO_BYTES:,} are allowed", remedy="send a smaller file")
    with path.open("rb") as file:
        if not begins_like_mp4(file.read(8)):
            return _OTHERS
        check_index(file, check)
    return FORMATS


@contextlib.contextmanager
def opened(
    path: Path, formats: str, threads: int, check: Check, **options: str
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file, open, and its picture track.

    Args:
        formats: what :func:`check_file` said; threads: for the decoder.
        check: called at each read; what it raises ends the work.
        options: more of FFmpeg's.

    Raises:
        MediaError: it does not open, or has no picture track of a known codec.
    """
    with path.open("rb") as handle:
        try:
            container = av.open(
                WatchedFile(handle, check),
                mode="r",
                options={"format_whitelist": formats, "protocol_whitelist": "file", **options},
                metadata_errors="replace",
            )
        except BROKEN as error:
            raise not_opened(handle, error) from error
        with container:
            stream = picture_track(container)
            if stream is None:
                raise MediaError(
                    "the file has no picture track",
                    code=ErrorCode.UNSUPPORTED,
                    remedy="send a video, or judge the sound as a recording",
                )
            if stream.codec_context is None:
                raise MediaError(
                    "the picture track has an unknown codec",
                    code=ErrorCode.UNSUPPORTED,
                    remedy="save it as MP4 with H.264",
                )
            for other in container.streams:
                if other.index != stream.index:  # neither read nor unpacked
                    other.discard = av.stream.Discard.all
            stream.codec_context.thread_count = threads
            # The size can change inside: what is too large then is not even allocated, and counts as damaged.
            stream.codec_context.options = {"max_pixels": str(MAX_IMAGE_PIXELS)}
            yield container, stream
