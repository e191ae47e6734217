"""A video, or the recording beside it, on its way to the server: whole where it is small, in pieces where it is not."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from deepscan_client._media import File, read_recording
from deepscan_client._transport import Arrays, bytes_tensor

Clip = File | BinaryIO
"""A video: a path, the bytes of a file, or a file open for reading in binary that can be searched."""
Voice = Clip | tuple[NDArray[Any], int]
"""The recording beside a video: the same, or (samples, rate)."""

UPLOAD_MODEL = "video_upload"
UPLOAD_OUTPUTS = ("RECEIVED",)
CHUNK_BYTES = 4 * 1024 * 1024
"""Bytes of a piece, the most that the server takes. A smaller video goes whole, in the request itself."""


@dataclass(frozen=True)
class Upload:
    """One file to be sent.

    Attributes:
        whole, by_id: the inputs that carry its bytes, or the id of its pieces.
    """

    source: Path | BinaryIO
    size: int
    whole: str = "VIDEO"
    by_id: str = "UPLOAD"

    @classmethod
    def beside(cls, source: Voice) -> Upload:
        """The recording that belongs to a video; samples become a WAV file. Errors as of :meth:`of`.

        Raises:
            RequestError: the samples are none.
        """
        file = cls.of(read_recording(source) if isinstance(source, tuple) else source)
        return replace(file, whole="AUDIO", by_id="AUDIO_UPLOAD")

    @classmethod
    def of(cls, source: Clip) -> Upload:
        """A video.

        Raises:
            OSError: the path cannot be read; nothing was sent.
            TypeError: none of the things that can be sent.
        """
        if isinstance(source, (bytes, bytearray, memoryview)):
            data = bytes(source)
            return cls(io.BytesIO(data), len(data))
        if isinstance(source, (str, os.PathLike)):
            path = Path(source)
            with path.open("rb") as stream:  # a folder, or a file that may not be read, is told of here
                return cls(path, os.fstat(stream.fileno()).st_size)
        if isinstance(source, io.TextIOBase):
            raise TypeError("open the file in binary: open(path, 'rb')")
        if hasattr(source, "read") and hasattr(source, "seek"):
            return cls(source, source.seek(0, io.SEEK_END))
        raise TypeError(f"send a path, bytes or an open file, not {type(source).__name__}")

    def begin(self) -> tuple[Arrays, Iterator[Arrays]]:
        """The tensors that name the file in its request, and those of the pieces that must be there before it."""
        if self.size <= CHUNK_BYTES:
            with self._open() as stream:
                stream.seek(0)
                return {self.whole: bytes_tensor(stream.read())}, iter(())
        # An id of its own for each try: a piece that is sent twice is an error.
        name = bytes_tensor(uuid.uuid4().hex.encode())
        return {self.by_id: name}, self._pieces({"UPLOAD": name})

    def _pieces(self, name: Arrays) -> Iterator[Arrays]:
        with self._open() as stream:
            stream.seek(0)
            offset, piece = 0, _chunk(stream)
            while True:
                following = _chunk(stream)
                yield {
                    **name,
                    "OFFSET": np.array([offset], dtype=np.int64),
                    "LAST": np.array([not following], dtype=np.int32),
                    "CHUNK": bytes_tensor(piece),
                }
                if not following:
                    return
                offset, piece = offset + len(piece), following

    def _open(self) -> nullcontext[BinaryIO] | BinaryIO:
        """A path is opened for each try and closed; a caller's open file is the caller's to close."""
        return self.source.open("rb") if isinstance(self.source, Path) else nullcontext(self.source)


def _chunk(stream: BinaryIO) -> bytes:
    """The next piece, whole unless the file ends: a raw stream (a pipe's, a socket's) may hand out less at a time."""
    parts, missing = [], CHUNK_BYTES
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
