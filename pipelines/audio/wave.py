"""The format of the sound in a WAV, Wave64 or AVI file, where it contradicts itself.

FFmpeg cuts uncompressed sound into packets of whole blocks as the header counts them. Where that count is not the
size of one sample of every channel, samples are read across the edges of packets: speech becomes noise, which a
detector would judge without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import MediaError

_MOST_CHUNKS = 1_000
"""Looked at before the sound; a hostile file could hold millions."""
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_WAVE64_FORMAT = b"fmt \xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_WAVE64_HEAD = 4096
_AVI_SOUND = re.compile(rb"strh.{4}auds", re.DOTALL)
_AVI_HEAD = 1 << 20


def check_wave(data: bytes) -> None:
    """Refuse uncompressed sound whose blocks are not its channels times the bytes of a sample, and RIFX, whose samples
    FFmpeg reads with their bytes exchanged.

    Args:
        data: of a file that FFmpeg's reader ``wav``, ``w64`` or ``avi`` takes.

    Raises:
        MediaError: corrupt, or a kind that is not read.
    """
    if data[:4] == b"RIFX":
        raise MediaError(
            "WAV with the large byte first (RIFX) is not read",
            code=ErrorCode.UNSUPPORTED,
            remedy="open it in a sound program and save it again as WAV",
        )
    for fields in _tracks(data) if data[8:12] == b"AVI " else [_format(data)]:
        tag, channels, block, bits = (_number(fields, place, 2) for place in (0, 2, 12, 14))
        if tag == _EXTENSIBLE:
            tag = _number(fields, 24, 2)
        if tag in (_PCM, _FLOAT) and block != channels * ((bits + 7) // 8):
            raise MediaError(
                f"the header contradicts itself: blocks of {block:,} bytes, {channels} channels of {bits} bits",
                code=ErrorCode.CORRUPT,
                remedy="open it in a sound program and save it again",
            )


def _tracks(avi: bytes) -> Iterator[bytes]:
    """The fields of each sound track of an AVI."""
    for found in _AVI_SOUND.finditer(avi, 0, _AVI_HEAD):
        place = avi.find(b"strf", found.end(), found.end() + _WAVE64_HEAD)
        if place >= 0:
            yield avi[place + 8 : place + 48]


def _format(data: bytes) -> bytes:
    """The fields of the first format chunk; none where it is not before the sound."""
    if data[:4] == b"riff":
        place = data.find(_WAVE64_FORMAT, 0, _WAVE64_HEAD)
        return data[place + 24 : place + 64] if place >= 0 else b""
    place = 12
    for _ in range(_MOST_CHUNKS):
        name, length = data[place : place + 4], _number(data, place + 4, 4)
        if name == b"fmt ":
            return data[place + 8 : place + 8 + min(length, 40)]
        if name == b"data" or place + 8 > len(data):
            break
        place += 8 + length + length % 2
    return b""


def _number(data: bytes, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size], "little")
