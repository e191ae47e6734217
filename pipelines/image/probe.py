"""Look at a picture's header before anything is decoded, and bring it into one of two formats.

A plain JPEG (YCbCr or grey) is handed on untouched. Every other format that DeepScan reads is decoded
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

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict

from cards.limits import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.image.provenance import read_provenance
from pipelines.media import begins_like_video
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
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"II*\x00", b"MM\x00*")
_BACKGROUND = 128
"""Grey behind transparent pixels: neither class is drawn on white or black."""


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
        picture, image, notes, decoder = _prepare(data)
        orientation = _orientation(image)
        width, height = image.size
        provenance = read_provenance(image, data)
    if orientation >= 5:
        width, height = height, width
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


def _prepare(data: bytes) -> tuple[NDArray[np.uint8], Image.Image, list[str], str]:
    """The decoder's bytes, the opened image, notes, and who decodes."""
    image = _open(data)
    _check_size(*image.size)
    notes: list[str] = []
    frames = _frames(image)
    if image.format == "MPO":
        notes.append(f"first of {frames} pictures in the file")
    elif frames > 1 and image.format in ("TIFF", "HEIF"):
        notes.append(f"first of {frames} pages")
    elif frames > 1 or getattr(image, "is_animated", False):
        raise MediaError(
            f"the {image.format} file is animated ({frames} frames)",
            code=ErrorCode.ANIMATED,
            remedy="judge it as a video (detect_video, POST /api/predict/video), or send one frame as a still picture",
        )
    if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
        _check_jpeg_is_whole(data)
        return np.frombuffer(data, dtype=np.uint8), image, notes, "opencv"
    pixels = _decode_with_pillow(image, notes)
    encoded, buffer = cv2.imencode(".bmp", pixels[:, :, ::-1])
    if not encoded:
        raise MediaError("the picture cannot be converted", code=ErrorCode.CORRUPT, remedy="save it as JPEG")
    return np.asarray(buffer, dtype=np.uint8).reshape(-1), image, notes, "pillow+opencv"


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        pass
    except Exception as error:  # a hostile header can raise anything inside a plugin
        raise _unreadable(error) from error
    kind = _other_kind(data)
    if kind:
        raise MediaError(
            f"this is {kind}, not a picture", code=ErrorCode.UNSUPPORTED, remedy=f"photos are read as {READS}"
        )
    if data.startswith(_SIGNATURES):
        if data.startswith(b"\x89PNG") and len(data) >= 24:
            _check_size(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
        raise MediaError(
            "this begins like a picture, but its header is damaged",
            code=ErrorCode.CORRUPT,
            remedy="open it in a picture program and save it again",
        )
    raise MediaError(
        "this is not a picture",
        code=ErrorCode.NOT_MEDIA,
        remedy=f"send {READS}",
    )


def _frames(image: Image.Image) -> int:
    """Frames or pages; to count them a plugin reads the headers of all, which may be as broken as the first."""
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> MediaError:
    return MediaError(
        f"the picture's header cannot be read: {_short(error)}",
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


def _check_jpeg_is_whole(data: bytes) -> None:
    """A JPEG ends with its end marker after the last scan; decoders fill what is missing with grey.

    Markers are walked as ITU-T T.81 describes, so that the end marker of an embedded thumbnail does not
    count.
    """
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xDA:  # start of scan: entropy-coded data follows
            if data.rfind(b"\xff\xd9") > position:
                return
            break
        length = (
            0 if 0xD0 <= marker <= 0xD8 or marker == 0x01 else int.from_bytes(data[position + 2 : position + 4], "big")
        )
        position += 2 + length
    raise MediaError(
        "the JPEG file is cut off before its end",
        code=ErrorCode.TRUNCATED,
        remedy="send the whole file",
    )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is missing, unreadable or a lie."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF must not cost the picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _decode_with_pillow(image: Image.Image, notes: list[str]) -> NDArray[np.uint8]:
    """RGB pixels, UINT8 [h, w, 3], oriented, opaque and 8 bits deep."""
    try:
        image.load()
        oriented = ImageOps.exif_transpose(image) if image.format != "HEIF" else image
    except Exception as error:
        truncated = "truncated" in str(error).lower() or isinstance(error, EOFError)
        raise MediaError(
            f"the picture cannot be decoded: {_short(error)}",
            code=ErrorCode.TRUNCATED if truncated else ErrorCode.CORRUPT,
            remedy="send the whole file" if truncated else "open it in a picture program and save it again",
        ) from error
    mode = oriented.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        notes.append(f"{'16-bit' if mode.startswith('I') else 'floating-point'} grey scaled to 8 bits")
        return np.repeat(_to_8_bits(np.asarray(oriented))[:, :, None], 3, axis=2)
    if mode in ("RGBA", "LA", "La", "RGBa", "PA") or "transparency" in oriented.info:
        notes.append("transparent pixels drawn over grey")
        rgba = oriented.convert("RGBA")
        background = Image.new("RGBA", rgba.size, (_BACKGROUND, _BACKGROUND, _BACKGROUND, 255))
        oriented = Image.alpha_composite(background, rgba)
    elif mode not in ("RGB", "L"):
        notes.append(f"{mode} converted to RGB")
    return np.asarray(oriented.convert("RGB"))


def _to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey values of any depth to 0..255: 16-bit by its range, floats by their own."""
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if values.dtype.kind in "iu":
        top = 65535.0 if finite.max(initial=0) > 255 else 255.0
        scaled = finite * (255.0 / top)
    else:
        low, high = finite.min(initial=0.0), finite.max(initial=1.0)
        scaled = (finite - low) * (255.0 / max(high - low, 1e-9))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), dtype=np.uint8)


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:160]
