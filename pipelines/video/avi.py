"""The chunks of an AVI, walked over one by one. What its header and its index say of them is not looked at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cards.limits import MAX_VIDEO_FRAMES
from pipelines.video.leaving import Check

_MOST = 2 * MAX_VIDEO_FRAMES
"""Chunks that are walked over, half a second: pictures and sound of the longest video."""
_LISTS = (b"RIFF", b"LIST")
_ASKED = 1024
"""Chunks between two checks."""


@dataclass(frozen=True)
class Chunks:
    """Those of a picture track that are wholly there: ``frames``, and ``moments``, which counts empty ones too: at
    these the frame before is shown again, and FFmpeg does not hand them out."""

    frames: int = 0
    moments: int = 0


def chunks_of(path: Path, track: int, check: Check) -> Chunks:
    """Those of the picture track of this number; ``check`` is called again and again meanwhile."""
    names = (b"%02ddc" % track, b"%02ddb" % track)
    size, position, frames, moments = path.stat().st_size, 0, 0, 0
    with path.open("rb") as file:
        for place in range(_MOST):
            if place % _ASKED == 0:
                check()
            file.seek(position)
            head = file.read(8)
            if len(head) < 8:
                break
            length = int.from_bytes(head[4:], "little")
            if head[:4] in _LISTS:
                position += 12  # what is in it lies behind its name
                continue
            position += 8 + length + length % 2
            if head[:4] in names and position <= size:
                moments += 1
                frames += length > 0
    return Chunks(frames, moments)
