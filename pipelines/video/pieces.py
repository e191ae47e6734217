"""A stretch of a video as a small file of its own, from a key frame on. Nothing is decoded.

The stage ``video_decode`` gets such pieces, so that an hour of video never lies in memory, no sound travels with the
pictures, and DALI reads one kind of file whatever was sent: an MP4 of one track, whose frames are numbered in the order
in which they are shown and stand at equal distances. DALI does not say when a frame is shown; the packets did already.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipelines.video.faults import BROKEN
from pipelines.video.leaving import Check
from pipelines.video.packets import packet_stamp

MOST_BYTES = 64 * 1024 * 1024
"""Of the packets of one piece: the memory that it may take, several times on its way."""
_TICK = Fraction(1, 25)


class NotCutError(Exception):
    """No piece can be cut here; the message says why."""


@dataclass(frozen=True)
class Piece:
    """``data`` is an MP4; ``places`` are the numbers of the wanted frames in it, int32 [n], rising from 0 on."""

    data: bytes
    places: NDArray[np.int32]


def cut(container: InputContainer, stream: VideoStream, key: int, wanted: NDArray[np.int64], check: Check) -> Piece:
    """The packets from a key frame to the last that the wanted frames need.

    Args:
        container, stream: an open video; it is searched.
        key: time stamp of the last key frame that is not after ``wanted``.
        wanted: time stamps, rising, [n] with n of at least 1.
        check: called for each packet; what it raises ends the work.

    Raises:
        NotCutError: the key frame or a wanted frame is not found again, a packet is damaged, two frames have one time,
            there are too many bytes, or the pictures around the key frame need others before it.
    """
    try:
        packets, stamps = _read(container, stream, key, wanted, check)
    except BROKEN as error:
        raise NotCutError(f"the file cannot be searched ({type(error).__name__})") from error
    shown = np.sort(np.array(stamps))
    if (np.diff(shown) == 0).any():
        raise NotCutError("two frames have one time")
    ranks = np.searchsorted(shown, stamps)
    places = np.searchsorted(shown, wanted).astype(np.int32)
    return Piece(_written(stream, packets, ranks), places)


def _read(
    container: InputContainer, stream: VideoStream, key: int, wanted: NDArray[np.int64], check: Check
) -> tuple[list[Packet[Any]], list[int]]:
    """Packets in the order of the file, and when each is shown."""
    missing = set(wanted.tolist())
    packets: list[Packet[Any]] = []
    stamps: list[int] = []
    size = 0
    container.seek(key, stream=stream)
    for packet in container.demux(stream):
        check()
        stamp = packet_stamp(packet)
        if stamp is None or (not packets and stamp != key):
            continue
        if stamp < key:
            # HEVC lets a reader that begins here leave these out; an H.264 file does not say whether it may begin here.
            if stream.codec_context.codec.canonical_name == "h264":
                raise NotCutError("pictures around a key frame need others before it")
            continue
        if packet.is_corrupt:
            raise NotCutError("a packet is damaged")
        size += packet.size
        if size > MOST_BYTES:
            raise NotCutError("key frames lie too far apart")
        packets.append(packet)
        stamps.append(stamp)
        missing.discard(stamp)
        if not missing:
            return packets, stamps
    raise NotCutError("a frame that was listed is not found again")


def _written(stream: VideoStream, packets: list[Packet[Any]], ranks: NDArray[np.int64]) -> bytes:
    """An MP4 in which packet k is shown at tick ``ranks[k]``; without an edit list, which makes readers skip frames."""
    late = int((np.arange(len(ranks)) - ranks).max())
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"use_editlist": "0"}) as container:
        track = container.add_stream_from_template(stream, opaque=True)
        for place, (packet, rank) in enumerate(zip(packets, ranks.tolist())):
            packet.stream = track
            packet.pts, packet.dts, packet.duration = rank, place - late, 1
            packet.time_base = _TICK
            container.mux(packet)
    return file.getvalue()
