"""Where a command writes: a file that was named, or standard output. What cannot be written is a typed error.

A full disk behind ``>`` is the caller's to mend, as a file that cannot be opened is; neither is a defect with a trace.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deepscan.stdout import forget_stdout
from deepscan_client import RequestError

STDOUT = "-"


@contextlib.contextmanager
def writable(target: str) -> Iterator[None]:
    """Turn an OSError of the body into a typed error that names ``target``.

    Raises:
        RequestError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise RequestError(f"{target} cannot be written: {error.strerror}", remedy="name another file") from error


def check_writable(*targets: str | None) -> None:
    """Look before the work whether files can be written after it; one that is not there is there afterwards, empty.

    Raises:
        RequestError: one cannot.
    """
    for target in filter(None, targets):
        with writable(target), Path(target).open("ab"):
            pass


def check_folder(target: str) -> None:
    """Look before the work whether files can be written into a folder, which is made with the first of them.

    Raises:
        RequestError: something else has its name or that of a folder above it, or nothing may be written there.
    """
    place = Path(target)
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        why = "may not be written" if place.is_dir() else "is no folder"
        raise RequestError(f"{target} cannot be written: {place} {why}", remedy="name another folder")


@contextlib.contextmanager
def standard_output() -> Iterator[None]:
    """The same for what is printed in the body. A reader that went away, such as ``head``, is left to click, which
    ends quietly.

    Raises:
        RequestError: standard output cannot be written.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        forget_stdout()
        raise RequestError(
            f"standard output cannot be written: {error.strerror}", remedy="send it to a place with free space"
        ) from error


@dataclass(frozen=True)
class Lines:
    """JSON lines on their way into a file or to standard output."""

    target: str
    stream: IO[str]

    def write(self, line: str) -> None:
        """One line, which a reader sees at once.

        Raises:
            RequestError: it cannot be written.
        """
        with standard_output() if self.target == STDOUT else writable(self.target):
            self.stream.write(line + "\n")
            self.stream.flush()


@contextlib.contextmanager
def lines_to(target: str | None) -> Iterator[Lines | None]:
    """Where JSON lines go; ``-`` is standard output, None is nowhere.

    Raises:
        RequestError: the file cannot be opened.
    """
    if target is None:
        yield None
        return
    if target == STDOUT:
        yield Lines(target, sys.stdout)
        return
    with writable(target):
        stream = Path(target).open("w", encoding="utf-8")  # noqa: SIM115  (closed below, outside of this guard)
    try:
        yield Lines(target, stream)
    finally:
        # Every line was flushed; what is left after a failed write would only fail again.
        with contextlib.suppress(OSError):
            stream.close()
