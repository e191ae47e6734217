"""A caller who goes away ends the work: it is asked between two packets, two frames and two calls of networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from deepscan_client.errors import CancelledError

Stopped = Callable[[], bool]
"""Whether the caller went away; cheap, because it is asked for each packet that is decoded."""
Check = Callable[[], None]
"""Raises ``CancelledError`` where the caller went away."""


def checker(stopped: Stopped | None, request_id: str = "") -> Check:
    """The check for a caller; one that never fails where nobody can leave."""

    def check() -> None:
        if stopped is not None and stopped():
            raise CancelledError("the caller cancelled the request", request_id=request_id or None)

    return check


class WatchedFile:
    """A file that asks at each read: a reader that searches two gigabytes of nothing can be ended too.

    Args:
        file: open for reading; check: what it raises comes out of the reader.
    """

    def __init__(self, file: IO[bytes], check: Check) -> None:
        self._file, self._check, self._ended = file, check, False
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """The next bytes; none after what was raised, which the reader hands on when it has come to an end."""
        if self._ended:
            return b""
        self._ended = True
        self._check()
        self._ended = False
        return self._file.read(size)
