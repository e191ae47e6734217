"""Standard output that cannot be written: one line and an exit code, whoever was printing."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepscan.stdout import READER_GONE, UNWRITABLE, guarded

PROGRAM = "from deepscan.cli import app; app()"
COMMANDS = [["--help"], ["scan", "--help"], ["serve", "--help"]]
"""Typer prints the first two, argparse the third, which takes no notice of what cannot be written."""


def run(arguments: list[str], buffered: str, stdout: int | io.TextIOBase, closed: bool = False) -> tuple[int, str]:
    """Exit code and standard error of ``deepscan``."""
    path = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": buffered}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    if closed:
        command = ["sh", "-c", 'exec "$0" "$@" >&-', *command]
    done = subprocess.run(command, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk_behind_a_help_text(arguments: list[str], buffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        code, told = run(arguments, buffered, full)
    assert (code, told) == (UNWRITABLE, "error: standard output cannot be written: No space left on device\n")


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_went_away_is_not_told(arguments: list[str], buffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run(arguments, buffered, writer) == (READER_GONE, "")
    finally:
        os.close(writer)


@pytest.mark.parametrize("arguments", [*COMMANDS, ["models"]], ids=" ".join)
def test_standard_output_that_is_closed(arguments: list[str]) -> None:
    code, told = run(arguments, "", subprocess.DEVNULL, closed=True)
    assert code == UNWRITABLE
    assert told.startswith("error: standard output cannot be written: Bad file descriptor\n")
    assert "Traceback" not in told


def speaks_and_ends() -> None:
    print("said")
    sys.exit(3)


def test_other_errors_and_exit_codes_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OSError, match="no such disk"), guarded():
        raise OSError(errno.EIO, "no such disk")
    with pytest.raises(SystemExit) as ended, guarded():
        speaks_and_ends()
    assert ended.value.code == 3
    assert capsys.readouterr() == ("said\n", "")
