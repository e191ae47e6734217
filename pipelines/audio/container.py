"""What kind of file a recording is, told from its bytes alone, before FFmpeg sees it.

FFmpeg's own guess takes play lists, sub-titles and text for media, and some of its readers open other files or
addresses. So the reader is named by us, from a closed list: what is not recognised here is not opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import MediaError
from pipelines.media import HEAD, matroska_end

READS = "WAV, FLAC, OGG, Opus, MP3, M4A, AAC, WebM, AMR, or a video with sound"
_SEARCHED = 64 * 1024
"""Bytes in which the first frame of an MP3 or AAC stream is looked for, behind its tags."""


@dataclass(frozen=True)
class Container:
    """``name`` for people and ``reader``, FFmpeg's name of the demuxer."""

    name: str
    reader: str


_HEADS = (
    (0, b"fLaC", Container("flac", "flac")),
    (0, b"OggS", Container("ogg", "ogg")),
    (0, b"#!AMR\n", Container("amr", "amr")),
    (0, b"#!AMR-WB\n", Container("amr-wb", "amr")),
    (0, b".snd", Container("au", "au")),
    (0, b"caff", Container("caf", "caf")),
    (0, b"FLV\x01", Container("flv", "flv")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Container("asf", "asf")),
    (0, b"riff\x2e\x91\xcf\x11", Container("w64", "w64")),
    (0, b"\x00\x00\x01\xba", Container("mpeg", "mpeg")),
    (4, b"moov", Container("mov", "mov")),
    (4, b"mdat", Container("mov", "mov")),
    (4, b"wide", Container("mov", "mov")),
    (4, b"free", Container("mov", "mov")),
    (4, b"skip", Container("mov", "mov")),
)
_BRANDS = {b"M4A ": "m4a", b"M4B ": "m4a", b"3gp": "3gp", b"3g2": "3gp", b"qt  ": "mov"}
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"II*\x00", b"MM\x00*")
_LISTS = (b"#EXTM3U", b"ffconcat", b"v=0", b"[playlist]", b"<?xml", b"<MPD", b"<smil", b"<asx", b"[Reference]")

# ISO/IEC 11172-3 and 13818-3, table of the header's index; kbit/s.
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_BIT_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def recognise(data: bytes) -> Container:
    """The kind of a recording.

    Raises:
        MediaError: a picture, a play list, notes without sound, or nothing that is known.
    """
    head = data[:64]
    for place, mark, container in _HEADS:
        if head[place : place + len(mark)] == mark:
            return container
    found = _riff_or_form(head) or _boxes(head) or _ebml(data[:4096]) or _transport(data) or _frames(data)
    if found is None:
        raise _unknown(head)
    return found


def _riff_or_form(head: bytes) -> Container | None:
    kind = head[8:12]
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and kind == b"WAVE":
        return Container("wav", "wav")
    if head[:4] == b"RIFF" and kind == b"AVI ":
        return Container("avi", "avi")
    if head[:4] == b"FORM" and kind in (b"AIFF", b"AIFC"):
        return Container("aiff", "aiff")
    return None


def _boxes(head: bytes) -> Container | None:
    if head[4:8] != b"ftyp":
        return None
    brand = head[8:12]
    return Container(_BRANDS.get(brand) or _BRANDS.get(brand[:3]) or "mp4", "mov")


def _ebml(head: bytes) -> Container | None:
    if head[:4] != b"\x1aE\xdf\xa3":
        return None
    return Container("webm" if b"webm" in head else "matroska", "matroska")


def _transport(data: bytes) -> Container | None:
    """MPEG transport stream: a mark every 188 bytes, or every 192 on cameras' disks."""
    for size, place in ((188, 0), (192, 4)):
        marks = data[place : place + size * 8 : size]
        if len(marks) >= 4 and marks.count(b"\x47") == len(marks):
            return Container("mpegts", "mpegts")
    return None


def _frames(data: bytes) -> Container | None:
    """MPEG audio or AAC frames, one behind the other, after tags and padding or a torn first frame."""
    start = _after_tags(data)
    if data[start : start + 4] == b"fLaC":
        return Container("flac", "flac")
    for place in range(start, min(len(data) - 3, start + _SEARCHED)):
        first, second = data[place], data[place + 1]
        if first == 0xFF and second & 0xE0 == 0xE0:
            for reader, length in (("mp3", _mpeg_length), ("aac", _adts_length)):
                if _chain(data, place, length, 2 if place == start else 4):
                    return Container(reader, reader)
        elif first == 0x56 and second & 0xE0 == 0xE0 and _chain(data, place, _loas_length, 4):
            return Container("aac", "loas")
    return None


