"""A request that was taken is never silent for long, and nothing follows its last message.

Triton's module, which exists only inside the server, is a stand-in, and so is the clock.
"""

from __future__ import annotations

import importlib
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deepscan_client import InternalError, MediaError, Progress
from deepscan_client.errors import find_error

LAST = 1


class Sender:
    """Triton's sender of one request, which breaks where two threads use it at once or something follows the last."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.ended = False
        self.errors: list[str] = []
        self.broken = False
        self.during: Callable[[], object] = lambda: None
        self._busy = threading.Lock()

    def send(self, response: Any = None, flags: int = 0) -> None:
        assert self._busy.acquire(blocking=False), "two messages at once"
        try:
            assert not self.ended, "a message after the last"
            if self.broken:
                raise RuntimeError("no memory to share")
            self.during()
            if response is not None and response.error is not None:
                self.errors.append(response.error[0])
            elif response is not None:
                self.messages.append({each.name: each.as_numpy()[0] for each in response.output_tensors})
            self.ended = flags == LAST
        finally:
            self._busy.release()

    def is_cancelled(self) -> bool:
        assert not self.ended, "asked after the last"
        return False

    @property
    def told(self) -> list[Progress]:
        return [Progress.from_json(each["PROGRESS"]) for each in self.messages]


class Clock(threading.Event):
    """The end of a model after some seconds, in no time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.left = seconds
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.left -= timeout
        return self.left < 0


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> Iterator[Any]:
    """The module, inside a stand-in for the server."""
    utils = types.ModuleType("triton_python_backend_utils")
    error = lambda message, code: (message, code)  # noqa: E731
    error.__dict__.update(INVALID_ARG=3, INTERNAL=1)
    utils.__dict__.update(
        Tensor=lambda name, values: types.SimpleNamespace(name=name, as_numpy=lambda: values),
        InferenceResponse=lambda output_tensors, error=None: types.SimpleNamespace(
            output_tensors=output_tensors, error=error
        ),
        TritonError=error,
        Logger=types.SimpleNamespace(log_error=logged.append),
        TRITONSERVER_RESPONSE_COMPLETE_FINAL=LAST,
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    before = set(sys.modules)
    yield importlib.import_module("pipelines.triton.callers")
    for name in set(sys.modules) - before:
        if name.startswith("pipelines.triton"):
            del sys.modules[name]


def test_it_beats_at_once_and_then_every_ten_seconds_or_more_often(callers: Any) -> None:
    waits, works = Sender(), Sender()
    clock, heart = Clock(60.0), callers.Heart()
    for sender in (waits, works):
        heart.add(callers.Caller(sender, clock))
        assert sender.told == [Progress(0.0)]
    heart.run(clock)
    assert max(clock.waits) <= 10.0
    assert len(waits.told) == len(works.told) == len(clock.waits) >= 7
    assert all(each["VERDICT"] == b"" for each in waits.messages)


def test_a_beat_says_what_was_told_last(callers: Any) -> None:
    sender = Sender()
    caller = callers.Caller(sender, threading.Event())
    seen = Progress(3.0, 7.0, 0.5, timeline=((0.0, 3.0, 0.5),))
    assert caller.beat()
    caller.tell(seen)
    assert caller.beat()
    assert sender.told == [Progress(0.0), seen, seen]


@pytest.mark.parametrize("end", ["answer", "end", "fail"])
def test_nothing_follows_the_last_message_and_the_answered_are_forgotten(callers: Any, end: str) -> None:
    sender, other = Sender(), Sender()
    heart, ending = callers.Heart(), threading.Event()
    caller, still = callers.Caller(sender, ending), callers.Caller(other, ending)
    heart.add(caller)
    heart.add(still)
    if end == "fail":
        caller.fail(MediaError("cut off"))
        found = find_error(sender.errors[0])
        assert found is not None
        assert found.message == "cut off"
    else:
        caller.answer([callers.text_tensor("VERDICT", "{}")] if end == "answer" else None)
    assert sender.ended
    before = len(sender.messages)
    heart.beat()
    assert not caller.beat()
    assert caller.left()
    caller.answer()
    caller.fail(MediaError("too late"))
    assert (len(sender.messages), len(other.messages)) == (before, 2)
    assert heart._callers == {still}


def test_a_beat_during_a_message_waits_for_its_end(callers: Any) -> None:
    sender = Sender()
    caller = callers.Caller(sender, threading.Event())
    beats = threading.Thread(target=caller.beat)

    def meanwhile() -> None:
        sender.during = lambda: None
        beats.start()
        beats.join(0.2)
        assert beats.is_alive()

    sender.during = meanwhile
    caller.answer()
    beats.join(10)
    assert (sender.messages, sender.ended) == ([], True)


def test_one_that_cannot_be_told_takes_no_beat_from_the_others(callers: Any, logged: list[str]) -> None:
    senders = [Sender() for _ in range(5)]
    heart = callers.Heart()
    for sender in senders:
        heart.add(callers.Caller(sender, threading.Event()))
    senders[2].broken = True
    heart.beat()
    senders[2].broken = False
    heart.beat()
    assert [len(sender.messages) for sender in senders] == [3, 3, 2, 3, 3]
    assert len(logged) == 1


def test_an_answer_that_could_not_be_sent_leaves_room_for_an_error_and_no_beat_after_it(callers: Any) -> None:
    sender = Sender()
    caller = callers.Caller(sender, threading.Event())
    sender.broken = True
    for send in (caller.answer, lambda: caller.fail(InternalError("no memory"))):
        with pytest.raises(RuntimeError):
            send()
    sender.broken = False
    assert not caller.beat()
    assert not sender.ended
