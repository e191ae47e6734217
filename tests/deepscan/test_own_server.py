"""A command line without any server: it starts one, asks it and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deepscan.cli import Exit

pytestmark = [pytest.mark.triton, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


def scan(*arguments: str, **environment: str) -> tuple[int, subprocess.CompletedProcess[str]]:
    """Runs ``deepscan scan`` in a process of its own; its id is in the names of what it starts."""
    paths = os.pathsep.join(path for path in sys.path if path)
    # The URL of the default server is not free on a developer's machine: a server there would be used.
    code = "import deepscan.service as s; s.LOOPBACK = '127.0.0.1:9'; from deepscan.cli import app; app()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "scan", *arguments],
        env={**os.environ, "PYTHONPATH": paths, "DEEPSCAN_TRITON": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        out, err = process.communicate(timeout=150)
    return process.pid, subprocess.CompletedProcess(process.args, process.returncode, out, err)


def left_behind(pid: int) -> list[str]:
    """Processes and shared memory that carry the name of a scan's server."""
    name = f"deepscan_{pid}_"
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if name in line] + [str(region) for region in Path("/dev/shm").glob(f"{name}*")]


def test_a_scan_starts_a_server_and_leaves_nothing_behind() -> None:
    pid, done = scan("samples/astronaut.jpg", "--jsonl", "-")
    assert done.returncode == Exit.DONE, done.stderr
    (line,) = done.stdout.splitlines()
    assert len(json.loads(line)["faces"]) == 1
    assert left_behind(pid) == []


def test_a_changed_weight_file_is_refused_by_name(tmp_path: Path) -> None:
    models = shutil.copytree(ROOT / "model_repository", tmp_path / "models")
    weights = models / "face_detector" / "1" / "model.onnx"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    pid, done = scan("samples/astronaut.jpg", DEEPSCAN_MODELS=str(models))
    assert done.returncode == Exit.NO_SERVICE
    assert str(weights) in done.stderr
    assert "remedy:" in done.stderr
    assert left_behind(pid) == []
