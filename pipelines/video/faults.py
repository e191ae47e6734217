"""Why a video is not opened or has no frames, said from what its header and its length tell; and a frame that is too
much work."""

from __future__ import annotations

from typing import IO, Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from cards.limits import MAX_IMAGE_PIXELS
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.image.scans import MAX_SCAN_PIXELS
from pipelines.media import begins_like_video

BROKEN = (av.error.FFmpegError, OSError, ValueError)
"""What PyAV raises on a broken file: a jump out of it is Python's own OSError."""
_BOXES = 10_000
"""Boxes of a file that does not open that are looked at for the one that is cut off."""

_JPEGS = ("mjpeg", "mjpegb", "amv", "thp", "sp5x")
_MOST_SCANS = MAX_SCAN_PIXELS // MAX_IMAGE_PIXELS
"""Of one JPEG of a film, as of a photo of the largest size: the size may change in mid-film. Cameras write 1 to 3."""


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
