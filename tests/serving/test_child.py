"""A child ends with its group, tells a crash from an end, and what its log says is told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from serving.child import Child, tree_memory
from serving.triton_log import loaded_models, tail


def wait_until(done: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_a_child_writes_its_log_in_its_folder_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    child = Child(["bash", "-c", 'trap "echo bye; exit 0" TERM; echo $WORD from $PWD; sleep 60 & wait'], 5)
    assert child.pid is None
    assert not child.running
    assert not child.crashed
    log = tmp_path / "log"
    with log.open("wb") as handle:
        child.start(handle, {"PATH": os.environ["PATH"], "WORD": "hello"}, tmp_path)
    assert wait_until(lambda: "hello" in log.read_text())
    assert child.running
    assert child.pid is not None
    below = psutil.Process(child.pid).children(recursive=True)
    assert below
    assert tree_memory(child.pid) > tree_memory(below[-1].pid) > 0
    child.end()
    assert log.read_text() == f"hello from {tmp_path}\nbye\n"
    assert not child.running
    assert not child.crashed
    assert wait_until(lambda: not any(process.is_running() for process in below))
    child.end()  # again, which changes nothing


def test_an_abort_and_a_kill_are_crashes_and_an_exit_is_none() -> None:
    """The system kills whoever holds most of the memory when there is none left."""
    scripts = {"kill -ABRT $$": True, "kill -SEGV $$": True, "kill -KILL $$": True, "exit 3": False}
    for script, crashed in scripts.items():
        child = Child(["bash", "-c", script], 5)
        child.start()
        assert wait_until(lambda child=child: not child.running)  # type: ignore[misc]
        assert child.crashed is crashed
        child.end()


def test_a_child_that_had_to_be_killed_by_us_did_not_crash(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = Child(["bash", "-c", f"trap '' TERM; touch {ready}; while true; do sleep 60; done"], 0.2)
    child.start()
    assert wait_until(ready.exists)
    child.end()
    assert not child.running
    assert not child.crashed


def test_the_log_tells_the_models_that_are_loaded_and_the_errors_that_matter(tmp_path: Path) -> None:
    log = tmp_path / "triton.log"
    log.write_text(
        "I0101 successfully loaded 'a'\nI0101 successfully loaded 'b'\nI0102 successfully loaded 'a'\n"
        "E0101 no CUDA driver\nE0102 the dog ate it\nI0103 goodbye\n"
    )
    assert loaded_models(log) == 2
    assert tail(log) == "E0102 the dog ate it"
    log.write_text("".join(f"I0101 line {number}\n" for number in range(9)))
    assert tail(log).splitlines() == [f"I0101 line {number}" for number in range(3, 9)]
