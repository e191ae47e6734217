"""Whether a video ends early, told from what its header, its index and its length promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from pipelines.media import HEAD, matroska_end
from pipelines.video.avi import Chunks
from pipelines.video.packets import Listed


def missing_end(
    path: Path, container: InputContainer, stream: VideoStream, there: Listed, chunks: Chunks | None
) -> str:
    """What is missing at the end of the file, as far as its header tells; empty where nothing is.

    The header of an MP4 counts frames that its edit list leaves out, which is how phones cut videos; its index, after
    the packets were read, does not. The header of an AVI counts the moments at which a frame is shown again, too.

    Args:
        path: the file; container, stream: the same, open; there: its packets.
        chunks: those of an AVI.
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
        found = min(told, max(found, chunks.moments)) if chunks and found < told else found
    return f"the file ends early: {found} of {told} frames are there" if found < told else ""
