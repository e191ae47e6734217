"""The medium of a file, from its bytes and its name."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from pipelines.media import HEAD, matroska_end, medium_by_name, medium_of_bytes, sniff


@pytest.mark.parametrize(
    ("head", "medium"),
    [
        (b"\xff\xd8\xff\xe0", "image"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image"),
        (b"\0\0\0\x1cftypavif", "image"),
        (b"\0\0\0\x1cftypheic", "image"),
        (b"\0\0\0\x1cftypavis", "video"),
        (b"\0\0\0\x1cftypmsf1", "video"),
        (b"\0\0\0\x1cftypisom", "video"),
        (b"\x1aE\xdf\xa3", "video"),
        (b"\0\0\0\x1cftypM4A ", "audio"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio"),
        (b"BM\x36\0\0\0\0\0\0\0\x36", "image"),
        (b"BMW is a car, no bitmap", None),
        (b"II*\0", "image"),
        (b"FORM\0\0\0\0AIFF", "audio"),
        (b"#!AMR\n", "audio"),
        (b"\xff\xfb\x90\x64", "audio"),
        (b"\xff\xf1\x50\x80", "audio"),
        (b"\xff\xff\xff\xff", None),
        (b"RIFF\0\0\0\0words", None),
        (b"\x1aE\xdf\xa3....\x86\x86A_OPUS....", "audio"),
        (b"\x1aE\xdf\xa3....\x86\x86A_OPUS....\x86\x85V_VP9", "video"),
        (b"", None),
    ],
)
def test_first_bytes_name_the_medium(head: bytes, medium: str | None) -> None:
    assert sniff(head) == medium


def box(name: bytes, *inside: bytes) -> bytes:
    body = b"".join(inside)
    return struct.pack(">I", 8 + len(body)) + name + body


def mp4(*tracks: bytes) -> bytes:
    handlers = [box(b"trak", box(b"hdlr", bytes(8), kind, bytes(13))) for kind in tracks]
    return box(b"ftyp", b"isom", bytes(4)) + box(b"moov", *handlers)


def test_a_container_of_video_may_hold_sound_alone() -> None:
    assert sniff(mp4(b"soun")) == "audio"
    assert sniff(mp4(b"vide", b"soun")) == "video"
    assert sniff(mp4(b"soun")[:-4]) == "video"  # the index goes on behind these bytes: nothing is known of the rest
    assert sniff(box(b"ftyp", b"isom") + box(b"mdat", bytes(100))) == "video"


def test_the_name_decides_what_bytes_leave_open() -> None:
    assert medium_of_bytes(b"", "a.WAV") == "audio"
    assert medium_of_bytes(mp4(b"vide"), "voice.m4a") == "audio"
    assert medium_of_bytes(b"\xff\xd8\xff", "voice.wav") == "image"
    assert medium_of_bytes(b"words") is None
    assert medium_by_name("archive.tar") is None


@pytest.mark.parametrize(
    ("head", "end"),
    [
        (b"\x1aE\xdf\xa3\x83abc\x18S\x80g\x88", None),  # nothing follows
        (b"\x1aE\xdf\xa3\x83abc\x18S\x80g\x40\x05abcdefgh", 14 + 5),
        (b"\x1aE\xdf\xa3\x83abc\xec\x81z\x18S\x80g\x40\x05abcdefgh", 17 + 5),  # after a filler
        (b"\x1aE\xdf\xa3\x83abc\x18S\x80g\x01" + b"\xff" * 7 + b"abc", None),  # a live recording
        (b"\x1aE\xdf\xa3" + b"\xff" * 8 + bytes(20), None),
        (bytes(64), None),
        (b"", None),
    ],
)
def test_the_end_of_a_matroska_file_stands_in_its_head(head: bytes, end: int | None) -> None:
    assert matroska_end(head) == end


@pytest.mark.parametrize("form", ["gif", "webp", "png", "avif"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_picture_that_moves_is_a_video(form: str, count: int) -> None:
    first, *more = [Image.new("RGB", (20, 20), (90 * place, 0, 0)) for place in range(count)]
    file = io.BytesIO()
    first.save(file, form, **({"save_all": True, "append_images": more, "loop": 0} if more else {}))
    assert medium_of_bytes(file.getvalue()[:HEAD], f"a.{form}") == ("video" if more else "image")


def test_a_gif_that_plays_once_is_a_video() -> None:
    file = io.BytesIO()
    first, *more = [Image.new("RGB", (20, 20), (90 * place, 0, 0)) for place in range(3)]
    first.save(file, "gif", save_all=True, append_images=more, duration=80)
    assert sniff(file.getvalue()) == "video"
    first.convert("RGBA").save(file := io.BytesIO(), "gif", transparency=0)
    assert sniff(file.getvalue()) == "image"


def test_a_gif_without_times_moves_where_a_second_picture_begins() -> None:
    file = io.BytesIO()
    first, *more = [Image.effect_noise((20, 20), 90 + place).convert("P") for place in range(3)]
    first.save(file, "gif", save_all=True, append_images=more, comment=b"," * 700)
    whole = file.getvalue()
    assert b"NETSCAPE" not in whole
    assert sniff(whole) == "video"
    assert sniff(whole[: len(whole) // 2]) in ("video", "image")
    first.save(file := io.BytesIO(), "gif", comment=b"," * 700)
    assert sniff(file.getvalue()) == "image"
    for end in range(len(file.getvalue())):  # cut off anywhere
        sniff(file.getvalue()[:end])
