"""Names that no file can have, folders that cannot be read, and places that cannot be written: told, not a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cards.limits import MAX_JUDGED_FRAMES
from deepscan.cli import Exit
from deepscan.inputs import Walk, check_media, read_media
from deepscan.labelled import read_items
from deepscan_client import RequestError

LONG = "x" * 400 + ".jpg"


def locked(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Root may read every folder, so the refusal is told by a stand-in for ``os.scandir``."""
    really = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_name_that_is_too_long_costs_its_own_line_only(deepscan_line: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"real 0.1")
    outcome = deepscan_line("scan", LONG, tmp_path / "a.jpg")
    assert outcome.exit_code == Exit.SOME_FAILED
    assert "1 judged, 1 could not be judged" in outcome.stderr
    assert "File name too long" in outcome.stdout


def test_a_folder_that_cannot_be_read_is_a_failure(
    deepscan_line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("open", "shut"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"real 0.1")
    locked(monkeypatch, tmp_path / "shut")
    outcome = deepscan_line("scan", tmp_path)
    assert outcome.exit_code == Exit.SOME_FAILED
    assert "1 judged, 1 could not be judged" in outcome.stderr
    assert "the folder cannot be read: Permission denied" in outcome.stdout
    with pytest.raises(RequestError, match="shut: cannot be read: Permission denied"):
        read_items(tmp_path)


def test_a_link_out_of_a_folder_is_told_and_a_loop_is_not(deepscan_line: Any, tmp_path: Path) -> None:
    for name in ("walked/real", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.jpg").write_bytes(b"real 0.1")
    (tmp_path / "walked" / "real" / "loop").symlink_to(tmp_path / "walked")
    assert deepscan_line("scan", tmp_path / "walked").exit_code == Exit.DONE
    assert len(read_items(tmp_path / "walked")) == 1
    (tmp_path / "walked" / "fake").symlink_to(tmp_path / "elsewhere")
    outcome = deepscan_line("scan", tmp_path / "walked")
    assert outcome.exit_code == Exit.SOME_FAILED
    assert "1 judged, 1 could not be judged" in outcome.stderr
    assert "not followed" in outcome.stdout
    with pytest.raises(RequestError, match="fake cannot be read: it is a link"):
        read_items(tmp_path / "walked")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes an ordinary user, which root alone can")
def test_an_ordinary_user_without_rights_gets_findings(tmp_path: Path) -> None:
    """In a folder without ``x`` names can be listed and nothing can be opened; in one without ``r`` not even that."""
    for name, mode in (("names", 0o744), ("nothing", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"x")
        (tmp_path / name).chmod(mode)
    for parent in (tmp_path, *tmp_path.parents[:-2]):
        parent.chmod(0o755)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setuid(65534)
            told = list(Walk([str(tmp_path), str(tmp_path / "names" / "a.jpg")]))
            assert [Path(found.path).name for found in told] == ["a.jpg", "nothing", "a.jpg"]
            for found in told:
                with pytest.raises(RequestError, match="cannot be read: Permission denied"):
                    read_media(found)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_manifest_with_a_name_that_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text(f"path,label\n{LONG},real\n")
    (item,) = read_items(tmp_path, tmp_path / "n.csv")
    with pytest.raises(RequestError, match="File name too long"):
        check_media(item.found)
    with pytest.raises(RequestError, match="no folder"):
        read_items(Path(LONG))


def test_two_documents_on_standard_output_are_refused(deepscan_line: Any, tmp_path: Path) -> None:
    outcome = deepscan_line("scan", tmp_path, "--json", "--jsonl", "-")
    assert outcome.exit_code == Exit.USAGE
    assert "--jsonl" in outcome.stderr


@pytest.mark.parametrize("option", ["--pictures", "--annotate", "--html"])
def test_a_folder_that_cannot_be_is_told_before_anything_is_judged(
    deepscan_line: Any, tmp_path: Path, option: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"real 0.1")
    for place in (tmp_path / "a.jpg", tmp_path / "a.jpg" / "below"):
        outcome = deepscan_line("scan", tmp_path / "a.jpg", option, place)
        assert outcome.exit_code == Exit.USAGE
        assert "is no folder" in outcome.stderr
    assert deepscan_line.transport.calls == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--num-frames", 301), "--num-frames: Input should be less than or equal to 300"),
        (("--fps", 0), "--fps: Input should be greater than 0"),
        (("--fps", 241), "--fps: Input should be less than or equal to 240"),
        (("--fps", "nan"), "--fps: Input should be a finite number"),
        (("--fps", 2, "--num-frames", 9), "error: give --num-frames or --fps, not both"),
    ],
)
def test_frames_that_cannot_be_chosen_so_are_wrong_usage(
    deepscan_line: Any, tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    outcome = deepscan_line("scan", tmp_path, *options)
    assert outcome.exit_code == Exit.USAGE
    assert words in outcome.stderr
    assert f"remedy: give --num-frames (1 to {MAX_JUDGED_FRAMES}) or --fps" in outcome.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--json", "lost/o.json"], "No such file"),
        (["--plot", "lost/o.png"], "No such file"),
        (["--plot", "o.xyz"], "PNG"),
        (["--plot", "o"], "PNG"),
    ],
)
def test_where_a_measurement_cannot_go_is_told_before_it_is_made(
    deepscan_line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for label in ("real", "fake"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.jpg").write_bytes(b"real 0.1")
    outcome = deepscan_line("evaluate", tmp_path, *options)
    assert outcome.exit_code == Exit.USAGE
    assert words in outcome.stderr
    assert deepscan_line.transport.calls == []


def test_a_full_disk_behind_jsonl(deepscan_line: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"real 0.1")
    outcome = deepscan_line("scan", tmp_path, "--jsonl", "/dev/full")
    assert outcome.exit_code == Exit.USAGE
    assert "/dev/full cannot be written: No space left" in outcome.stderr


SCAN = """
import contextlib, sys, deepscan.service, deepscan_client._aio as aio
from deepscan_client import AsyncFakeTransport, make_verdict
deepscan.service.service = lambda *a, **k: contextlib.nullcontext("fake:1")
aio.connect_async = lambda url: AsyncFakeTransport(lambda call: make_verdict())
from deepscan.cli import app
app(sys.argv[1:])
"""


@pytest.mark.parametrize("options", [[], ["--json"], ["--jsonl", "-"]])
def test_a_full_disk_behind_standard_output(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", SCAN, "scan", str(tmp_path), *options]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == Exit.USAGE, done.stderr
    assert "Traceback" not in done.stderr
    assert "standard output cannot be written: No space left" in done.stderr
