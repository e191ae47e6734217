"""The preflight names what a bare system lacks; setup does nothing the second time; pins are merged by Python."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"version": "3.11", "full_version": "3.11.2", "venv": True, "shared": True, "system": True, "header": True}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def interpreter(folder: Path, **changes: Any) -> Path:
    """A stand-in for a Python that says of itself what a test wants."""
    path = folder / "python"
    said = json.dumps({**GOOD, "executable": str(path), **changes})
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return path


def preflight(python: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(ROOT / "tools" / "preflight.py")]
    environment = {**os.environ, "PYTHON": str(python)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_complete_interpreter_is_ready(tmp_path: Path) -> None:
    done = preflight(interpreter(tmp_path))
    assert done.returncode == 0
    assert "ready: Python 3.11.2" in done.stdout


@pytest.mark.parametrize(
    ("changes", "packages"),
    [
        ({"venv": False}, ["python3.11-venv"]),
        ({"shared": False}, ["libpython3.11"]),
        ({"venv": False, "shared": False}, ["python3.11-venv", "libpython3.11"]),
        ({"shared": False, "system": False}, ["python3.11", "python3.11-venv", "libpython3.11"]),
        ({"version": "3.12", "full_version": "3.12.3", "header": False}, ["python3.12-dev"]),
        ({"version": "3.13", "full_version": "3.13.0"}, ["-venv"]),
    ],
)
def test_what_is_missing_is_named_with_one_apt_line(
    tmp_path: Path, changes: dict[str, Any], packages: list[str]
) -> None:
    done = preflight(interpreter(tmp_path, **changes))
    assert done.returncode == 1
    assert done.stdout.startswith("missing: ")
    (line,) = re.findall(r"apt-get install -y (.*)", done.stdout)
    assert all(package in line for package in packages)


def test_an_interpreter_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = preflight(tmp_path / "python9")
    assert done.returncode == 1
    assert "python9" in done.stdout


def test_setup_does_nothing_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    setup = load("setup")
    folder = tmp_path / "bin"
    folder.mkdir()
    interpreter(folder)
    stamp = {"hash": setup.wanted_hash(), "extras": ["dev", "train"]}
    (tmp_path / ".deepscan-stamp.json").write_text(json.dumps(stamp))
    command = [sys.executable, "-I", str(ROOT / "tools" / "setup.py"), "dev"]
    environment = {**os.environ, "DEEPSCAN_VENV": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "setup.log").exists()


def test_pins_that_differ_between_pythons_get_markers() -> None:
    tool = load("constraints")
    first = tool.pins(["Torch==2.13.0+cpu", "typing_extensions==4.1", "-e ./client", "deepscan==0.1.0", "a==1"])
    assert first == {"torch": "2.13.0", "typing-extensions": "4.1", "a": "1"}
    lines = tool.merge({"3.11": first, "3.12": {"a": "2", "b": "3"}})
    assert lines[:3] == ['a==1 ; python_version == "3.11"', 'a==2 ; python_version == "3.12"', "b==3"]


def test_no_committed_set_up_file_names_an_index_or_a_host() -> None:
    for name in ("Makefile", "constraints.txt", "requirements.txt", "pyproject.toml", ".ci/run", "tools/setup.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "index-url" not in text, name
        assert not re.search(r"https?://(?!github\.com)[a-z0-9.-]+", text), name


def test_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("scan", "serve", "setup", "test", "bench", "engines", "test-gpu", "doctor", "clean"):
        assert re.search(rf"^make {target}\b", shown, re.MULTILINE), target