def _after_tags(data: bytes) -> int:
    """Where the sound begins behind ID3v2 tags (their length is four bytes of seven bits) and zeros."""
    start = 0
    while data[start : start + 3] == b"ID3" and len(data) >= start + 10:
        size = data[start + 6 : start + 10]
        start += 10 + (size[0] & 127) * 2**21 + (size[1] & 127) * 2**14 + (size[2] & 127) * 2**7 + (size[3] & 127)
    rest = data[start : start + _SEARCHED]
    return min(start + len(rest) - len(rest.lstrip(b"\x00")), len(data))


def _chain(data: bytes, place: int, length_of: Callable[[bytes, int], int], wanted: int) -> bool:
    """Whether so many whole frames follow one another here, or fewer up to the file's end."""
    for count in range(wanted):
        length = length_of(data, place)
        if not length:
            return count > 0 and place >= len(data) - 3
        place += length
        if place > len(data):  # the last frame is torn
            return count > 0
    return True


def _mpeg_length(data: bytes, place: int) -> int:
    """Bytes of the MPEG audio frame here, 0 where none begins."""
    if place + 4 > len(data) or data[place] != 0xFF or data[place + 1] & 0xE0 != 0xE0:
        return 0
    version, layer = data[place + 1] >> 3 & 3, 4 - (data[place + 1] >> 1 & 3)
    bits, rate = data[place + 2] >> 4, data[place + 2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return 0
    rates = _BIT_RATES[1 if version == 3 else 2, layer]
    hertz, kbits, padding = _RATES[version][rate], rates[bits - 1], data[place + 2] >> 1 & 1
    if layer == 1:
        return (12_000 * kbits // hertz + padding) * 4
    return (72_000 if layer == 3 and version != 3 else 144_000) * kbits // hertz + padding


def _adts_length(data: bytes, place: int) -> int:
    if place + 7 > len(data) or data[place] != 0xFF or data[place + 1] & 0xF6 != 0xF0 or data[place + 2] >> 2 & 15 > 12:
        return 0
    length = (data[place + 3] & 3) << 11 | data[place + 4] << 3 | data[place + 5] >> 5
    return length if length > 7 else 0


def _loas_length(data: bytes, place: int) -> int:
    if place + 3 > len(data) or data[place] != 0x56 or data[place + 1] & 0xE0 != 0xE0:
        return 0
    return 3 + ((data[place + 1] & 0x1F) << 8 | data[place + 2])


def tells_length(container: Container, data: bytes) -> bool:
    """Whether the header says how long the sound is; elsewhere FFmpeg guesses it from the first bit rates."""
    if container.reader == "mp3":
        start = _after_tags(data)
        return any(mark in data[start : start + 256] for mark in (b"Xing", b"Info", b"VBRI"))
    return container.reader not in ("aac", "loas", "amr", "mpeg", "mpegts", "flv")


def is_torn(container: Container, data: bytes, size: int | None = None) -> bool:
    """Whether the last piece of a WAV, OGG, MKV or WebM file is not whole. FFmpeg does not tell.

    Args:
        data: the file, or only its beginning (of an OGG its end); size: of the file, where ``data`` is not all of it.
    """
    size = len(data) if size is None else size
    if container.reader == "matroska":
        return (matroska_end(data[:HEAD]) or 0) > size
    if container.reader == "ogg":
        page = data.rfind(b"OggS", max(0, len(data) - 70_000))
        if page < 0 or page + 27 > len(data):
            return page >= 0
        table = data[page + 27 : page + 27 + data[page + 26]]  # lengths of the page's parts, up to 255 bytes
        return page + 27 + data[page + 26] + sum(table) > len(data)
    if container.reader == "wav" and data[:4] == b"RIFF":
        place = 12
        while place + 8 <= len(data):
            length = int.from_bytes(data[place + 4 : place + 8], "little")
            if data[place : place + 4] == b"data":
                # A writer that could not go back leaves the largest number.
                return length < 0xFFFF_FF00 and place + 8 + length > size
            place += 8 + length + length % 2
    return False


def _unknown(head: bytes) -> MediaError:
    """Says what was sent instead of a recording."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(_LISTS):
        message = "this is a list that names other files, which DeepScan does not open"
    elif head.startswith(_PICTURES) or head[:4] + head[8:12] == b"RIFFWEBP":
        message = "this is a picture, not a recording"
    elif head.startswith(b"MThd"):
        message = "these are notes (MIDI), not a recording"
    else:
        return MediaError("this is not a recording", code=ErrorCode.NOT_MEDIA, remedy=f"send {READS}")
    return MediaError(message, code=ErrorCode.UNSUPPORTED, remedy=f"send {READS}")
