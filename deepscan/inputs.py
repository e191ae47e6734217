"""From paths of a command line to files: folders are walked, what is not media is counted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cards.limits import MAX_AUDIO_BYTES, MAX_IMAGE_BYTES, MAX_VIDEO_BYTES
from deepscan_client import DeepScanError, ErrorCode, LimitError, MediaError, Medium, RequestError
from pipelines.media import HEAD, medium_by_name, medium_of_bytes


@dataclass(frozen=True)
class Found:
    """One file to look at, in the order of the command line."""

    path: str
    """As it was named, or below the folder that was named."""
    medium: Medium | None
    """By its first bytes, else by its name; None where neither says anything. It decides what is asked of it."""
    fault: str = ""
    """Why a folder could not be looked into: it is told as a file that failed, for something of it is missing."""


@dataclass
class Walk:
    """Files of a command line; ``skipped`` counts while it is iterated."""

    paths: Sequence[str]
    skipped: int = 0
    """Files in folders that are not media."""

    def __iter__(self) -> Iterator[Found]:
        for path in self.paths:
            if os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises for a name that is too long)
                yield from self._folder(path)
            else:
                yield Found(path, medium_of(path))

    def _folder(self, root: str) -> Iterator[Found]:
        faults: list[OSError] = []
        for folder, below, files in os.walk(root, onerror=faults.append):
            below.sort()
            for link in links_out(root, folder, below):
                yield Found(link, None, LINK)
            for name in sorted(files):
                path = os.path.join(folder, name)  # noqa: PTH118  (a Path would tidy what was typed)
                medium = medium_of(path)
                if medium is None:
                    self.skipped += 1
                else:
                    yield Found(path, medium)
        for fault in faults:
            yield Found(str(fault.filename or root), None, fault.strerror or str(fault))


LINK = "it is a link to another place, which is not followed"


def links_out(root: str | os.PathLike[str], folder: str, below: Sequence[str]) -> Iterator[str]:
    """The folders below one that are links out of the folder that is walked: what they hold would be missing without a
    word. A link to what lies inside hides nothing, and may be a loop."""
    inside = os.path.realpath(root)
    for name in below:
        path = os.path.join(folder, name)  # noqa: PTH118
        if os.path.islink(path) and os.path.commonpath([inside, os.path.realpath(path)]) != inside:  # noqa: PTH114
            yield path


def medium_of(path: str) -> Medium | None:
    """What a file holds, by its first bytes, else by the end of its name. Never opens what is no regular file."""
    try:
        if not Path(path).is_file():
            return None
        with Path(path).open("rb") as stream:
            head = stream.read(HEAD)
            # Whether it moves is told by a GIF's second picture, and by a PNG before its first, behind any profile.
            if head[:4] == b"GIF8" or (head[:4] == b"\x89PNG" and b"IDAT" not in head):
                head += stream.read(MAX_IMAGE_BYTES)
            return medium_of_bytes(head, path)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return medium_by_name(path)


def opened(found: Found) -> Found:
    """A video that has a sound track as pictures and sound together, any other file as it is."""
    if found.medium is not Medium.VIDEO:
        return found
    from pipelines.video.sound import sound_delay

    try:
        sound_delay(check_media(found))
    except DeepScanError:  # no sound; or no video, which the way of videos says
        return found
    return replace(found, medium=Medium.MULTIMODAL)


def size_of(found: Found) -> int:
    """Bytes of a file, 0 where that cannot be said."""
    try:
        return Path(found.path).stat().st_size
    except (OSError, ValueError):
        return 0


MOVING = (Medium.VIDEO, Medium.MULTIMODAL)
"""What has frames, and is sent in pieces."""
_LIMITS = {Medium.AUDIO: MAX_AUDIO_BYTES, **dict.fromkeys(MOVING, MAX_VIDEO_BYTES)}


def read_media(found: Found) -> bytes:
    """The bytes of a photo or a recording.

    Raises:
        DeepScanError: lost, not a regular file, unreadable, or too large.
    """
    path = check_media(found)
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(error) from error


def check_media(found: Found) -> Path:
    """The path of a file that can be sent.

    Raises:
        DeepScanError: lost, a folder that cannot be read, not a regular file, or too large.
    """
    if found.fault:
        raise RequestError(
            f"the folder cannot be read: {found.fault}", remedy="check its permissions, or name it by itself"
        )
    path = Path(found.path)
    try:
        if not path.exists():
            raise RequestError("there is no such file", code=ErrorCode.NOT_FOUND, remedy="check the path")
        if not path.is_file():
            raise MediaError(
                "this is no regular file",
                code=ErrorCode.NOT_MEDIA,
                remedy="name a picture, a recording, a video, or a folder of them",
            )
        limit = MAX_IMAGE_BYTES if found.medium is None else _LIMITS.get(found.medium, MAX_IMAGE_BYTES)
        size = path.stat().st_size
        if size > limit:
            raise LimitError(f"the file has {size:,} bytes, {limit:,} are allowed", remedy="send a smaller file")
        return path
    except DeepScanError:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> RequestError:
    reason = getattr(error, "strerror", None) or str(error)
    return RequestError(f"the file cannot be read: {reason}", remedy="check its permissions and its name")
