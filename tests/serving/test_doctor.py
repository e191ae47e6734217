"""The doctor names what is wrong and prints its fix."""

from __future__ import annotations

import json
import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from serving import backends, checks, doctor, machine_checks

ROOT = Path(__file__).resolve().parents[2]


def by_name(found: list[checks.Finding]) -> dict[str, checks.Finding]:
    return {finding.check: finding for finding in found}


def test_here_everything_that_serving_needs_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    status = doctor.main(["--json"])
    found = {entry["check"]: entry for entry in json.loads(capsys.readouterr().out)}
    needed = ("interpreter", "libpython", "NumPy in the stub", "models' imports", "Triton", "codecs")
    assert {name: found[name]["status"] for name in needed} == dict.fromkeys(needed, "ok")
    assert found["NumPy in the stub"]["detail"].startswith("1.")
    assert status == (1 if any(entry["status"] == "error" for entry in found.values()) else 0)
    assert all(entry["fix"] for entry in found.values() if entry["status"] != "ok")


def test_a_changed_weight_file_is_an_error_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = tmp_path / "models"
    shutil.copytree(ROOT / "model_repository", models, ignore=shutil.ignore_patterns("__pycache__"))
    with (models / "frame_cnn" / "1" / "weights.safetensors").open("r+b") as stream:
        stream.seek(5000)
        byte = stream.read(1)
        stream.seek(5000)
        stream.write(bytes([byte[0] ^ 1]))
    assert doctor.main(["--models", str(models)]) == 1
    shown = capsys.readouterr().out.replace("\n", "")
    assert "weights.safetensors" in shown
    assert "fix:" in shown


def test_a_missing_repository_is_an_error(tmp_path: Path) -> None:
    (finding,) = checks.models(str(tmp_path / "nowhere"))
    assert finding.status == "error"
    assert "--models" in finding.fix


def test_a_check_that_breaks_is_a_finding_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("no such thing")

    monkeypatch.setattr(doctor, "CHECKS", (broken, checks.codecs))
    found = doctor.examine()
    assert (found[0].check, found[0].status) == ("broken", "error")
    assert by_name(found)["codecs"].status == "ok"


def test_a_taken_port_is_a_warning_with_other_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(
            machine_checks, "Ports", lambda: type("P", (), dict.fromkeys(("http", "grpc", "metrics"), port))
        )
        (finding,) = machine_checks.ports()
    assert finding.status == "warning"
    assert str(port) in finding.detail
    assert "--grpc-port" in finding.fix


def test_little_shared_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda path: usage(64 << 20, 0, 64 << 20))
    finding = by_name(list(machine_checks.memory()))["shared memory"]
    assert finding.status == "error"
    assert "--shm-size" in finding.fix


def test_regions_of_a_server_that_is_gone_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "deepscan_999999999_abc_1").touch()
    monkeypatch.setattr(machine_checks, "SHM", tmp_path)
    finding = by_name(list(machine_checks.memory()))["left behind"]
    assert "deepscan_999999999_" in finding.fix


def test_another_version_than_pinned_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("# pins\nnumpy==0.1\npsutil>=1\nnot-installed-at-all==9\n")
    monkeypatch.setattr(checks, "ROOT", tmp_path)
    (finding,) = checks.versions()
    assert finding.status == "warning"
    assert "numpy" in finding.detail
    assert "psutil" not in finding.detail


def test_an_interpreter_without_a_shared_libpython_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backends, "library_folder", lambda: tmp_path)
    finding = by_name(list(checks.interpreter()))["libpython"]
    assert finding.status == "error"
    assert "libpython" in finding.fix


def test_the_server_environment_keeps_threads_and_bytecode_in_check() -> None:
    environment = backends.server_environment()
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert str(backends.library_folder()) in environment["LD_LIBRARY_PATH"]
