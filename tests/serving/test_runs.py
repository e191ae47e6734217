"""What a killed run left behind goes when the next one starts; nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import runs


def test_only_what_belongs_to_a_dead_process_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    shared = tmp_path / "shm"
    shared.mkdir()
    monkeypatch.setattr(runs, "SHM", shared)
    monkeypatch.setattr(runs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(runs.tempfile, "tempdir", str(tmp_path))
    for owner in (gone.pid, os.getpid()):
        (tmp_path / f"deepscan-triton-{owner}-abc").mkdir()
        (shared / f"deepscan_{owner}_abc1").touch()
    (shared / "deepscan_other").touch()
    folder = runs.new_folder()
    assert folder.is_dir()
    assert {path.name for path in tmp_path.glob("deepscan-*")} == {f"deepscan-triton-{os.getpid()}-abc", folder.name}
    assert {path.name for path in shared.iterdir()} == {f"deepscan_{os.getpid()}_abc1", "deepscan_other"}
    assert runs.region_prefix("x") == f"deepscan_{os.getpid()}_x"
