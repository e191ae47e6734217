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
from deepscan_client.errors import LimitError

MAX_SCANS: Final = 500
"""Scans of a small JPEG. A baseline file has 1 to 4, a progressive one 6 to 18."""
MAX_SCAN_PIXELS: Final = 100 * MAX_IMAGE_PIXELS
"""Scans times pixels, which is what a decoder works on: 100 scans of the largest picture. An empty scan that refines
all coefficients takes libjpeg 50 ms at 64 million pixels, so that this is 5 seconds of one thread."""

_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""What ends the data of a scan: neither a stuffed zero, nor a restart marker, nor a fill byte."""
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_BARE = (0x01, 0xD8)
"""Markers without a length, besides the restart markers and the end."""


@dataclass(frozen=True)
class JpegLayout:
    """What the markers of one JPEG say."""

    scans: int
    end: int | None
    """The byte behind the end marker; None where the file stops before it."""
    app1: bool
    """Whether it has an APP1 segment: EXIF or XMP."""


def jpeg_layout(data: bytes) -> JpegLayout:
    """Walk the markers of a JPEG up to its end, as ITU-T T.81 describes; nothing is decoded."""
    scans, app1, place = 0, False, 2
    while found := _MARKER.search(data, place):
        place, marker = found.end(), found[1][0]
        if marker == _END:
            return JpegLayout(scans, place, app1)
        if marker in _BARE:
            continue
        scans += marker == _SCAN
        app1 = app1 or marker == _APP1
        place += max(2, int.from_bytes(data[place : place + 2], "big"))
    return JpegLayout(scans, None, app1)


def scans_of(data: bytes) -> int:
    """How many scans a JPEG has; of several pictures in one file, those of the first."""
    return jpeg_layout(data).scans


def check_scans(scans: int, width: int, height: int) -> None:
    """Refuse a JPEG that is more work than a picture of its size should be.

    Raises:
        LimitError: too many scans, or too many for so many pixels.
    """
    allowed = min(MAX_SCANS, MAX_SCAN_PIXELS // max(1, width * height))
    if scans > allowed:
        raise LimitError(
            f"the JPEG draws its {width:,} x {height:,} pixels in {scans:,} scans; {allowed:,} are allowed",
            remedy="save it again as a baseline JPEG",
        )
