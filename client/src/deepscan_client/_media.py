"""What a caller may hand over, as bytes."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan_client.errors import RequestError

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[np.uint8]
"""A path, the bytes of a file, or pixels as UINT8 [height, width, 3] RGB."""


def read_source(source: Source) -> bytes:
    """The bytes to send.

    A path is read; an array becomes a BMP, which loses nothing.

    Raises:
        OSError: the file cannot be read; a lost one is Python's own FileNotFoundError, because nothing
            reached the service and callers know how to catch it.
        RequestError: the array has another type or shape.
        TypeError: none of the things that can be sent.
    """
    if isinstance(source, (str, os.PathLike)):
        return Path(source).read_bytes()
    if isinstance(source, np.ndarray):
        return encode_bmp(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    raise TypeError(f"send a path, bytes or an array, not {type(source).__name__}")


def encode_bmp(pixels: NDArray[Any]) -> bytes:
    """A 24-bit BMP of RGB pixels (BITMAPINFOHEADER, rows from the bottom, padded to four bytes).

    Args:
        pixels: UINT8 [height, width, 3] RGB.

    Raises:
        RequestError: another type or shape, or an empty picture.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise RequestError(
            f"an array of {pixels.dtype} with shape {list(pixels.shape)} is no picture",
            remedy="send uint8 [height, width, 3] in RGB order",
        )
    height, width = pixels.shape[:2]
    stride = (width * 3 + 3) & ~3
    rows = np.zeros((height, stride), dtype=np.uint8)
    rows[:, : width * 3] = pixels[::-1, :, ::-1].reshape(height, width * 3)
    size = 54 + rows.nbytes
    if size > 0xFFFFFFFF:
        raise RequestError(f"{width} x {height} pixels do not fit into a BMP", remedy="send it smaller")
    header = struct.pack("<2sIHHI", b"BM", size, 0, 0, 54)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, rows.nbytes, 2835, 2835, 0, 0)
    return header + info + rows.tobytes()
