"""How long the index of an MP4 or MOV would become, told before anything builds it.

FFmpeg makes one entry of 24 bytes for each frame that the tables count, and once more for each edit that shows it, when
it opens the file. Nothing has to stand behind those numbers: a file of 1 KB can ask for gigabytes. So they are added up
first. Boxes are looked for by name wherever they lie, since FFmpeg reads tables in places where none belongs; what is
found too much makes the sum larger, never smaller.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from cards.limits import MAX_INDEX_BYTES, MAX_INDEX_ENTRIES
from deepscan_client.errors import LimitError

_FIRST = b"ftyp styp moov moof mdat free skip wide pnot pict PICT uuid junk udta udat prfl sidx meta emsg".split()
"""Boxes that such a file begins with."""
_HOLDING = b"moov moof trak traf mdia minf stbl stsd edts dinf tref mvex wave udta meta ilst cmov hoov".split()
"""Boxes that hold others, which FFmpeg looks into."""
_NAMES = re.compile(rb"trak|stsz|stz2|stts|stsc|stco|co64|elst|hdlr|trun|cmvd")
_TOGETHER = 512
"""Samples of sound that is not compressed, of which one entry is made; FFmpeg takes up to 1024."""
_ASKED = 1024
"""Boxes between two checks."""


def begins_like_mp4(head: bytes) -> bool:
    """Whether a file begins as MP4, MOV and their kin do; 8 bytes are enough."""
    return head[4:8] in _FIRST


def check_index(file: IO[bytes], check: Callable[[], None] = lambda: None) -> None:
    """Refuse a file whose index would be too long.

    Args:
        file: one that :func:`begins_like_mp4`, open for reading; it is left somewhere else.
        check: called again and again meanwhile.

    Raises:
        LimitError: it would.
    """
    made = 0
    for number, box in enumerate(_boxes(file)):
        if number % _ASKED == 0:
            check()
        for entries in (1, *_entries(box)):
            made += entries
            if made > MAX_INDEX_ENTRIES:
                raise LimitError(
                    f"the index of the file counts more than {MAX_INDEX_ENTRIES:,} frames and samples",
                    remedy="cut it, or save it again as MP4",
                )


def _boxes(file: IO[bytes]) -> Iterator[bytes]:
    """The outermost boxes; of those in which no tables are, nothing."""
    size, position = file.seek(0, 2), 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(24)
        length, name, begin = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, begin = int.from_bytes(head[8:16], "big"), 16
        length = length or size - position
        if length < begin:
            return
        held = min(length, size - position)
        if name == b"free" and head[begin + 4 : begin + 8] in (b"mvhd", b"cmov"):
            name = b"moov"  # which FFmpeg takes it for
        if held <= MAX_INDEX_BYTES and name not in (b"mdat", b"free", b"uuid"):
            file.seek(position)
            yield file.read(held)
        elif name in _HOLDING:
            raise LimitError(
                f"the index of the file has {held:,} bytes, {MAX_INDEX_BYTES:,} are allowed",
                remedy="save it again as MP4",
            )
        else:
            yield b""
        position += length


def _entries(box: bytes, inflated: bool = False) -> Iterator[int]:
    """How many entries are made of the tables of each track and each piece in a box, or some more.

    Args:
        inflated: whether the box was compressed.
    """
    track, inside = _Track(), inflated
    for name, place in _named(box):
        yield 1
        if name == b"trun":
            yield _number(box, place + 4)
        elif name == b"trak":
            yield track.entries(box)
            track = _Track()
        elif name == b"cmvd":  # the boxes of an old MOV, compressed: once, and not again inside
            if inside:
                yield MAX_INDEX_ENTRIES
            else:
                inside = True
                yield from _inflated(box[place + 4 :])
        elif name in (b"stsz", b"stz2"):
            one_size = name == b"stsz" and _number(box, place + 4)
            rows = _number(box, place + 8) if one_size else min(_number(box, place + 8), 2 * len(box))
            track.samples = max(track.samples, rows)
        elif name == b"stts":
            track.times.append((_number(box, place + 4), _number(box, place + 12)))
        elif name in (b"stco", b"co64"):
            track.chunks = max(track.chunks, min(_number(box, place + 4), len(box) // 4))
        elif name == b"stsc":
            track.runs.append(place + 8)
        elif name == b"elst":
            track.edits = max(track.edits, min(_number(box, place + 4), len(box) // 12))
        else:
            track.kinds.add(box[place + 8 : place + 12])
    yield track.entries(box)


def _named(box: bytes) -> Iterator[tuple[bytes, int]]:
    """Names of tables and where what they hold begins: for a length of 1, the true one of 8 bytes may stand between."""
    for match in _NAMES.finditer(box):
        yield match.group(), match.end()
        if _number(box, match.start() - 4) == 1:
            yield match.group(), match.end() + 8


def _inflated(data: bytes) -> Iterator[int]:
    """Entries of boxes that are compressed."""
    stream = zlib.decompressobj()
    try:
        boxes = stream.decompress(data, MAX_INDEX_BYTES)
    except zlib.error:
        return  # FFmpeg reads none of it either
    yield MAX_INDEX_ENTRIES if stream.unconsumed_tail else 0
    yield from _entries(boxes, inflated=True)


def _number(box: bytes, place: int) -> int:
    return int.from_bytes(box[place : place + 4], "big")


class _Track:
    """The tables of a track.

    Attributes:
        samples, chunks, edits: how many they count; kinds: of handlers.
        times: of each table of times, how many rows it has and how long a sample of the first is shown.
        runs: where the rows of each table of chunks begin.
    """

    def __init__(self) -> None:
        self.samples, self.chunks, self.edits = 0, 0, 1
        self.kinds: set[bytes] = set()
        self.times: list[tuple[int, int]] = []
        self.runs: list[int] = []

    def entries(self, box: bytes) -> int:
        """Those that FFmpeg makes of them, or some more."""
        plain = b"soun" in self.kinds and b"vide" not in self.kinds and self.times == [(1, 1)]
        return self.edits * (self._grouped(box) if plain and len(self.runs) == 1 else self.samples)

    def _grouped(self, box: bytes) -> int:
        """Entries of sound that is not compressed, whose samples are put together within their chunk."""
        begin = self.runs[0]
        count = min(_number(box, begin - 4), max(0, len(box) - begin) // 12)
        rows = np.frombuffer(box, ">u4", 3 * count, begin).reshape(-1, 3).astype(np.int64)
        begins, each = rows[:, 0], rows[:, 1] // _TOGETHER + 1
        if count == 0 or begins[0] != 1 or (np.diff(begins) <= 0).any():
            return self.chunks * int(each.max(initial=1))  # whichever of them FFmpeg takes
        lengths = np.diff(np.minimum(begins, self.chunks + 1), append=self.chunks + 1)
        return int((lengths * each).sum())
