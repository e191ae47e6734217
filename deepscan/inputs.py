"""From paths of a command line to files: folders are walked, what is not media is counted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cards.limits import MAX_IMAGE_BYTES
from deepscan_client import DeepScanError, ErrorCode, LimitError, MediaError, Medium, RequestError

_EXTENSIONS = {
    Medium.IMAGE: "jpg jpeg jpe jfif png webp avif heic heif tif tiff bmp dib gif mpo",
    Medium.VIDEO: "mp4 m4v mov mkv webm avi mpg mpeg ts flv wmv 3gp",
    Medium.AUDIO: "wav flac mp3 ogg opus m4a aac aiff wma",
}
_BY_EXTENSION = {f".{name}": medium for medium, names in _EXTENSIONS.items() for name in names.split()}
_HEAD = 32


@dataclass(frozen=True)
class Found:
    """One file to look at, in the order of the command line."""

    path: str
    """As it was named, or below the folder that was named."""
    medium: Medium | None
    """By its first bytes, else by its name; None where neither says anything."""


@dataclass
class Walk:
    """Files of a command line; ``skipped`` counts while it is iterated."""

    paths: Sequence[str]
    skipped: int = 0
    """Files in folders that are not media."""

    def __iter__(self) -> Iterator[Found]:
        for path in self.paths:
            if Path(path).is_dir():
                yield from self._folder(path)
            else:
                yield Found(path, medium_of(path))

    def _folder(self, root: str) -> Iterator[Found]:
        for folder, below, files in os.walk(root):
            below.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)  # noqa: PTH118  (a Path would tidy what was typed)
                medium = medium_of(path)
                if medium is None:
                    self.skipped += 1
                else:
                    yield Found(path, medium)


def medium_of(path: str) -> Medium | None:
    """What a file holds, by its first bytes, else by the end of its name. Never opens what is no regular file."""
    by_name = _BY_EXTENSION.get(Path(path).suffix.lower())
    try:
        if not Path(path).is_file():
            return None
        with Path(path).open("rb") as stream:
            return sniff(stream.read(_HEAD)) or by_name
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return by_name


def sniff(head: bytes) -> Medium | None:
    """The medium of a file by its first bytes (12 are enough)."""
    if head[:3] == b"\xff\xd8\xff" or head[:8] == b"\x89PNG\r\n\x1a\n" or head[:6] in (b"GIF87a", b"GIF89a"):
        return Medium.IMAGE
    if head[:4] in (b"II*\0", b"MM\0*") or (head[:2] == b"BM" and head[6:10] == bytes(4)):
        return Medium.IMAGE
    if head[:4] == b"RIFF":
        return {b"WEBP": Medium.IMAGE, b"AVI ": Medium.VIDEO, b"WAVE": Medium.AUDIO}.get(head[8:12])
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"avif", b"avis", b"heic", b"heix", b"heif", b"mif1", b"msf1", b"hevc"):
            return Medium.IMAGE
        return Medium.AUDIO if head[8:12] in (b"M4A ", b"M4B ") else Medium.VIDEO
    if head[:4] == b"\x1aE\xdf\xa3":
        return Medium.VIDEO
    if head[:4] in (b"OggS", b"fLaC") or head[:3] == b"ID3":
        return Medium.AUDIO
    return None


def read_photo(found: Found) -> bytes:
    """The bytes of a photo.

    Raises:
        DeepScanError: lost, not a regular file, unreadable, too large, or another medium.
    """
    path = Path(found.path)
    try:
        if not path.exists():
            raise RequestError("there is no such file", code=ErrorCode.NOT_FOUND, remedy="check the path")
        if not path.is_file():
            raise MediaError(
                "this is no regular file", code=ErrorCode.NOT_MEDIA, remedy="name a picture or a folder of pictures"
            )
        if found.medium in (Medium.VIDEO, Medium.AUDIO):
            kind = "a video" if found.medium is Medium.VIDEO else "a sound recording"
            raise MediaError(
                f"this is {kind}, not a picture",
                code=ErrorCode.UNSUPPORTED,
                remedy="only photos are judged in this release",
            )
        size = path.stat().st_size
        if size > MAX_IMAGE_BYTES:
            raise LimitError(
                f"the file has {size:,} bytes, {MAX_IMAGE_BYTES:,} are allowed", remedy="send a smaller file"
            )
        return path.read_bytes()
    except DeepScanError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(f"the file cannot be read: {reason}", remedy="check its permissions and its name") from error
