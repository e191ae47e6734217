"""Which frames a file has and when each is shown, told by its packets; nothing is decoded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from cards.limits import MAX_VIDEO_FRAMES
from deepscan_client.errors import LimitError
from pipelines.video.faults import BROKEN
from pipelines.video.leaving import Check

_LISTED = 256
"""Packets that are listed between two checks: some milliseconds."""
_MORE_BYTES, _TIMES_THE_FILE = 512 * 1024 * 1024, 8
"""Bytes of all packets, and as many times those of the file: Matroska may have compressed them, and an edit list shows
some again. But ten kilobytes can become ten megabytes, and all frames of an MP4 can lie in one place."""


@dataclass(frozen=True)
class Listed:
    """The packets of a picture track.

    Attributes:
        stamps, keys: presentation stamps of all frames that are shown and of the key frames, rising and each once.
        packets: how many there are, those that are not to be shown included.
        shown: how many are to be shown; more than ``stamps`` where several have one time.
        led_in: packets that are not to be shown and lie between a key frame and the first that is: a video that was
            cut elsewhere than at a key frame needs them.
        places: where in the file the bytes of those that are shown begin, rising and each once; empty where the
            container does not tell.
    """

    stamps: NDArray[np.int64]
    keys: NDArray[np.int64]
    packets: int
    shown: int
    led_in: int
    places: NDArray[np.int64]


def listed(container: InputContainer, stream: VideoStream, check: Check) -> Listed:
    """Read all packets of an open file, as far as they can be read; ``check`` is called again and again meanwhile.

    Raises:
        LimitError: there are too many, or they are much longer together than the file.
    """
    left = _MORE_BYTES + _TIMES_THE_FILE * container.size
    stamps: list[int] = []
    keys: list[int] = []
    places: list[int] = []
    count = led_in = 0
    packets = container.demux(stream)
    for read in itertools.count(1):
        try:
            packet = next(packets, None)
        except BROKEN:
            break  # what was read so far is there
        if packet is None:
            break
        if read % _LISTED == 0:
            check()
        left -= packet.size
        if left < 0:
            raise LimitError(
                "the frames have many times the bytes of the file that they are in", remedy="save it again as MP4"
            )
        count += packet.size > 0
        if count > MAX_VIDEO_FRAMES:
            raise LimitError(f"the video has more than {MAX_VIDEO_FRAMES:,} frames", remedy="cut it")
        stamp = packet_stamp(packet)
        if stamp is None:
            if packet.size and not stamps:
                led_in = 1 if packet.is_keyframe else led_in + 1
            continue
        stamps.append(stamp)
        if packet.pos is not None:
            places.append(packet.pos)
        if packet.is_keyframe:
            keys.append(stamp)
    return Listed(
        stamps=_rising(stamps),
        keys=_rising(keys or stamps[:1]),
        packets=count,
        shown=len(stamps),
        led_in=led_in,
        places=_rising(places),
    )


def _rising(numbers: list[int]) -> NDArray[np.int64]:
    return np.unique(np.array(numbers, dtype=np.int64))


def packet_stamp(packet: Packet[Any]) -> int | None:
    """When the packet's frame is shown; None where it carries none, or one that is not to be shown."""
    if not packet.size or packet.is_discard:
        return None
    return packet.pts if packet.pts is not None else packet.dts


def is_cover(stream: VideoStream) -> bool:
    """Whether a picture track is a still that belongs to the file, such as a cover."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def picture_track(container: InputContainer) -> VideoStream | None:
    """The track that a player shows: the one marked as default, else the one of most frames, as far as the header
    counts them, else the first. A still of one frame comes after all others: in an animated AVIF one lies before the
    film, and is marked too. None where there are only covers, or nothing."""

    def rank(track: VideoStream) -> tuple[bool, bool, int]:
        return track.frames != 1, bool(track.disposition & av.stream.Disposition.default), track.frames

    return max((track for track in container.streams.video if not is_cover(track)), key=rank, default=None)
