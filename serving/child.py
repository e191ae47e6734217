"""A command that runs as long as this process: behind the launcher, in a process group that leaves nothing behind.

Triton and the gateway are started this way. When this process dies, in whatever way, the command ends with it
(``serving/launch.py``).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

LAUNCHER = Path(__file__).with_name("launch.py")
GRACE_SECONDS = 10.0
"""What the launcher itself has beside the time of its command, before it is killed."""
_CRASHES = tuple(128 + number for number in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL))
"""A system without memory left ends by SIGKILL whoever holds most of it."""


def tree_memory(pid: int) -> int:
    """Bytes that a process and all below it hold (proportional set size: shared pages are counted once)."""
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


class Child:
    """A command that is started once.

    Args:
        command: with its arguments.
        seconds: what it has to finish its work after SIGTERM, before its group is killed.
        regions: start of the names of the shared memory that is removed with it; ``-`` for none.
    """

    def __init__(self, command: Sequence[str], seconds: float, regions: str = "-") -> None:
        self._command, self._seconds, self._regions = list(command), seconds, regions
        self._pipe: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self, log: IO[bytes] | None = None, environment: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> None:
        """Start it.

        Args:
            log: where standard output and error go; this process's own where left out.
            environment: its variables, and folder: where it runs; as here where left out.
        """
        read, self._pipe = os.pipe()
        launcher = [sys.executable, "-I", str(LAUNCHER), str(read), str(self._seconds), self._regions]
        self._process = subprocess.Popen(
            [*launcher, *self._command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=None if log is None else subprocess.STDOUT,
            env=environment,
            pass_fds=(read,),
            start_new_session=True,
            cwd=folder,
        )
        os.close(read)

    @property
    def pid(self) -> int | None:
        """Process id of the launcher, below which the command is; None before the start."""
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def crashed(self) -> bool:
        """Whether it was ended by an abort, a bad memory access or the system's want of memory, and not by us."""
        told_to_end = self._pipe is None
        return not told_to_end and self._process is not None and self._process.poll() in _CRASHES

    def end(self) -> None:
        """Let it finish its work, and return when its group is gone."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._process is not None:
            try:
                self._process.wait(self._seconds + GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            # Its launcher ended the group; were the launcher itself killed, some of it could be left.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
