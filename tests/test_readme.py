"""Every shell and Python block of the README is executed, in its order, as a newcomer would."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- background -->\n)?```(\w+)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    background: bool


def blocks(path: Path) -> list[Block]:
    return [Block(lang, text, bool(mark)) for mark, lang, text in BLOCK.findall(path.read_text(encoding="utf-8"))]


README = blocks(ROOT / "README.md")
PYTHON = {"python": [sys.executable, "-c"], "bash": ["bash", "-euo", "pipefail", "-c"]}


def run(block: Block, timeout: float = 300) -> str:
    done = subprocess.run(
        [*PYTHON[block.language], block.text],
        cwd=ROOT,
        env={**os.environ, "DEEPSCAN_DATA": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def served() -> Iterator[None]:
    """The README's own background block, until its gateway answers; stopped as a person would, by Ctrl-C."""
    (block,) = [block for block in README if block.background]
    process = subprocess.Popen(["bash", "-c", block.text], cwd=ROOT, start_new_session=True)
    try:
        wait_for("http://localhost:5000/api/health", process, 90)
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) in (0, 2, 130, -signal.SIGINT)  # bash itself dies of Ctrl-C


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended before it was ready"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer in {seconds} s")


def test_the_readme_has_the_two_commands() -> None:
    shell = [block.text.strip() for block in README if block.language == "bash"]
    assert shell[0] == "make scan"
    assert "make test" in shell


def test_every_block_is_in_a_language_that_is_executed() -> None:
    assert {block.language for block in README} <= set(PYTHON)


@pytest.mark.triton
@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in README if b.text.startswith("make ") and not b.background], ids=str)
def test_make_blocks_run(block: Block) -> None:
    if block.text.strip() == "make test":
        # This test is part of it; that its target exists and names every check is what can be asked here.
        listed = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert all(word in listed for word in ("ruff", "mypy", "lint-imports", "pytest"))
        return
    assert "astronaut.jpg" in run(block)


@pytest.mark.triton
@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in README if not b.text.startswith("make ")], ids=str)
def test_other_blocks_run_beside_the_served_system(served: None, block: Block) -> None:
    output = run(block)
    if "curl" in block.text:
        assert '"fake_probability"' in output
    if "print(" in block.text:
        assert output.strip()
