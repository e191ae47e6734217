"""Old stubs that work are left alone; those without work, and those for whom nobody waits, are ended."""

from __future__ import annotations

from typing import Any, NamedTuple

import psutil
import pytest

from serving.stubs import LONGEST_SECONDS, QUIET_SECONDS, OldStubs


class Times(NamedTuple):
    user: float
    system: float


class Stub:
    """A process that computes as it is told to."""

    def __init__(self, pid: int) -> None:
        self.pid, self.worked, self.state, self.killed = pid, 0.0, psutil.STATUS_SLEEPING, False

    def status(self) -> str:
        return self.state

    def cpu_times(self) -> Times:
        return Times(self.worked / 2, self.worked / 2)

    def kill(self) -> None:
        self.killed = True


class Scene:
    """Two old stubs and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.stubs: dict[int, Any] = {pid: Stub(pid) for pid in (1, 2)}
        self.old = OldStubs(self.stubs.__getitem__, lambda: self.now)
        self.old.add([1, 2])

    def pass_time(self, seconds: int, working: set[int]) -> None:
        for _ in range(seconds):
            self.now += 1
            for pid in working:
                self.stubs[pid].worked += 0.1
            self.old.look()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_stub_that_works_is_not_killed_and_its_idle_sibling_is(scene: Scene) -> None:
    scene.pass_time(int(QUIET_SECONDS) - 1, working={1})
    assert not any(stub.killed for stub in scene.stubs.values())
    assert 1 in scene.old
    scene.pass_time(1, working={1})
    assert scene.stubs[2].killed
    assert 2 not in scene.old
    scene.pass_time(3000, working={1})
    assert not scene.stubs[1].killed
    scene.pass_time(int(QUIET_SECONDS), working=set())
    assert scene.stubs[1].killed


def test_after_the_longest_deadline_nobody_waits_for_it(scene: Scene) -> None:
    scene.pass_time(int(LONGEST_SECONDS) - 1, working={1, 2})
    assert not scene.stubs[1].killed
    scene.pass_time(1, working={1, 2})
    assert scene.stubs[1].killed


def test_one_that_triton_ended_is_forgotten(scene: Scene) -> None:
    scene.stubs[1].state = psutil.STATUS_ZOMBIE
    scene.old.look()
    assert 1 not in scene.old
    assert 2 in scene.old
    assert not scene.stubs[1].killed
    scene.old.add([1, 2])  # a zombie is not taken up, and 2 keeps its time
    assert 1 not in scene.old
