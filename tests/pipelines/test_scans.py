"""Scans of a JPEG are counted before anything is decoded, and only those that a decoder would draw."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.image.probe import probe_image
from pipelines.image.scans import MAX_JUNK, MAX_SCANS, MAX_SEGMENTS, JpegLayout, check_scans, jpeg_layout

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
PHOTO = Image.open(SAMPLES / "astronaut.jpg").convert("RGB").resize((96, 64))
EMPTY_SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x10\x7f"
SEGMENT_OF_MARKERS = b"\xff\xed\x10\x02" + b"\xff\xda\xff\xd9" * 1024


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    PHOTO.convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def mpo() -> bytes:
    buffer = io.BytesIO()
    PHOTO.save(buffer, "MPO", save_all=True, append_images=[PHOTO])
    return buffer.getvalue()


def with_scans(data: bytes, number: int) -> bytes:
    """Empty scans before the first one; they are refused before a decoder could mind them."""
    place = data.index(b"\xff\xda")
    return data[:place] + EMPTY_SCAN * number + data[place:]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_real_files_have_few_scans(mode: str) -> None:
    assert jpeg_layout(jpeg(mode)).scans == 1
    assert 5 < jpeg_layout(jpeg(mode, progressive=True)).scans < 20


@pytest.mark.parametrize("data", [jpeg(), jpeg("L"), jpeg("CMYK"), jpeg(progressive=True), mpo()])
def test_a_file_of_very_many_scans_is_refused_in_every_mode(data: bytes) -> None:
    probe_image(data)
    with pytest.raises(LimitError) as caught:
        probe_image(with_scans(data, MAX_SCANS))
    assert caught.value.code is ErrorCode.TOO_LARGE
    assert "baseline JPEG" in caught.value.remedy


def test_the_larger_the_picture_the_fewer_scans_it_may_have() -> None:
    check_scans(MAX_SCANS, 4000, 3000)
    check_scans(100, 8000, 8000)
    with pytest.raises(LimitError):
        check_scans(101, 8000, 8000)
    with pytest.raises(LimitError):
        check_scans(MAX_SCANS + 1, 1, 1)


def test_what_no_decoder_draws_does_not_count() -> None:
    plain = jpeg()
    inside = plain[:2] + SEGMENT_OF_MARKERS + plain[2:]
    assert jpeg_layout(inside).scans == 1
    assert jpeg_layout(inside).end == len(inside)
    probed = probe_image(inside + EMPTY_SCAN * 2000)  # as the film behind a moving photo of a telephone may look
    assert probed.info.notes == (f"{2000 * len(EMPTY_SCAN):,} bytes behind the end of the JPEG are not looked at",)


def test_the_walk_skips_what_libjpeg_skips() -> None:
    plain = jpeg()
    first = plain.index(b"\xff\xda")
    odd = plain[:first] + b"junk\xff\x00\xff\xd0\xff\xff\xff\x01" + plain[first:]
    assert jpeg_layout(odd) == JpegLayout(scans=1, end=len(odd), app1=False)
    assert jpeg_layout(b"\xff\xd8\xff").end is None
    assert jpeg_layout(b"").scans == 0


@pytest.mark.parametrize("place", ["before the first scan", "behind the first scan"])
def test_a_file_of_very_many_segments_is_refused(place: str) -> None:
    data, segments = jpeg(), b"\xff\xe0\x00\x02" * MAX_SEGMENTS
    cut = 2 if place == "before the first scan" else len(data) - 2
    with pytest.raises(LimitError):
        probe_image(data[:cut] + segments + data[cut:])
    probe_image(data[:cut] + segments[:4000] + data[cut:])


@pytest.mark.parametrize("junk", [b"\xff", b"\xff\x00", b"\xff\x01", b"\xff\xd8", b"\x00"])
def test_a_header_full_of_junk_is_damaged(junk: bytes) -> None:
    data = jpeg()
    for damaged in (data[:20] + junk * (MAX_JUNK + 1) + data[20:], b"\xff\xd8\xff" + junk * (MAX_JUNK + 1)):
        with pytest.raises(MediaError) as caught:
            probe_image(damaged)
        assert caught.value.code is ErrorCode.CORRUPT
