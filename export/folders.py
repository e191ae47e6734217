"""A folder that was written whole takes the place of an older one."""

from __future__ import annotations

import shutil
from pathlib import Path


def replace_folder(partial: Path, target: Path) -> None:
    """Rename a finished folder to its place, on the same disk; the old one is removed afterwards.

    Who opens ``target`` meanwhile finds the old one, for a moment none, or the new one, but never parts of both.
    """
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
