"""Runs one command as long as its parent lives: ``python launch.py FD SECONDS PREFIX COMMAND...``.

The parent holds the other end of the pipe FD. When that end closes, because the parent stops the server or because
the parent died, even by SIGKILL, the command gets SIGTERM, then SECONDS to finish, and then the whole process group
is ended: no stub process is left behind, and no shared memory whose name begins with PREFIX (``-`` for none). Only
the standard library is used, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit status."""
    pipe, seconds, prefix, command = int(arguments[0]), float(arguments[1]), arguments[2], arguments[3:]
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)  # the group that is ended below must be our own, never the caller's
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the pipe alone decides
    server = subprocess.Popen(command, close_fds=True, preexec_fn=_default_signals)
    while server.poll() is None:
        readable, _, _ = select.select([pipe], [], [], 0.1)
        if readable and not os.read(pipe, 1):
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(seconds)
            except subprocess.TimeoutExpired:
                server.kill()
            break
    status = server.wait()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What is left of the group: stubs whose server is gone. This process is in the group and ends with it.
    sys.stdout.flush()
    os.set_inheritable(pipe, False)
    _end_group(but=os.getpid())
    if prefix != "-":
        _remove_shared_memory(prefix)
    return status if status >= 0 else 128 - status


def _default_signals() -> None:
    # Should somebody kill this launcher, the server goes too, and its stubs notice that. (A parent-death signal is
    # tied to the thread that made the child: this process has one thread, which the supervisor cannot promise.)
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _end_group(but: int) -> None:
    """SIGKILL to every process of this group except one, by the process table."""
    group = os.getpgid(0)
    for entry in os.listdir("/proc"):  # noqa: PTH208 - the standard library's quickest
        if not entry.isdigit() or int(entry) == but:
            continue
        try:
            if os.getpgid(int(entry)) == group:
                os.kill(int(entry), signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _remove_shared_memory(prefix: str) -> None:
    for name in os.listdir("/dev/shm"):  # noqa: PTH208 - the standard library's quickest
        if name.startswith(prefix):
            with contextlib.suppress(OSError):
                os.unlink(f"/dev/shm/{name}")  # noqa: PTH108


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
