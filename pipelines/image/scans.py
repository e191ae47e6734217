"""How a JPEG is built, read from its markers, and a limit on its scans.

A progressive JPEG draws the whole picture once more with every scan, and an empty scan is a few dozen bytes: one
megabyte can hold ten thousand of them and keep a decoder busy for minutes. So scans are counted before anything is
decoded. The walk follows libjpeg, which every decoder behind it is or imitates: what libjpeg skips (bytes between
segments, restart markers, stuffed zeros, the inside of a segment) is skipped, so that a thumbnail in the EXIF segment
or a film behind the picture counts for nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cards.limits import MAX_IMAGE_PIXELS
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError

MAX_SCANS: Final = 500
"""Scans of a small JPEG. A baseline file has 1 to 4, a progressive one 6 to 18."""
MAX_SCAN_PIXELS: Final = 100 * MAX_IMAGE_PIXELS
"""Scans times pixels, which is what a decoder works on: 100 scans of the largest picture. An empty scan that refines
all coefficients takes libjpeg 50 ms at 64 million pixels, so that this is 5 seconds of one thread."""

MAX_SEGMENTS: Final = 10_000
"""Segments of one JPEG. The largest file full of EXIF, XMP and colour profile has about 1,000."""
MAX_JUNK: Final = 256 * 1024
"""Bytes between the segments before the first scan, where none belong. Pillow reads them one by one in Python, and 64
million take it a minute."""

_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
"""A segment or the end: neither a stuffed zero, a fill byte, a restart marker nor another one without a length."""
_REMEDY = "save it again as a baseline JPEG"
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1


@dataclass(frozen=True)
class JpegLayout:
    """What the markers of one JPEG say."""

    scans: int
    """Of several pictures in one file, those of the first."""
    end: int | None
    """The byte behind the end marker; None where the file stops before it."""
    app1: bool
    """Whether it has an APP1 segment: EXIF or XMP."""


def jpeg_layout(data: bytes) -> JpegLayout:
    """Walk the markers of a JPEG up to its end, as ITU-T T.81 describes; nothing is decoded.

    Raises:
        LimitError: so many segments that reading them is work.
        MediaError: much else than segments stands before the first scan.
    """
    scans, segments, junk, app1, place = 0, 0, 0, False, 2
    while found := _MARKER.search(data, place):
        junk += 0 if scans else found.start() - place
        place, marker = found.end(), found[1][0]
        if marker == _END:
            break
        segments += 1
        if segments > MAX_SEGMENTS:
            raise LimitError(f"the JPEG has more than {MAX_SEGMENTS:,} segments", remedy=_REMEDY)
        scans += marker == _SCAN
        app1 = app1 or marker == _APP1
        place += max(2, int.from_bytes(data[place : place + 2], "big"))
    if not found and not scans:
        junk += max(0, len(data) - place)
    if junk > MAX_JUNK:
        raise MediaError(
            f"the JPEG's header is damaged: {junk:,} bytes in it mean nothing",
            code=ErrorCode.CORRUPT,
            remedy="open it in a picture program and save it again",
        )
    return JpegLayout(scans, place if found else None, app1)


def check_scans(scans: int, width: int, height: int) -> None:
    """Refuse a JPEG that is more work than a picture of its size should be.

    Raises:
        LimitError: too many scans, or too many for so many pixels.
    """
    allowed = min(MAX_SCANS, MAX_SCAN_PIXELS // max(1, width * height))
    if scans > allowed:
        raise LimitError(
            f"the JPEG draws its {width:,} x {height:,} pixels in {scans:,} scans; {allowed:,} are allowed",
            remedy=_REMEDY,
        )
