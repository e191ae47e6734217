"""Videos of very large frames are watched one after another, whatever model and worker they came to.

A decoder keeps up to 16 reference frames: of 8K (7,680 x 4,320) they are 0.8 GB, and a file of 99 KB is enough to ask
for them. Two of these at a time in each of two models would take what the whole server may have.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.video.leaving import Check

LARGE_PIXELS = 12_000_000
"""Of a frame; 4K has 8.8 million at most, and 16 of them in a decoder 0.2 GB."""
_LOOK_SECONDS = 0.1


def lock_path() -> Path:
    """The file that stands for the turn; one for each user of this machine."""
    return Path(tempfile.gettempdir()) / f"deepscan-large-frames-{os.getuid()}.lock"


@contextmanager
def taking_turns(pixels: int, check: Check) -> Iterator[None]:
    """Wait, where a frame has more than ``LARGE_PIXELS``, until no other such video is being watched on this machine.

    Args:
        pixels: of a frame; check: called while waiting, raises where the caller went away.

    Raises:
        deepscan_client.errors.CancelledError: by ``check``.
        OSError: the folder for temporary files cannot be written.
    """
    if pixels <= LARGE_PIXELS:
        yield
        return
    handle = os.open(lock_path(), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                check()
                time.sleep(_LOOK_SECONDS)
        yield
    finally:
        os.close(handle)  # the turn ends with it, as it does with the process
