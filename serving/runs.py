"""The folder of one run, and what runs left behind whose process was killed before it could clean up."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

SHM = Path("/dev/shm")
_FOLDER = "deepscan-triton-"
_REGION = "deepscan_"


def region_prefix(token: str) -> str:
    """Start of the names of a server's shared-memory regions: it names the process that owns them."""
    return f"{_REGION}{os.getpid()}_{token}"


def new_folder() -> Path:
    """A folder for the log of a run; folders and regions of dead owners are removed first."""
    for folder in dead(Path(tempfile.gettempdir()), _FOLDER):
        shutil.rmtree(folder, ignore_errors=True)
    for region in dead(SHM, _REGION):
        region.unlink(missing_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))


def dead(parent: Path, start: str) -> Iterator[Path]:
    """Entries of a folder whose name is ``start``, a process id that no longer lives, and more; only our user's."""
    for path in parent.glob(f"{start}*"):
        match = re.match(r"(\d+)[-_]", path.name.removeprefix(start))
        try:
            if match and not psutil.pid_exists(int(match[1])) and path.lstat().st_uid == os.getuid():
                yield path
        except OSError:
            continue  # another process removed it just now
