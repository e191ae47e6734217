"""Loaded Pillow pictures of any mode to an upright, opaque BMP of 24 bits.

The largest picture has 64 million pixels, and a request that held five copies of it would take gigabytes. So the BMP
is laid out first, and the picture is converted into it by strips of rows: beside the loaded picture and the BMP there
is never more than a strip.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.image.orientation import as_stored, size_upright

_BACKGROUND = 128
"""Grey behind transparent pixels: neither class is drawn on white or black."""
_STRIP_PIXELS = 1 << 20
_HEADER = 54
Bytes = NDArray[np.uint8]


def bmp_of(image: Image.Image, orientation: int, notes: list[str]) -> Bytes:
    """The bytes of a BMP file, UINT8 [n].

    Args:
        image: loaded, not turned.
        orientation: EXIF orientation, 1 to 8; the BMP is upright.
        notes: what was converted is added.
    """
    to_rgb = _converter(image, notes)
    encoded, upright = _empty_bmp(*size_upright(image.size, orientation))
    stored = as_stored(upright, orientation)
    for top, strip in _strips(image):
        stored[top : top + strip.height, :, ::-1] = to_rgb(strip)
    return encoded


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _empty_bmp(width: int, height: int) -> tuple[Bytes, Bytes]:
    """A black BMP as OpenCV would write it, and a view of its pixels: BGR, [h, w, 3], rows from the top."""
    step = (3 * width + 3) & ~3
    encoded = np.zeros(_HEADER + step * height, dtype=np.uint8)
    header = struct.pack("<2sIIIIiiHH6I", b"BM", len(encoded), 0, _HEADER, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    encoded[:_HEADER] = np.frombuffer(header, dtype=np.uint8)
    rows = encoded[_HEADER:].reshape(height, step)[::-1]
    return encoded, rows[:, : 3 * width].reshape(height, width, 3)


def _converter(image: Image.Image, notes: list[str]) -> Callable[[Image.Image], Bytes]:
    """What brings a strip to UINT8 [h, w, 3] RGB, or to grey [h, w, 1]."""
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        notes.append(f"{'16-bit' if mode.startswith('I') else 'floating-point'} grey scaled to 8 bits")
        low, high = _grey_range(image)
        return lambda strip: _to_8_bits(np.asarray(strip), low, high)[:, :, None]
    if mode in ("RGBA", "LA", "La", "RGBa", "PA") or "transparency" in image.info:
        notes.append("transparent pixels drawn over grey")
        return _over_grey
    if mode not in ("RGB", "L"):
        notes.append(f"{mode} converted to RGB")
    return lambda strip: np.asarray(strip.convert("RGB"))


def _over_grey(strip: Image.Image) -> Bytes:
    rgba = strip.convert("RGBA")
    background = Image.new("RGBA", rgba.size, (_BACKGROUND, _BACKGROUND, _BACKGROUND, 255))
    return np.asarray(Image.alpha_composite(background, rgba).convert("RGB"))


def _grey_range(image: Image.Image) -> tuple[float, float]:
    """The values that become 0 and 255: whole numbers by their depth, floats by the range that they take."""
    low, high = 0.0, 1.0
    whole = image.mode != "F"
    for _, strip in _strips(image):
        values = np.asarray(strip)
        finite = values if whole else _finite(values)
        low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if whole:
        return 0.0, 65535.0 if high > 255 else 255.0
    return low, high


def _finite(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _to_8_bits(values: NDArray[Any], low: float, high: float) -> Bytes:
    scaled = (_finite(values) - low) * (255.0 / max(high - low, 1e-9))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)
