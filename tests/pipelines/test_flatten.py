"""Conversion by strips: the same bytes as by whole pictures, in a fraction of the memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from pipelines.image import flatten

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(3)
DEEP = RNG.integers(0, 65536, (41, 53))
FLOATS = RNG.normal(scale=9, size=(41, 53)).astype(np.float32)
ODD_FLOATS = np.where(DEEP < 900, np.nan, np.where(DEEP > 64_000, np.inf, FLOATS)).astype(np.float32)
COLOURS = Image.fromarray(RNG.integers(0, 256, (41, 53, 3), dtype=np.uint8))


def whole_grey(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The formula on a whole picture, as it stood before there were strips."""
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if values.dtype.kind in "iu":
        scaled = finite * (255.0 / (65535.0 if finite.max(initial=0) > 255 else 255.0))
    else:
        low, high = finite.min(initial=0.0), finite.max(initial=1.0)
        scaled = (finite - low) * (255.0 / max(high - low, 1e-9))
    return np.repeat(np.clip(np.rint(scaled), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def whole_colour(image: Image.Image) -> np.ndarray[Any, Any]:
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, (128, 128, 128, 255)), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def greys() -> list[np.ndarray[Any, Any]]:
    whole = [DEEP.astype(np.uint16), (DEEP % 250).astype(np.uint16), DEEP.astype(np.int32) * 3 - 40_000]
    return [*whole, DEEP.astype(">u2"), FLOATS, ODD_FLOATS, np.abs(FLOATS) % 0.7]


def colours() -> list[Image.Image]:
    clear = COLOURS.copy()
    clear.putalpha(Image.fromarray((DEEP % 256).astype(np.uint8)))
    palette = COLOURS.quantize(16)
    holed = palette.copy()
    holed.info["transparency"] = bytes(range(0, 160, 10))
    keyed = COLOURS.copy()
    keyed.info["transparency"] = COLOURS.getpixel((5, 5))
    modes = [COLOURS.convert(mode) for mode in ("1", "L", "CMYK", "YCbCr", "HSV")]
    return [COLOURS, clear, clear.convert("LA"), clear.convert("RGBa"), palette, holed, keyed, *modes]


@pytest.fixture(autouse=True)
def _short_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flatten, "_STRIP_PIXELS", 53 * 7)  # the last of six strips is shorter


def bmp(pixels: np.ndarray[Any, Any]) -> bytes:
    return cv2.imencode(".bmp", pixels[:, :, ::-1])[1].tobytes()


@pytest.mark.parametrize("values", greys())
def test_strips_of_deep_grey_give_the_bytes_of_the_whole(values: np.ndarray[Any, Any]) -> None:
    assert flatten.bmp_of(Image.fromarray(values), 1, []).tobytes() == bmp(whole_grey(values))


@pytest.mark.parametrize("image", colours(), ids=lambda image: image.mode)
def test_strips_of_colours_give_the_bytes_of_the_whole(image: Image.Image) -> None:
    assert flatten.bmp_of(image, 1, []).tobytes() == bmp(whole_colour(image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_strips_land_where_the_orientation_puts_them(orientation: int) -> None:
    turn = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_90}.get(orientation)  # fmt: skip
    upright = COLOURS if turn is None else COLOURS.transpose(turn)
    assert flatten.bmp_of(COLOURS, orientation, []).tobytes() == bmp(np.asarray(upright))


MEASURE = """
import io, resource, sys
from PIL import Image
from pipelines.image.probe import probe_image
def saved(image, form, **options):
    buffer = io.BytesIO(); image.save(buffer, form, **options); return buffer.getvalue()
side, mode, form = int(sys.argv[1]), sys.argv[2], sys.argv[3]
options = {"transparency": 1} if mode == "P" else {"compression": "tiff_lzw"} if form == "TIFF" else {}
probe_image(saved(Image.new(mode, (64, 64)), form, **options))
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
probe_image(data)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / side / side)
"""


@pytest.mark.parametrize(
    ("mode", "form"), [("I;16", "PNG"), ("F", "TIFF"), ("I", "TIFF"), ("RGBA", "PNG"), ("P", "PNG")]
)
def test_a_large_picture_costs_little_more_than_itself_and_its_bmp(mode: str, form: str, tmp_path: Path) -> None:
    side, file = 4000, tmp_path / "picture"
    options = {"transparency": 1} if mode == "P" else {"compression": "tiff_lzw"} if form == "TIFF" else {}
    Image.new(mode, (side, side)).save(file, form, **options)
    with file.open("rb") as stream:
        command = [sys.executable, "-c", MEASURE, str(side), mode, form]
        found = subprocess.run(command, stdin=stream, capture_output=True, text=True, cwd=ROOT, check=True)
    assert float(found.stdout) < 4 + 3 + 3  # bytes a pixel: the loaded picture, the BMP, strips and libraries
