"""Value objects: deadlines, retries, budget, cancellation."""

from __future__ import annotations

import math
import threading

import pytest

from deepscan_client import (
    Cancellation,
    CancelledError,
    Deadline,
    DeadlineError,
    DeepScanError,
    OverloadedError,
    RequestError,
    RetryPolicy,
    Timeout,
    UnavailableError,
)
from deepscan_client._config import RetryBudget
from deepscan_client._request import next_pause
from deepscan_client._transport import Address


def unsent() -> UnavailableError:
    error = UnavailableError("refused")
    error.sent = False
    return error


def test_values_compare_and_print() -> None:
    assert Timeout() == Timeout(request=60.0)
    assert RetryPolicy(attempts=5) != RetryPolicy()
    assert "attempts=1" in repr(RetryPolicy.never())
    assert Deadline(5.0) < Deadline(6.0)


def test_a_deadline_is_a_moment_that_calls_share() -> None:
    shared = Deadline.after(100)
    assert Deadline.of(shared, default=1.0) is shared
    assert 99 < shared.remaining() <= 100
    assert Deadline.of(None) is None
    assert Deadline.after(0).expired
    assert Deadline(0.0).remaining() == 0.0


@pytest.mark.parametrize("seconds", [-1, math.nan])
def test_a_deadline_in_the_past_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="deadline"):
        Deadline.after(seconds)


def test_pauses_double_up_to_the_longest() -> None:
    policy = RetryPolicy(backoff=0.1, max_backoff=0.3, jitter=0.0)
    assert [policy.pause(n) for n in (1, 2, 3, 9)] == pytest.approx([0.1, 0.2, 0.3, 0.3])
    assert all(0.05 <= RetryPolicy(jitter=0.5).pause(1) <= 0.15 for _ in range(50))


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"backoff": -1.0}, {"jitter": 2.0}])
def test_a_wrong_policy_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="retry policy"):
        RetryPolicy(**wrong)  # type: ignore[arg-type]


def test_the_budget_ends_retries_and_answers_refill_it() -> None:
    policy = RetryPolicy(attempts=99, budget=2.0, refill=0.5)
    budget = RetryBudget(policy)
    next_pause(unsent(), 1, policy, budget, None)
    next_pause(unsent(), 1, policy, budget, None)
    with pytest.raises(UnavailableError):
        next_pause(unsent(), 1, policy, budget, None)
    budget.give_back()
    budget.give_back()
    assert next_pause(unsent(), 1, policy, budget, None) > 0
    for _ in range(99):
        budget.give_back()
    assert budget.tokens == policy.budget


@pytest.mark.parametrize("error", [UnavailableError("broke"), RequestError("wrong"), DeadlineError("late")])
def test_what_may_have_been_judged_is_not_sent_again(error: DeepScanError) -> None:
    policy = RetryPolicy()
    budget = RetryBudget(policy)
    with pytest.raises(type(error)):
        next_pause(error, 1, policy, budget, None)
    assert budget.tokens == policy.budget


def test_what_was_shed_is_sent_again() -> None:
    policy = RetryPolicy()
    assert next_pause(OverloadedError("full"), 1, policy, RetryBudget(policy), Deadline.after(60)) > 0


def test_nothing_is_sent_again_after_the_deadline() -> None:
    policy = RetryPolicy(backoff=5.0, max_backoff=5.0, jitter=0.0)
    budget = RetryBudget(policy)
    with pytest.raises(DeadlineError):
        next_pause(unsent(), 1, policy, budget, Deadline.after(0))
    with pytest.raises(UnavailableError):  # it would pass during the pause: say now what is wrong
        next_pause(unsent(), 1, policy, budget, Deadline.after(1))
    assert budget.tokens == policy.budget


def test_cancelling_acts_on_calls_now_and_later() -> None:
    cancellation = Cancellation()
    acted: list[str] = []
    with cancellation.runs(lambda: acted.append("ended")):
        pass
    with cancellation.runs(lambda: acted.append("running")):
        thread = threading.Thread(target=cancellation.cancel)
        thread.start()
        thread.join()
    with cancellation.runs(lambda: acted.append("later")):
        pass
    assert acted == ["running", "later"]
    with pytest.raises(CancelledError):
        cancellation.raise_if_cancelled()


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("host:1234", Address("grpc", "host:1234")),
        ("host", Address("grpc", "host:8001")),
        ("host:0", Address("grpc", "host:0")),
        ("grpc://[::1]:5", Address("grpc", "[::1]:5")),
        ("grpcs://host", Address("grpc", "host:8001", True)),
        ("http://host", Address("http", "host:8000")),
        ("https://host/triton/", Address("http", "host:443/triton", True)),
    ],
)
def test_addresses(url: str, parsed: Address) -> None:
    assert Address.parse(url) == parsed


@pytest.mark.parametrize("url", ["", "ftp://host", "grpc://", "http://:80", "host:port", "http://a b"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Address.parse(url)
