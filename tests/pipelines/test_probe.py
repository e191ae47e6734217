"""The probe: every odd file gets pixels or a typed error, and nothing else."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import GifImagePlugin, Image, TiffImagePlugin

from cards.limits import MAX_IMAGE_BYTES
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import DeepScanError, InputError, LimitError, MediaError, RequestError
from pipelines.image.decode import decode_image
from pipelines.image.probe import probe_image
from pipelines.options import parse_options

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
PHOTO = Image.open(SAMPLES / "astronaut.jpg").convert("RGB").resize((96, 64))


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels_of(data: bytes) -> np.ndarray:
    return decode_image(probe_image(data).picture)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF"])
def test_other_formats_arrive_as_the_pixels_that_pillow_sees(form: str) -> None:
    data = encoded(PHOTO, form)
    probed = probe_image(data)
    assert bytes(probed.picture[:2]) == b"BM"
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode_image(probed.picture), expected)
    assert probed.info.decoder == "pillow+opencv"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 5}])
def test_a_plain_jpeg_is_handed_on_untouched(options: dict[str, object]) -> None:
    data = encoded(PHOTO, "JPEG", **options)
    assert bytes(probe_image(data).picture) == data
    assert pixels_of(data).shape == (64, 96, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_is_applied(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = pixels_of(encoded(PHOTO, form))
    turned = probe_image(encoded(PHOTO, form, exif=exif))
    found = decode_image(turned.picture)
    turns = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
             5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1),
             7: lambda a: a[::-1, ::-1].transpose(1, 0, 2), 8: lambda a: np.rot90(a)}  # fmt: skip
    assert np.array_equal(found, turns[orientation](upright))
    assert (turned.info.height, turned.info.width) == found.shape[:2]


@pytest.mark.parametrize("value", [0, 9, 99, 65535])
def test_a_lying_exif_orientation_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    data = encoded(PHOTO, "JPEG", exif=exif)
    assert probe_image(data).info.orientation == 1
    assert np.array_equal(pixels_of(data), pixels_of(encoded(PHOTO, "JPEG")))


def test_cmyk_sixteen_bits_and_alpha_are_converted_and_said() -> None:
    cmyk = probe_image(encoded(PHOTO.convert("CMYK"), "JPEG"))
    assert "CMYK converted to RGB" in cmyk.info.notes
    assert np.abs(decode_image(cmyk.picture).astype(int) - np.asarray(PHOTO)).mean() < 12
    ramp = np.linspace(0, 65535, 64 * 96).reshape(64, 96).astype(np.uint16)
    deep = probe_image(encoded(Image.fromarray(ramp), "PNG"))
    assert deep.info.notes == ("16-bit grey scaled to 8 bits",)
    assert np.abs(decode_image(deep.picture)[..., 0].astype(float) - ramp / 257.0).max() <= 1.0
    clear = PHOTO.copy()
    clear.putalpha(0)
    transparent = probe_image(encoded(clear, "PNG"))
    assert (decode_image(transparent.picture) == 128).all()
    assert transparent.info.notes == ("transparent pixels drawn over grey",)


def animated(form: str) -> bytes:
    frames = [Image.new("RGB", (40, 40), (shade, 0, 0)) for shade in (0, 100, 200)]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=50)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animated_file_is_a_typed_error(form: str) -> None:
    with pytest.raises(MediaError) as caught:
        probe_image(animated(form))
    assert caught.value.code is ErrorCode.ANIMATED
    assert "detect_video" in caught.value.remedy  # where such a file gets a verdict


def furthest(monkeypatch: pytest.MonkeyPatch, plugin: type) -> list[int]:
    """The pages or frames that a plugin goes to from now on."""
    reached, seek = [], plugin._seek

    def spy(image: Image.Image, frame: int, *rest: object) -> None:
        reached.append(frame)
        seek(image, frame, *rest)

    monkeypatch.setattr(plugin, "_seek", spy)
    return reached


def many(form: str) -> bytes:
    shades = [PHOTO.point(lambda value, less=less: max(0, value - less)) for less in range(0, 200, 20)]
    return encoded(PHOTO, form, save_all=True, append_images=shades)


def test_pages_of_a_tiff_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = many("TIFF")
    reached = furthest(monkeypatch, TiffImagePlugin.TiffImageFile)
    probed = probe_image(data)  # Pillow takes minutes to count 100,000 pages in 4 MB
    assert max(reached) == 1
    assert probed.info.notes == ("first of several pages",)
    assert np.array_equal(decode_image(probed.picture), np.asarray(PHOTO))
    assert probe_image(encoded(PHOTO, "TIFF")).info.notes == ()


def test_frames_of_a_gif_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    data = many("GIF")
    reached = furthest(monkeypatch, GifImagePlugin.GifImageFile)
    with pytest.raises(MediaError) as caught:
        probe_image(data)
    assert caught.value.code is ErrorCode.ANIMATED
    assert max(reached) == 1


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
@pytest.mark.parametrize("keep", [0.05, 0.2, 0.5, 0.9])
def test_a_cut_avif_or_heic_is_truncated_and_no_video(form: str, keep: float) -> None:
    data = encoded(PHOTO, form)
    with pytest.raises(MediaError) as caught:
        probe_image(data[: int(len(data) * keep)])
    assert caught.value.code is ErrorCode.TRUNCATED


def test_an_avif_with_a_damaged_header_is_corrupt() -> None:
    data = encoded(PHOTO, "AVIF")
    with pytest.raises(MediaError) as caught:
        probe_image(data.replace(b"pict", b"junk"))
    assert caught.value.code is ErrorCode.CORRUPT


def test_a_cut_jpeg_is_not_made_whole_by_an_end_inside_a_segment_behind_it() -> None:
    data = encoded(PHOTO, "JPEG")
    other = encoded(PHOTO.resize((8, 8)), "JPEG")
    behind = b"\xff\xed" + (len(other) + 2).to_bytes(2, "big") + other
    with pytest.raises(MediaError) as caught:
        probe_image(data[: len(data) * 2 // 5] + behind)
    assert caught.value.code is ErrorCode.TRUNCATED


def huge_png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 10) + b"IDAT" + bytes(14)


@pytest.mark.parametrize(
    ("data", "kind", "code"),
    [
        (b"", MediaError, ErrorCode.EMPTY),
        (b"hello, this is a text file\n" * 20, MediaError, ErrorCode.NOT_MEDIA),
        (b"\x00" * 4096, MediaError, ErrorCode.NOT_MEDIA),
        (b"\x00\x00\x00\x20ftypisom" + bytes(200), MediaError, ErrorCode.UNSUPPORTED),
        (b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(200), MediaError, ErrorCode.UNSUPPORTED),
        (encoded(PHOTO, "JPEG")[:-200], MediaError, ErrorCode.TRUNCATED),
        (encoded(PHOTO, "PNG")[:-2000], MediaError, ErrorCode.TRUNCATED),
        (huge_png_header(20_000, 20_000), LimitError, ErrorCode.TOO_MANY_PIXELS),
        (huge_png_header(0, 0), MediaError, ErrorCode.CORRUPT),
        (huge_png_header(1, 60_000), LimitError, ErrorCode.TOO_MANY_PIXELS),
    ],
)
def test_bad_files_get_their_own_code(data: bytes, kind: type[DeepScanError], code: ErrorCode) -> None:
    with pytest.raises(kind) as caught:
        probe_image(data)
    assert caught.value.code is code
    assert caught.value.remedy


def test_a_tiff_whose_second_page_has_no_size_is_damaged_not_a_crash() -> None:
    # One entry fewer in the directory: what was the last one's value is then read as the place of a second page.
    data = bytearray(encoded(PHOTO, "TIFF"))
    directory = int.from_bytes(data[4:8], "little")
    data[directory] -= 1
    last = directory + 2 + 12 * data[directory]
    data[last : last + 4] = len(data).to_bytes(4, "little")
    data += bytes(6)  # a page of no entries
    with pytest.raises(MediaError) as caught:
        probe_image(bytes(data))
    assert caught.value.code is ErrorCode.CORRUPT


def test_too_many_bytes_are_refused_before_anything_is_read() -> None:
    with pytest.raises(LimitError) as caught:
        probe_image(bytes(MAX_IMAGE_BYTES + 1))
    assert caught.value.code is ErrorCode.TOO_LARGE


def test_what_the_file_says_of_itself_is_reported_cleaned() -> None:
    exif = Image.Exif()
    exif[0x0131] = "Generator\x1b[31m 9\n"
    found = probe_image(encoded(PHOTO, "JPEG", exif=exif)).info.provenance
    assert found["software"] == "Generator[31m 9"


FILES = [encoded(PHOTO, form) for form in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    st.floats(0.02, 1.0),
)
def test_a_damaged_file_gives_pixels_or_a_typed_error(
    data: bytes, changes: list[tuple[float, int]], keep: float
) -> None:
    damaged = bytearray(data[: max(1, int(len(data) * keep))])
    for place, value in changes:
        damaged[int(place * len(damaged))] = value
    try:
        pixels = pixels_of(bytes(damaged))
    except InputError:
        return  # any other exception fails the test
    assert pixels.ndim == 3
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize(
    "text",
    [b"[]", b"{", b'{"unknown": 1}', b'{"confidence_threshold": 1.5}', b'{"confidence_threshold": NaN}', b"x" * 5000],
)
def test_wrong_options_are_a_request_error(text: bytes) -> None:
    with pytest.raises(RequestError):
        parse_options(text)


@pytest.mark.parametrize("name", ["confidence_threshold", "num_frames", "fps"])
@pytest.mark.parametrize("value", ["true", "false"])
def test_true_is_no_number(name: str, value: str) -> None:
    with pytest.raises(RequestError, match=f"{name}: is a number, not true or false"):
        parse_options(f'{{"{name}": {value}}}')


def test_options_that_contradict_each_other_are_told_without_pydantics_words() -> None:
    with pytest.raises(RequestError) as caught:
        parse_options(b'{"num_frames": 4, "fps": 2}')
    assert caught.value.message == "options: give num_frames or fps, not both"
    assert "fps a number above 0 to 240" in caught.value.remedy


def test_options_default_and_parse() -> None:
    assert parse_options(None).heatmaps is False
    assert parse_options(b'{"heatmaps": true, "confidence_threshold": 0.5}').confidence_threshold == 0.5
