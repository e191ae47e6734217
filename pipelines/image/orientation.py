"""Which way up a picture is: one rule for every format and every decoder.

The orientation that stands in the EXIF data counts, as it does in browsers, which draw the photo under the boxes.
XMP can hold one too; some readers follow it, most do not, so it counts nowhere. EXIF data that cannot be read turn
nothing: they must not cost the picture its verdict.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

Pixels = TypeVar("Pixels", bound=NDArray[Any])


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is missing, unreadable or a lie.

    Args:
        image: opened; a PNG must be loaded too, whose EXIF data may stand behind its pixels. TIFF and HEIF say 1, as
            their plugins turn the picture while they load it.
    """
    if image.format in ("TIFF", "HEIF"):
        return 1
    try:
        value = _tag(image)
    except Exception:  # a plugin's parser met hostile bytes
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _tag(image: Image.Image) -> object:
    """Read from the bytes: ``Image.getexif`` mixes in what XMP says."""
    data = image.info.get("exif")
    if data is None and "Raw profile type exif" in image.info:  # ImageMagick's way to keep EXIF in a PNG, in hex
        data = bytes.fromhex("".join(image.info["Raw profile type exif"].split("\n")[3:]))
    exif = Image.Exif()
    exif.load(data or b"")
    return exif.get(ExifTags.Base.Orientation, 1)


def forget_xmp(image: Image.Image) -> None:
    """To be called before a TIFF is loaded, whose plugin would follow it."""
    image.info.pop("xmp", None)


def size_upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height after the turn."""
    return (size[1], size[0]) if orientation >= 5 else size


def as_stored(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A view of upright pixels [h, w, 3] in the order in which the file stores them: what is written into it lands
    where it belongs, and no second picture is needed for the turn."""
    view = upright
    if orientation >= 5:
        view = view.transpose(1, 0, 2)
    if orientation in (3, 4, 6, 7):
        view = view[::-1]
    if orientation in (2, 3, 7, 8):
        view = view[:, ::-1]
    return view


def say_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with a segment of EXIF data before all others that says its orientation and nothing else.

    Decoders differ in which segment they believe: OpenCV reads the first APP1, even if that is XMP, DALI the first
    with EXIF, and each has its own way with damaged data. This one they all read alike.
    """
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0]) + bytes(4)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]
