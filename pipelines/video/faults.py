"""Why a video is not opened, has no frames, or ends early: said from what its header, its index and its length tell;
and a frame that is too much work."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from cards.limits import MAX_IMAGE_PIXELS
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.image.scans import MAX_SCAN_PIXELS
from pipelines.media import HEAD, begins_like_video, matroska_end

BROKEN = (av.error.FFmpegError, OSError, ValueError)
"""What PyAV raises on a broken file: a jump out of it is Python's own OSError."""
_BOXES = 10_000
"""Boxes of a file that does not open that are looked at for the one that is cut off."""

_JPEGS = ("mjpeg", "mjpegb", "amv", "thp", "sp5x")
_MOST_SCANS = MAX_SCAN_PIXELS // MAX_IMAGE_PIXELS
"""Of one JPEG of a film, as of a photo of the largest size: the size may change in mid-film. Cameras write 1 to 3."""


def missing_end(
    path: Path, container: InputContainer, stream: VideoStream, packets: int, stamps: NDArray[np.int64]
) -> str:
    """What is missing at the end of the file, as far as its header tells; empty where nothing is.

    The header of an MP4 counts frames that its edit list leaves out, which is how phones cut videos; its index, after
    the packets were read, does not. The header of an AVI counts the moments at which a frame is shown again, too.
    """
    kind = container.format.name
    if kind.startswith("matroska"):
        size = path.stat().st_size
        with path.open("rb") as file:
            end = matroska_end(file.read(HEAD)) or 0
        return f"the file ends early: {size:,} of {end:,} bytes are there" if size < end else ""
    if kind.startswith("mov"):
        there, told = packets, len(stream.index_entries)
    else:
        shown = int(stamps[-1] + np.median(np.diff(stamps))) if len(stamps) > 1 else 0
        there, told = max(packets, shown), stream.frames
    return f"the file ends early: {there} of {told} frames are there" if there < told else ""


def no_frames(container: InputContainer) -> MediaError:
    """Why no packet has a time stamp."""
    if container.format.name in ("h264", "hevc", "m4v"):
        return MediaError(
            "a bare stream of pictures has no time stamps",
            code=ErrorCode.UNSUPPORTED,
            remedy="put it into a container: ffmpeg -i FILE -c copy FILE.mp4",
        )
    return MediaError("the video has no frames", code=ErrorCode.CORRUPT, remedy="send a file that a player can play")


def not_opened(handle: IO[bytes], error: Exception) -> MediaError:
    """Why a file was not opened, as far as its first bytes and its boxes tell."""
    handle.seek(0)
    head = handle.read(12)
    handle.seek(0, 2)
    size, position = handle.tell(), 0
    for _ in range(_BOXES):  # of an MP4: length, then type
        if head[4:8] != b"ftyp" or position + 8 > size:
            break
        handle.seek(position)
        box = handle.read(16)
        length = int.from_bytes(box[:4], "big")
        length = int.from_bytes(box[8:16], "big") if length == 1 else length or size - position
        if length < 8 or position + length > size:
            return MediaError(
                "the file is cut off before its index", code=ErrorCode.TRUNCATED, remedy="send the whole file"
            )
        position += length
    if begins_like_video(head):
        return MediaError(
            f"the file cannot be opened: {getattr(error, 'strerror', None) or 'its header is damaged'}",
            code=ErrorCode.CORRUPT,
            remedy="open the video in a video program and save it again",
        )
    return MediaError("the file is not a video", code=ErrorCode.NOT_MEDIA, remedy="send MP4, MOV, MKV, WebM or AVI")


def check_scans(packet: Packet[Any], stream: VideoStream) -> None:
    """Refuse a JPEG of very many scans: it is one packet, so that nobody could leave while it is decoded.

    All marks of scans in the packet count, also those of other pictures in it: FFmpeg goes on behind an end marker.

    Raises:
        LimitError: too many scans.
    """
    if stream.codec_context.codec.canonical_name not in _JPEGS:
        return
    scans = bytes(packet).count(b"\xff\xda")
    if scans > _MOST_SCANS:
        raise LimitError(
            f"a frame is drawn in {scans:,} scans; {_MOST_SCANS:,} are allowed",
            remedy="save the video as MP4 with H.264",
        )
