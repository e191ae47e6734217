"""Look at a picture's header before anything is decoded, and bring it into one of two formats.

A plain JPEG (YCbCr or grey) is handed on as it is, save that one with EXIF or XMP data gets its orientation written
once more before them, where all decoders find it. Every other format that DeepScan reads is decoded
here, by Pillow, and handed on as a 24-bit BMP. So every decoder behind the probe, OpenCV or DALI, reads
the same two formats, and an odd file can never fail the batch of its neighbours on a GPU.
"""

from __future__ import annotations

import hashlib
import io
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict

from cards.limits import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE
from deepscan_client.codes import ErrorCode, Medium
from deepscan_client.errors import LimitError, MediaError
from pipelines.image.flatten import bmp_of
from pipelines.image.orientation import forget_xmp, orientation_of, say_orientation, size_upright
from pipelines.image.provenance import read_provenance
from pipelines.image.scans import JpegLayout, check_scans, jpeg_layout
from pipelines.media import HEAD, begins_like_video, sniff
from pipelines.options import Options

try:
    import pillow_heif

    pillow_heif.register_heif_opener()
except ImportError:  # HEIC is then reported as unsupported; doctor names the package
    pass

Image.init()  # formats are chosen by name below, so that all plugins must be known
Image.MAX_IMAGE_PIXELS = None  # our own limit is checked from the header, with a typed error

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF")
READS = "JPEG, PNG, WebP, AVIF, HEIC, TIFF and BMP"
_JPEG = b"\xff\xd8\xff"
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", _JPEG, b"GIF8", b"II*\x00", b"MM\x00*")


