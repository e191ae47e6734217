"""An MP4 of a few hundred bytes whose tables ask for an index of gigabytes is refused before anything builds it."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from cards.limits import MAX_INDEX_ENTRIES
from deepscan_client.errors import CancelledError, LimitError, MediaError
from pipelines.mp4_index import begins_like_mp4, check_index
from pipelines.video.source import VideoSource
from tests.pipelines.test_video_source import Write, grey

MANY = 20_000_000
"""Entries that took 700 MB and 8 s."""


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def track(*tables: bytes, kind: bytes = b"vide") -> bytes:
    handler = box(b"hdlr", numbers(0, 0), kind, bytes(13))
    return box(b"trak", box(b"mdia", handler, box(b"minf", box(b"stbl", *tables))))


def sizes(count: int) -> bytes:
    """A table that says that every frame has one byte."""
    return box(b"stsz", numbers(0, 1, count))


def sound(chunks: int, each: int) -> bytes:
    """A track of sound that is not compressed."""
    places = box(b"stco", numbers(0, chunks, *[48] * chunks))
    runs = box(b"stsc", numbers(0, 1, 1, each, 1))
    samples = min(chunks * each, (1 << 32) - 1)
    return track(box(b"stts", numbers(0, 1, samples, 1)), sizes(samples), runs, places, kind=b"soun")


def film(*boxes: bytes) -> bytes:
    return box(b"ftyp", b"isom", numbers(512)) + b"".join(boxes)


def edits(count: int) -> bytes:
    return box(b"edts", box(b"elst", numbers(0, count), numbers(2000, 0, 1 << 16) * count))


def compressed(moov: bytes) -> bytes:
    return box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", numbers(len(moov)), zlib.compress(moov))))


BOMBS = {
    "sizes": film(box(b"moov", track(sizes(MANY)))),
    "sizes in several tracks": film(box(b"moov", *[track(sizes(MAX_INDEX_ENTRIES // 3))] * 4)),
    "sizes of a track of sound": film(box(b"moov", track(sizes(MANY), kind=b"soun"))),
    "sizes where none belong": film(box(b"moov", box(b"trak", box(b"wave", sizes(MANY))))),
    "edits": film(box(b"moov", track(edits(500), sizes(20_000)))),
    "a piece": film(box(b"moof", box(b"traf", box(b"trun", numbers(0, MANY))))),
    "chunks of sound": film(box(b"moov", sound(100, 1 << 28))),
    "a compressed index": film(compressed(box(b"moov", track(sizes(MANY))))),
    "a compressed index in another": film(compressed(compressed(box(b"moov", track(sizes(5)))))),
    "a large compressed index": film(compressed(bytes(80 << 20))),
    "an index that is called free": film(box(b"free", box(b"mvhd", bytes(100)), track(sizes(MANY)))),
    "a length of eight bytes": film(box(b"moof", box(b"traf", struct.pack(">I4sQII", 1, b"trun", 24, 0, MANY)))),
    "very many boxes": film(box(b"wide") * (MAX_INDEX_ENTRIES + 1)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_index_that_would_be_too_long_is_refused(name: str) -> None:
    with pytest.raises(LimitError, match="index"):
        check_index(io.BytesIO(BOMBS[name]))


def test_the_source_refuses_before_ffmpeg_builds_it(
    tmp_path: Path, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    data = bytearray(write_video(tmp_path / "a.mp4", grey(5)).read_bytes())
    place = data.index(b"stsz") + 8
    data[place : place + 8] = numbers(1, MANY)
    (tmp_path / "a.mp4").write_bytes(data)
    monkeypatch.setattr("av.open", never)
    with pytest.raises(LimitError, match="save it again as MP4"):
        VideoSource(tmp_path / "a.mp4")


def test_an_index_of_very_many_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.mp4_index.MAX_INDEX_BYTES", 1000)
    check_index(io.BytesIO(film(box(b"mdat", bytes(2000)), box(b"free", bytes(2000)), box(b"inst", bytes(2000)))))
    with pytest.raises(LimitError, match="2,008 bytes"):
        check_index(io.BytesIO(film(box(b"moov", bytes(2000)))))


def test_ordinary_files_are_not_refused(tmp_path: Path, write_video: Write) -> None:
    two_hours = 2 * 3600 * 48_000
    for data in (
        write_video(tmp_path / "a.mp4", grey(50)).read_bytes(),
        write_video(tmp_path / "b.mp4", grey(50), options={"movflags": "frag_every_frame+empty_moov"}).read_bytes(),
        film(box(b"moov", track(edits(2), sizes(250_000)), sound(two_hours // 24_000, 24_000))),
        film(compressed(box(b"moov", track(sizes(5000))))),
        film(box(b"mdat", box(b"moov", track(sizes(MANY))))),
        film(struct.pack(">I4sQ", 1, b"mdat", 1 << 40)),
        film(struct.pack(">I4s", 3, b"moov")),
    ):
        assert begins_like_mp4(data)
        check_index(io.BytesIO(data))


def test_noise_ends_in_nothing_else() -> None:
    noise = np.random.default_rng(0)
    names = [b"moov", b"trak", b"stsz", b"stsc", b"stts", b"stco", b"hdlr", b"soun", b"elst", b"trun", b"cmvd"]
    for _ in range(300):
        parts = [noise.choice(names) if noise.random() < 0.5 else noise.bytes(4) for _ in range(40)]
        data = film(struct.pack(">I4s", 168, b"moov") + b"".join(parts))
        with contextlib.suppress(LimitError):
            check_index(io.BytesIO(data))


def test_the_caller_can_leave_meanwhile() -> None:
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 5:
            raise CancelledError("gone")

    with pytest.raises(CancelledError):
        check_index(io.BytesIO(film(box(b"wide") * 100_000)), check)


def test_what_does_not_begin_like_an_mp4_is_not_read_as_one(tmp_path: Path, write_video: Write) -> None:
    """Otherwise FFmpeg would find the tables that nobody added up."""
    data = box(b"\xff\xfe\xfd\xfc", bytes(8)) + write_video(tmp_path / "a.mp4", grey(5)).read_bytes()
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(MediaError):
        VideoSource(tmp_path / "a.mp4")
