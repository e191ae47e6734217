"""Whether a video ends early, told from what its header, its index and its length promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from cards.limits import MAX_VIDEO_FRAMES
from pipelines.media import HEAD, matroska_end
from pipelines.video.leaving import Check
from pipelines.video.packets import Listed

_CHUNKS = 2 * MAX_VIDEO_FRAMES
"""Chunks of an AVI that are walked over, about a second: pictures and sound of the longest video."""
_LISTS = (b"RIFF", b"LIST")
_ASKED = 1024
"""Chunks between two checks."""


def missing_end(path: Path, container: InputContainer, stream: VideoStream, there: Listed, check: Check) -> str:
    """What is missing at the end of the file, as far as its header tells; empty where nothing is.

    The header of an MP4 counts frames that its edit list leaves out, which is how phones cut videos; its index, after
    the packets were read, does not. The header of an AVI counts the moments at which a frame is shown again, too.

    Args:
        path: the file; container, stream: the same, open; there: its packets.
        check: called while chunks are walked over.
    """
    kind = container.format.name
    if kind.startswith("matroska"):
        size = path.stat().st_size
        with path.open("rb") as file:
            end = matroska_end(file.read(HEAD)) or 0
        return f"the file ends early: {size:,} of {end:,} bytes are there" if size < end else ""
    if kind.startswith("mov"):
        found, told = there.packets, len(stream.index_entries)
    else:
        stamps = there.stamps
        shown = int(stamps[-1] + np.median(np.diff(stamps))) if len(stamps) > 1 else 0
        found, told = max(there.packets, shown), stream.frames
        if kind == "avi" and found < told:
            found = max(found, _avi_moments(path, stream.index, told, check))
    return f"the file ends early: {found} of {told} frames are there" if found < told else ""


def _avi_moments(path: Path, track: int, told: int, check: Check) -> int:
    """Moments of a track that are there, ``told`` at most. One at which the last frame is shown again is an empty
    chunk, which FFmpeg does not hand out: where such stand at the end, only the chunks tell that nothing is missing."""
    names = (b"%02ddc" % track, b"%02ddb" % track)
    size, position, found = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        for place in range(_CHUNKS):
            if place % _ASKED == 0:
                check()
            file.seek(position)
            head = file.read(8)
            if len(head) < 8 or found >= told:
                break
            length = int.from_bytes(head[4:], "little")
            if head[:4] in _LISTS:
                position += 12  # what is in it lies behind its name
                continue
            position += 8 + length + length % 2
            found += head[:4] in names and position <= size
    return found