class ProbeInfo(BaseModel):
    """What the probe found; travels as JSON to the stages behind it."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    bytes: int
    format: str
    width: int
    """After orientation, like ``height``."""
    height: int
    orientation: int
    decoder: str
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    options: Options
    started_ns: int
    """``time.monotonic_ns()`` at the start of the request; one clock for all processes of a machine."""
    probe_ms: float


@dataclass(frozen=True)
class Probed:
    """The picture for the decoder (JPEG or BMP bytes, UINT8 [n]) and what is known of it."""

    picture: NDArray[np.uint8]
    info: ProbeInfo


def probe_image(data: bytes, options: Options | None = None) -> Probed:
    """Check an encoded picture and make it ready for the decoder.

    Args:
        data: the bytes as the caller sent them.
        options: travel along with the result.

    Raises:
        MediaError: empty, not a picture, truncated, corrupt, animated, or a format that is not read.
        LimitError: too many bytes or pixels.
    """
    started = time.monotonic_ns()
    if not data:
        raise MediaError("the file is empty", code=ErrorCode.EMPTY, remedy="send the bytes of a picture")
    if len(data) > MAX_IMAGE_BYTES:
        raise LimitError(
            f"the picture has {len(data):,} bytes, {MAX_IMAGE_BYTES:,} are allowed",
            remedy="send a smaller file, for example as JPEG",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which is no concern of the caller
        picture, image, orientation, notes, decoder = _prepare(data)
        width, height = size_upright(image.size, orientation)
        provenance = read_provenance(image, data)
    info = ProbeInfo(
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        format=str(image.format),
        width=width,
        height=height,
        orientation=orientation,
        decoder=decoder,
        notes=tuple(notes),
        provenance=provenance,
        options=options or Options(),
        started_ns=started,
        probe_ms=(time.monotonic_ns() - started) / 1e6,
    )
    return Probed(picture, info)


def _prepare(data: bytes) -> tuple[NDArray[np.uint8], Image.Image, int, list[str], str]:
    """The decoder's bytes, the opened image, its orientation, notes, and who decodes."""
    layout = jpeg_layout(data) if data.startswith(_JPEG) else None
    image = _open(data)
    _check_size(*image.size)
    notes: list[str] = []
    if layout:
        check_scans(layout.scans, *image.size)
    if image.format == "MPO":
        notes.append(f"first of {getattr(image, 'n_frames', 1)} pictures in the file")
    elif _goes_on(image):
        if image.format not in ("TIFF", "HEIF"):
            raise MediaError(
                f"the {image.format} file is animated",
                code=ErrorCode.ANIMATED,
                remedy="judge it as a video (detect_video, POST /api/predict/video), "
                "or send one frame as a still picture",
            )
        notes.append("first of several pages")
    if layout and image.mode in ("RGB", "L"):
        _check_jpeg_is_whole(data, layout, image, notes)
        orientation = orientation_of(image)
        handed_on = say_orientation(data, orientation) if layout.app1 else data
        return np.frombuffer(handed_on, dtype=np.uint8), image, orientation, notes, "opencv"
    _load(image)
    orientation = orientation_of(image)
    return bmp_of(image, orientation, notes), image, orientation, notes, "pillow+opencv"


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        pass
    except Exception as error:  # a hostile header can raise anything inside a plugin
        raise _unreadable(error) from error
    if data[4:8] == b"ftyp" and sniff(data[:HEAD]) is Medium.IMAGE:
        raise _unread_heif(data)
    kind = _other_kind(data)
    if kind:
        raise MediaError(
            f"this is {kind}, not a picture", code=ErrorCode.UNSUPPORTED, remedy=f"photos are read as {READS}"
        )
    if data.startswith(_SIGNATURES):
        if data.startswith(b"\x89PNG") and len(data) >= 24:
            _check_size(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
        raise _damaged()
    raise MediaError(
        "this is not a picture",
        code=ErrorCode.NOT_MEDIA,
        remedy=f"send {READS}",
    )


def _goes_on(image: Image.Image) -> bool:
    """Whether there is a second frame or page. They are not counted: to do that, Pillow reads all headers of a TIFF or
    GIF, and looks up each page of a TIFF among all before it."""
    try:
        if image.format != "TIFF":
            return bool(getattr(image, "is_animated", False))
        image.seek(1)
        image.seek(0)
    except EOFError:
        return False
    except Exception as error:  # the second header may be as broken as the first
        raise _unreadable(error) from error
    return True


def _unreadable(error: Exception) -> MediaError:
    return MediaError(
        f"the picture's header cannot be read: {_short(error)}",
        code=ErrorCode.CORRUPT,
        remedy="open it in a picture program and save it again",
    )


def _unread_heif(data: bytes) -> MediaError:
    """Why an AVIF or HEIC file did not open: their plugins do not say."""
    name = "AVIF" if data[8:11] == b"avi" else "HEIF"
    if name not in Image.OPEN:
        return MediaError(
            f"{name} pictures are not read by this installation",
            code=ErrorCode.UNSUPPORTED,
            remedy="send it as JPEG; `deepscan doctor` names the package that is missing",
        )
    place = 0
    while place < len(data):  # boxes, each with its length before it (ISO/IEC 14496-12)
        length = int.from_bytes(data[place : place + 4], "big")
        if length == 1:
            length = int.from_bytes(data[place + 8 : place + 16], "big")
        place += length if length >= 8 else len(data)
    if place > len(data):
        return MediaError(
            f"the {name} file is cut off before its end", code=ErrorCode.TRUNCATED, remedy="send the whole file"
        )
    return _damaged()


def _damaged() -> MediaError:
    return MediaError(
        "this begins like a picture, but its header is damaged",
        code=ErrorCode.CORRUPT,
        remedy="open it in a picture program and save it again",
    )


def _other_kind(data: bytes) -> str | None:
    """Names media that are not pictures, so that the error says what was sent."""
    head = data[:16]
    if begins_like_video(head):
        return "a video"
    if head[:4] in (b"OggS", b"fLaC", b"ID3\x03", b"ID3\x04") or (head[:4] == b"RIFF" and head[8:12] == b"WAVE"):
        return "a sound recording"
    return None


def _check_size(width: int, height: int) -> None:
    if min(width, height) < 1:
        raise MediaError(
            f"the picture's header says {width} x {height} pixels",
            code=ErrorCode.CORRUPT,
            remedy="open it in a picture program and save it again",
        )
    if width * height > MAX_IMAGE_PIXELS or max(width, height) > MAX_IMAGE_SIDE:
        raise LimitError(
            f"the picture is {width:,} x {height:,} pixels; {MAX_IMAGE_PIXELS:,} pixels and "
            f"{MAX_IMAGE_SIDE:,} on a side are allowed",
            code=ErrorCode.TOO_MANY_PIXELS,
            remedy="send it smaller",
        )


def _check_jpeg_is_whole(data: bytes, layout: JpegLayout, image: Image.Image, notes: list[str]) -> None:
    """A JPEG ends with its end marker after the last scan; decoders fill what is missing with grey.

    A file that was cut and then got an end marker cannot be told from a whole one without decoding it. What lies
    behind the end is said: it may be a film or a second picture of a telephone, or the rest of another file.
    """
    if layout.end is None or not layout.scans:
        raise MediaError(
            "the JPEG file is cut off before its end", code=ErrorCode.TRUNCATED, remedy="send the whole file"
        )
    if image.format == "JPEG" and layout.end < len(data):
        notes.append(f"{len(data) - layout.end:,} bytes behind the end of the JPEG are not looked at")


def _load(image: Image.Image) -> None:
    forget_xmp(image)
    try:
        image.load()
    except Exception as error:  # a plugin met hostile bytes
        said = str(error).lower()
        truncated = "truncated" in said or "unexpected end" in said or isinstance(error, EOFError)
        raise MediaError(
            f"the picture cannot be decoded: {_short(error)}",
            code=ErrorCode.TRUNCATED if truncated else ErrorCode.CORRUPT,
            remedy="send the whole file" if truncated else "open it in a picture program and save it again",
        ) from error


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:160]
