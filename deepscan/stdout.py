"""The whole program's standard output: where it cannot be written, one line and an exit code instead of a trace.

A disk is full, a reader such as ``head`` went away, or a script closed it (``>&-``). Commands that know what they print
say so themselves (:func:`deepscan.output.standard_output`); help texts of typer and argparse and what other rooms print
come here. Nothing heavy is imported, so that ``deepscan --help`` stays quick.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import IO, Any, NoReturn

UNWRITABLE, READER_GONE = 2, 1
"""Exit codes: that of any output that cannot be written, and click's own for a pipe that nobody reads."""


class _Watched:
    """A stream that remembers that it failed, also where the writer takes no notice, as argparse does."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._remembered():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._remembered():
            self._stream.flush()

    @contextlib.contextmanager
    def _remembered(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = self.failure or error
            raise


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Run a program in the body. What it could not print is told in one line on standard error, unless the program
    told it and ends with an exit code of its own; a reader that went away is not told.

    Raises:
        SystemExit: with ``UNWRITABLE`` or ``READER_GONE``.
    """
    # Python has no stream for a descriptor that is closed; one that may not be written fails like any other.
    before = sys.stdout or os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    watched = _Watched(before)
    sys.stdout = watched
    try:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                watched.flush()
    except OSError as error:
        if watched.failure is None:
            raise
        _leave(watched.failure, error)
    except SystemExit as end:
        if watched.failure is not None:
            if end.code in (0, None):
                _leave(watched.failure, end)
            forget_stdout()
        raise
    else:
        if watched.failure is not None:
            _leave(watched.failure, None)
    finally:
        sys.stdout = before


def _leave(failure: OSError, cause: BaseException | None) -> NoReturn:
    forget_stdout()
    if failure.errno == errno.EPIPE:
        raise SystemExit(READER_GONE) from cause
    with contextlib.suppress(OSError):
        print(f"error: standard output cannot be written: {failure.strerror}", file=sys.stderr)
    raise SystemExit(UNWRITABLE) from cause


def forget_stdout() -> None:
    """What waits in its buffer would fail once more when Python ends, and hide the exit code behind 120."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
