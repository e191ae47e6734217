"""What a picture says of its own origin. Reported, never trusted: anybody can write it."""

from __future__ import annotations

from typing import Any

from PIL import ExifTags, Image

_LONGEST = 160
_EXIF = {
    "camera_make": ExifTags.Base.Make,
    "camera_model": ExifTags.Base.Model,
    "software": ExifTags.Base.Software,
    "date_time": ExifTags.Base.DateTime,
}
_TEXT = ("Software", "parameters", "prompt", "workflow", "Comment")
"""PNG text chunks that picture generators are known to write."""


def read_provenance(image: Image.Image, data: bytes) -> dict[str, Any]:
    """Camera, software and marks of origin, as short strings.

    Args:
        image: the opened picture (its header is enough).
        data: the encoded bytes; searched for a C2PA manifest box (ISO 19566-5 ``jumb`` with label
            ``c2pa``) and for the IPTC digital source type of generated media.
    """
    found: dict[str, Any] = {}
    try:
        exif = image.getexif()
        for key, tag in _EXIF.items():
            if tag in exif:
                found[key] = _clean(exif[tag])
    except Exception:  # damaged metadata is a finding, not an error
        found["exif"] = "unreadable"
    for key in _TEXT:
        value = image.info.get(key)
        if isinstance(value, (str, bytes)):
            found[f"text_{key.lower()}"] = _clean(value)
    if b"jumb" in data and b"c2pa" in data:
        found["c2pa_manifest"] = True
    if b"trainedAlgorithmicMedia" in data:
        found["says_generated"] = True
    return found


def _clean(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "".join(c for c in text[:_LONGEST] if c.isprintable()).strip()
