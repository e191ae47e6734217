"""Frames that become many times their file when they are read: compressed by the container, or all in one place."""

from __future__ import annotations

import functools
import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepscan_client.errors import LimitError
from pipelines.video.source import VideoSource
from tests.pipelines.test_video_source import Write

ZEROS = 9_000_000
"""Bytes behind each frame, ten thousand when they are compressed; FFmpeg unpacks up to ten million."""
FRAMES = 150


packed = functools.lru_cache(maxsize=2)(zlib.compress)


def element(name: str, *parts: bytes) -> bytes:
    """Of EBML (RFC 8794)."""
    body = b"".join(parts)
    return bytes.fromhex(name) + struct.pack(">Q", (1 << 56) | len(body)) + body


def number(name: str, value: int) -> bytes:
    return element(name, struct.pack(">I", value))


def matroska(pictures: list[bytes], beside: list[bytes]) -> bytes:
    """Motion JPEG and, compressed with zlib, a track of titles; ``pictures`` are compressed where nothing is beside."""
    coding = element("6d80", element("6240", number("5033", 0), element("5034", number("4254", 0))))
    size = element("e0", number("b0", 64), number("ba", 48))
    film = element("ae", number("d7", 1), number("73c5", 1), number("83", 1), element("86", b"V_MJPEG"), size)
    film = film if beside else element("ae", film[9:], coding)
    titles = element("ae", number("d7", 2), number("73c5", 2), number("83", 17), element("86", b"S_TEXT/UTF8"), coding)
    clusters = []
    for moment, picture in enumerate(pictures):
        blocks = [element("a3", b"\x81\0\0\x80", picture if beside else packed(picture))]
        blocks += [element("a3", b"\x82\0\0\x80", packed(each)) for each in beside]
        clusters.append(element("1f43b675", number("e7", 40 * moment), *blocks))
    return element("1a45dfa3", element("4282", b"matroska")) + element(
        "18538067", element("1549a966", number("2ad7b1", 1_000_000)), element("1654ae6b", film, titles), *clusters
    )


@pytest.fixture(scope="module")
def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_frames_that_were_compressed_to_nothing_are_refused(tmp_path: Path, picture: bytes) -> None:
    """The whole of it took 18 ms for each 9 KB."""
    path = tmp_path / "a.mkv"
    path.write_bytes(matroska([picture] * 20, []))
    assert VideoSource(path).info.frames == 20
    path.write_bytes(matroska([picture + bytes(ZEROS)] * FRAMES, []))
    with pytest.raises(LimitError, match="many times the bytes"):
        VideoSource(path)


def test_what_is_beside_the_pictures_is_not_unpacked(tmp_path: Path, picture: bytes) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(matroska([picture] * 2, [bytes(ZEROS)] * FRAMES))
    start = time.process_time()
    assert VideoSource(path).info.frames == 2
    assert time.process_time() - start < 1.0  # 5 s, were it unpacked


def test_frames_of_an_mp4_that_lie_in_one_place_are_refused(tmp_path: Path, write_video: Write) -> None:
    """Each of fifty reads the whole of the noise again."""
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 255, (480, 640, 3), dtype=np.uint8) for _ in range(50)]
    data = bytearray(write_video(tmp_path / "a.mp4", frames, keys=1, coding={"qp": "4"}).read_bytes())
    begin, size = data.index(b"mdat") - 4, data.index(b"moov") - data.index(b"mdat")
    sizes, chunks = data.index(b"stsz") + 4, data.index(b"stco") + 4
    count = int.from_bytes(data[chunks + 4 : chunks + 8], "big")
    assert len(data) * 8 + (512 << 20) < size * count
    data[sizes + 4 : sizes + 8] = (size - 64).to_bytes(4, "big")
    data[chunks + 8 : chunks + 8 + 4 * count] = (begin + 8).to_bytes(4, "big") * count
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(LimitError, match="many times the bytes"):
        VideoSource(tmp_path / "a.mp4")
