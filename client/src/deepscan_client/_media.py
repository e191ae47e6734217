"""What a caller may hand over, as bytes."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepscan_client.errors import LimitError, RequestError

File = str | os.PathLike[str] | bytes | bytearray | memoryview
"""A path, or the bytes of a file."""
Source = File | NDArray[np.uint8]
"""A photo: a file, or pixels as UINT8 [height, width, 3] RGB."""
Recording = File | tuple[NDArray[Any], int]
"""A recording: a file, or (samples, rate): FLOAT32 of -1 to 1 or INT16, [n] or [n, channels], and hertz."""

MOST_BYTES = 2**31 - 2**20
"""Bytes that one message can carry, whatever the server's own limits are."""


def read_source(source: Source) -> bytes:
    """The bytes of a photo to send.

    A path is read; an array becomes a BMP, which loses nothing.

    Raises:
        OSError: the file cannot be read; a lost one is Python's own FileNotFoundError, because nothing
            reached the service and callers know how to catch it.
        LimitError: more bytes than one message can carry.
        RequestError: the array has another type or shape.
        TypeError: none of the things that can be sent.
    """
    return encode_bmp(source) if isinstance(source, np.ndarray) else _read_file(source)


def read_recording(source: Recording) -> bytes:
    """The bytes of a recording to send; samples become a WAV file, which loses nothing.

    Raises:
        OSError: the file cannot be read.
        LimitError: more bytes than one message can carry.
        RequestError: the samples have another type or shape, or the rate is no rate.
        TypeError: none of the things that can be sent.
    """
    if isinstance(source, tuple):
        if len(source) != 2:
            raise TypeError(f"send (samples, rate), not a tuple of {len(source)}")
        return encode_wav(*source)
    return _read_file(source)


def _read_file(source: File) -> bytes:
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        _check_size(path.stat().st_size)
        return path.read_bytes()
    if isinstance(source, (bytes, bytearray, memoryview)):
        _check_size(source.nbytes if isinstance(source, memoryview) else len(source))
        return bytes(source)
    raise TypeError(f"send a path, bytes or an array, not {type(source).__name__}")


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise LimitError(
            f"the file has {size:,} bytes, one message carries {MOST_BYTES:,}", remedy="send a smaller one"
        )


def encode_wav(samples: NDArray[Any], rate: int) -> bytes:
    """A WAV file of samples: IEEE float for FLOAT32, PCM for INT16.

    Args:
        samples: FLOAT32 or INT16, [n] or [n, channels].
        rate: samples a second, in hertz.

    Raises:
        RequestError: another type or shape, nothing in it, or a rate that is none.
    """
    if (
        not isinstance(samples, np.ndarray)
        or samples.dtype not in (np.float32, np.int16)
        or samples.ndim not in (1, 2)
        or samples.size == 0
        or samples.nbytes > MOST_BYTES
    ):
        told = f"{samples.dtype} {list(samples.shape)}" if isinstance(samples, np.ndarray) else type(samples).__name__
        raise RequestError(f"{told} is no recording", remedy="send float32 (-1 to 1) or int16, [n] or [n, channels]")
    if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)) or not 0 < rate < 2**31:
        raise RequestError(f"{rate!r} is no sample rate", remedy="give samples a second as a whole number")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    width = samples.dtype.itemsize
    if channels > 1000:
        raise RequestError(f"{channels} channels", remedy="send float32 or int16 as [n] or [n, channels]")
    kind = 3 if samples.dtype == np.float32 else 1
    data = np.ascontiguousarray(samples, dtype=samples.dtype.newbyteorder("<")).tobytes()
    form = struct.pack(
        "<HHIIHHH", kind, channels, rate, rate * channels * width % 2**32, channels * width, 8 * width, 0
    )
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"fact" + struct.pack("<II", 4, len(samples))
    chunks += b"data" + struct.pack("<I", len(data))
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + len(data)) + b"WAVE" + chunks + data


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
