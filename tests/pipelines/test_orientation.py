"""One rule for which way up a photo is: EXIF alone, the same for every format and decoder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipelines.image.decode import decode_image
from pipelines.image.probe import ProbeInfo, probe_image

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
PHOTO = Image.open(SAMPLES / "astronaut.jpg").convert("RGB").resize((96, 64))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def saved(form: str, image: Image.Image = PHOTO, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def with_xmp(form: str, orientation: int | None = None) -> bytes:
    """XMP says 6; EXIF says nothing or its own."""
    options: dict[str, object] = {"exif": turned(orientation)} if orientation else {}
    if form == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())  # type: ignore[attr-defined]
    elif form == "TIFF":
        options["tiffinfo"] = {700: XMP, **({274: orientation} if orientation else {})}
        options.pop("exif", None)
    else:
        options["xmp"] = XMP
    return saved(form, **options)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def segment(body: bytes) -> bytes:
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body


def seen(data: bytes) -> tuple[ProbeInfo, np.ndarray]:
    probed = probe_image(data)
    pixels = decode_image(probed.picture)
    assert (probed.info.height, probed.info.width) == pixels.shape[:2]
    return probed.info, pixels


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_what_xmp_alone_says_turns_nothing(form: str) -> None:
    info, pixels = seen(with_xmp(form))
    assert info.orientation == 1
    assert np.array_equal(pixels, decode_image(probe_image(saved(form)).picture))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_goes_before_xmp(form: str) -> None:
    _, pixels = seen(with_xmp(form, 3))
    assert np.array_equal(pixels, decode_image(probe_image(saved(form)).picture)[::-1, ::-1])


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_behind_xmp_counts_in_a_jpeg(orientation: int) -> None:
    # OpenCV alone reads the first APP1 segment and no other.
    plain = saved("JPEG")
    said = turned(orientation).tobytes()
    data = plain[:2] + segment(b"http://ns.adobe.com/xap/1.0/\0" + XMP) + segment(said) + plain[2:]
    info, pixels = seen(data)
    assert info.orientation == orientation
    assert np.array_equal(pixels, np.rot90(decode_image(probe_image(plain).picture), 2 if orientation == 3 else -1))


@pytest.mark.parametrize("body", [b"Exif\0\0", b"Exif\0\0II*\0\x08", b"Exif\0\0" + b"junk" * 9, b"other", b""])
def test_an_odd_segment_before_the_exif_changes_nothing(body: bytes) -> None:
    plain = saved("JPEG")
    info, _ = seen(plain[:2] + segment(body) + plain[2:])
    assert info.orientation == 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_damaged_exif_does_not_cost_the_verdict(form: str) -> None:
    info, pixels = seen(saved(form, exif=b"Exif\0\0" + b"junkjunkjunk" * 3))
    assert info.orientation == 1
    assert pixels.shape == (64, 96, 3)


def test_a_jpeg_with_exif_is_handed_on_with_its_orientation_said_first() -> None:
    data = saved("JPEG", exif=turned(6))
    handed_on = probe_image(data).picture.tobytes()
    assert len(handed_on) == len(data) + 36
    assert handed_on.endswith(data[2:])
    assert Image.open(io.BytesIO(handed_on)).getexif()[0x0112] == 6
