"""The Python stubs of a server: which live, and when those of an exchanged model are ended.

Triton ends the old stubs of a model that was loaded again when their requests are answered. It waits for ever where one
of them died, or where one hangs; whoever still works, such as on an hour of video, must be left alone meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from deepscan_client import Timeout
from serving.backends import STUB

QUIET_SECONDS = 30.0
"""An old stub without work for so long is ended. One that waits for the answers of other models works between them."""
QUIET_SHARE = 0.005
"""Of a processor: what a stub without work does not even need. Idle ones were measured at 0.0007."""
LONGEST_SECONDS = Timeout().video or 3600.0
"""The longest deadline of a client: nobody waits for an old stub after it."""


def stub_processes(server: int) -> dict[int, str]:
    """Process id: model of the Python stubs under a server process."""
    found: dict[int, str] = {}
    try:
        children = psutil.Process(server).children(recursive=True)
    except psutil.NoSuchProcess:
        return found
    for child in children:
        try:
            command = child.cmdline()
            alive = child.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if alive and command and Path(command[0]).name == STUB:
            # The second word is <repository>/<model>/<version>/model.py.
            found[child.pid] = Path(command[1]).parent.parent.name
    return found


@dataclass
class _Old:
    """An old stub: since when it is old, and the work that it had done when it was last seen to work."""

    process: psutil.Process
    since: float
    worked: float
    work: float


class OldStubs:
    """The stubs of models that were loaded again. Each look ends those that have no work left, and no others.

    Args:
        process: how a process is found by its id.
        clock: seconds.
    """

    def __init__(
        self, process: Callable[[int], psutil.Process] = psutil.Process, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._process, self._clock = process, clock
        self._old: dict[int, _Old] = {}

    def __contains__(self, pid: object) -> bool:
        return pid in self._old

    def add(self, pids: Iterable[int]) -> None:
        """From now on these are old."""
        now = self._clock()
        for pid in set(pids) - set(self._old):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile, as it should
                process = self._process(pid)
                self._old[pid] = _Old(process, now, now, _seconds_of_work(process))

    def look(self) -> set[int]:
        """Forget those that ended, and end those without work; returns the ended ones.

        Without work are those that did nothing for ``QUIET_SECONDS``: they hang, or Triton waits for a dead sibling of
        theirs. After the longest deadline of all nobody waits for the others either.
        """
        now = self._clock()
        ended = set()
        for pid, old in list(self._old.items()):
            try:
                work = _seconds_of_work(old.process)
                if work - old.work > QUIET_SHARE * (now - old.worked):
                    old.worked, old.work = now, work
                if now - old.worked >= QUIET_SECONDS or now - old.since >= LONGEST_SECONDS:
                    old.process.kill()  # never another process that got the same id
                    ended.add(pid)
                    del self._old[pid]
            except psutil.NoSuchProcess:
                del self._old[pid]
        return ended


def _seconds_of_work(process: psutil.Process) -> float:
    """What a process has computed so far.

    Raises:
        NoSuchProcess: it has ended.
    """
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(process.pid)
    times = process.cpu_times()
    return float(times.user + times.system)
