"""Videos that arrive in pieces: files of one folder that all instances of the video models share.

A video of an hour is not sent in one message. ``video_upload`` appends each piece to the file of its upload id, and the
one request of ``deepfake_video`` that names the id takes the file, judges it and deletes it. Nothing is kept in memory,
and nothing outlives its request: an upload that nobody goes on with or asks for is deleted after a minute.

What holds between the processes is the file system's own: a piece is written, and a video is judged, under ``flock`` on
its file, which ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cards.limits import (
    MAX_CHUNK_BYTES,
    MAX_SPOOL_BYTES,
    MAX_UPLOADS,
    MAX_VIDEO_BYTES,
    MAX_VIDEO_MESSAGE_BYTES,
    UPLOAD_IDLE_SECONDS,
)
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError, OverloadedError, RequestError

ENVIRONMENT_VARIABLE = "DEEPSCAN_SPOOL"
"""The folder; the server's supervisor names one that ends with the server."""
_GROWING, _WHOLE = "growing", "video"
"""Names of a file while pieces come, and from its last piece on."""
_ALL_THERE = "send offset 0 again under a new upload id"


def spool_folder() -> Path:
    """The folder that the processes of one server share: that of ``DEEPSCAN_SPOOL``, else one named after the server,
    which is the parent of all its model processes."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(named) if named else Path(tempfile.gettempdir()) / f"deepscan-spool-{os.getuid()}-{os.getppid()}"


class Spool:
    """The uploads of one server. Any number of objects in any number of processes may share a folder.

    Args:
        folder: made where it is missing, for this user alone.
        most_bytes: of all videos together.
        most_uploads: videos that are there at the same time.
        idle_seconds: after which a video that nobody touches is deleted.
    """

    def __init__(
        self,
        folder: Path | None = None,
        most_bytes: int = MAX_SPOOL_BYTES,
        most_uploads: int = MAX_UPLOADS,
        idle_seconds: float = UPLOAD_IDLE_SECONDS,
    ) -> None:
        self.folder = spool_folder() if folder is None else folder
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._most_bytes, self._most_uploads, self._idle_seconds = most_bytes, most_uploads, idle_seconds

    def append(self, upload_id: str, offset: int, chunk: bytes, last: bool) -> int:
        """Add the next piece of a video.

        Args:
            upload_id: 1 to 128 printable characters of ASCII, the caller's choice, for example a UUID.
            offset: bytes that were sent before; 0 begins the upload.
            chunk: at most ``MAX_CHUNK_BYTES``.
            last: nothing follows.

        Returns:
            Bytes that are there.

        Raises:
            RequestError: the id is none, or the piece is not the next one: out of order, sent twice, overlapping, after
                the last one, of an upload that was never begun or has expired (``not_found``).
            LimitError: the piece or the video is too large.
            MediaError: the video is empty.
            OverloadedError: too many uploads, or the disk is full.
        """
        place = self._place(upload_id)
        if len(chunk) > MAX_CHUNK_BYTES:
            raise LimitError(
                f"the piece has {len(chunk):,} bytes, {MAX_CHUNK_BYTES:,} are allowed", remedy="send smaller pieces"
            )
        if offset < 0:
            raise RequestError(f"the offset is {offset}", remedy="count the bytes that were sent before")
        if not chunk and not offset and last:
            raise MediaError("the file is empty", code=ErrorCode.EMPTY, remedy="send the bytes of a video")
        self._check_room(len(chunk), begins=offset == 0)
        with _disk():
            if offset == 0:
                self._begin(place)
            with self._growing(place) as stream:
                size = os.fstat(stream.fileno()).st_size
                if offset != size:
                    raise RequestError(
                        f"the piece begins at byte {offset:,}, and {size:,} bytes are there",
                        remedy="send the pieces in order, each once and each after the answer to the one before",
                    )
                if size + len(chunk) > MAX_VIDEO_BYTES:
                    shutil.rmtree(place, ignore_errors=True)
                    raise LimitError(f"the video has more than {MAX_VIDEO_BYTES:,} bytes", remedy="send a smaller file")
                try:
                    _write(stream, chunk)
                except OSError:  # as if it had never come, so that it can come again
                    os.ftruncate(stream.fileno(), size)
                    if not offset:
                        shutil.rmtree(place, ignore_errors=True)
                    raise
                os.utime(stream.fileno())  # an empty piece says that the caller is still there
                if last:
                    (place / _GROWING).rename(place / _WHOLE)
        return offset + len(chunk)

    @contextlib.contextmanager
    def claim(self, upload_id: str) -> Iterator[Path]:
        """The file of a whole upload, for one request; deleted after the block.

        Raises:
            RequestError: there is none, it is not whole, or another request has it.
        """
        place = self._place(upload_id)
        if (place / _GROWING).exists():
            raise RequestError("the upload is not whole yet", remedy="mark its last piece with LAST")
        try:
            stream = (place / _WHOLE).open("rb")
        except FileNotFoundError as error:
            raise _unknown() from error
        with stream:
            if not _locked(stream):
                raise RequestError("another request judges this upload", remedy="upload it again under another id")
            if not (place / _WHOLE).exists():  # it was judged and deleted meanwhile
                raise _unknown()
            try:
                yield place / _WHOLE
            finally:
                shutil.rmtree(place, ignore_errors=True)

    @contextlib.contextmanager
    def whole(self, data: bytes) -> Iterator[Path]:
        """The file of a video that came in one message; deleted after the block.

        Raises:
            MediaError: it is empty.
            LimitError: it is too large.
            OverloadedError: too many uploads, or the disk is full.
        """
        if not data:
            raise MediaError("the file is empty", code=ErrorCode.EMPTY, remedy="send the bytes of a video")
        if len(data) > MAX_VIDEO_MESSAGE_BYTES:
            raise LimitError(
                f"the message carries a video of {len(data):,} bytes, {MAX_VIDEO_MESSAGE_BYTES:,} are allowed",
                remedy="upload it in pieces to video_upload, as deepscan_client does",
            )
        self._check_room(len(data), begins=True)
        place = self.folder / secrets.token_hex(32)
        try:
            with contextlib.ExitStack() as held:
                with _disk():
                    place.mkdir(mode=0o700)
                    stream = held.enter_context((place / _WHOLE).open("xb", buffering=0))
                    _locked(stream)
                    _write(stream, data)
                yield place / _WHOLE
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def sweep(self) -> int:
        """Delete the uploads that nobody touched for too long; returns how many. One that is being judged stays."""
        gone = 0
        for place in self.folder.iterdir():
            with contextlib.suppress(OSError):  # another process was quicker
                if self._abandoned(place):
                    shutil.rmtree(place, ignore_errors=True)
                    gone += 1
        return gone

    def _abandoned(self, place: Path) -> bool:
        files = list(place.iterdir())
        if time.time() - max(each.stat().st_mtime for each in (place, *files)) < self._idle_seconds:
            return False
        with contextlib.ExitStack() as held:
            return all(_locked(held.enter_context(each.open("rb"))) for each in files)

    def _place(self, upload_id: str) -> Path:
        """The folder of an upload. It is named by the id's hash, so that no id can name anything else."""
        if not (0 < len(upload_id) <= 128 and upload_id.isascii() and upload_id.isprintable()):
            raise RequestError(
                "the upload id is not usable", remedy="give 1 to 128 printable ASCII characters, for example a UUID"
            )
        return self.folder / hashlib.sha256(upload_id.encode()).hexdigest()

    def _begin(self, place: Path) -> None:
        try:
            place.mkdir(mode=0o700)
        except FileExistsError as error:
            raise RequestError(
                "this upload has begun already: offset 0 came twice", remedy="begin again under a new upload id"
            ) from error
        (place / _GROWING).touch(mode=0o600)

    @contextlib.contextmanager
    def _growing(self, place: Path) -> Iterator[IO[bytes]]:
        try:
            stream = (place / _GROWING).open("r+b", buffering=0)
        except FileNotFoundError as error:
            if (place / _WHOLE).exists():
                raise RequestError("the upload has its last piece already", remedy=_ALL_THERE) from error
            raise _unknown() from error
        with stream:
            if not _locked(stream):
                raise RequestError(
                    "another piece of this upload is being written",
                    remedy="send each piece after the answer to the one before",
                )
            if not (place / _GROWING).exists():  # completed or swept between the two lines above
                raise _unknown()
            stream.seek(0, os.SEEK_END)
            yield stream

    def _check_room(self, more: int, begins: bool) -> None:
        """
        Raises:
            OverloadedError: one more upload, or so many more bytes, would be too much.
        """
        count = held = 0
        for place in self.folder.iterdir():
            count += 1
            with contextlib.suppress(OSError):
                held += sum(each.stat().st_size for each in place.iterdir())
        if (begins and count >= self._most_uploads) or held + more > self._most_bytes:
            raise OverloadedError(
                f"{count} uploads with {held:,} bytes are there", remedy="send it again when others have been judged"
            )


def _write(stream: IO[bytes], data: bytes) -> None:
    """All of it, without a buffer: what was refused is refused here, not when the file is closed."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def _locked(stream: IO[bytes]) -> bool:
    """Take the lock of an open file; False where another process or thread has it."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unknown() -> RequestError:
    return RequestError(
        "there is no such upload, or it has expired", code=ErrorCode.NOT_FOUND, remedy="upload the video again"
    )


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    """
    Raises:
        OverloadedError: the disk refused to write.
    """
    try:
        yield
    except OSError as error:
        raise OverloadedError(
            f"the upload cannot be written: {error.strerror}", remedy="free space on the server's disk, then send again"
        ) from error
