"""A server that is only busy does not stand still; one that does is told by the model that nobody gets past."""

from __future__ import annotations

from collections.abc import Set

from deepscan_client import Medium
from serving.stillness import LOOKS, Stillness, Work, read_work

BELOW = {"decode": {"decode"}, "judge": {"judge", "network"}, "network": {"network"}}
METRICS = """\
# HELP nv_inference_request_success Number of successful inference requests
nv_inference_request_success{model="judge",version="1"} 7
nv_inference_request_success{model="judge",version="2"} 1
nv_inference_request_failure{model="judge",reason="BACKEND",version="1"} 9
nv_inference_exec_count{gpu_uuid="GPU-1",model="judge",version="1"} 5
nv_inference_exec_duration_us{model="judge",version="1"} 1234
nv_inference_pending_request_count{model="judge",version="1"} 3
nv_inference_pending_request_count{model="network",version="1"} 0
"""


def looks(moves: Set[str], waits: Set[str] = frozenset(), times: int = LOOKS) -> list[set[str]]:
    """What each look finds while some models move and requests wait for some."""
    stillness = Stillness(BELOW.__getitem__)
    work = [{name: Work(look * (name in moves), name in waits) for name in BELOW} for look in range(times)]
    return [stillness.look(Medium.IMAGE, list(BELOW), seen) for seen in work]


def test_the_counts_are_read_from_the_metrics() -> None:
    assert read_work(METRICS) == {"judge": Work(done=13, waiting=3), "network": Work()}


def test_where_nothing_moves_for_several_looks_every_model_of_the_medium_stands_still() -> None:
    *before, last = looks(moves=set())
    assert not any(before)
    assert last == set(BELOW)


def test_a_busy_server_does_not_stand_still() -> None:
    assert not any(looks(moves=set(BELOW), waits=set(BELOW), times=20))
    assert not any(looks(moves={"decode", "network"}, times=20))  # the judge has an hour of video


def test_a_model_that_waits_for_another_that_works_does_not_stand_still() -> None:
    """Two long recordings at work, and others behind them."""
    assert not any(looks(moves={"network"}, waits={"judge"}, times=20))


def test_one_model_that_hangs_is_found_behind_one_that_every_canary_moves() -> None:
    assert looks(moves={"decode", "judge"}, waits={"network"})[-1] == {"network"}
    assert looks(moves={"decode"}, waits={"judge"})[-1] == {"judge"}  # nobody waits for what it calls


def test_an_answered_canary_begins_anew() -> None:
    stillness = Stillness(BELOW.__getitem__)
    for _ in range(LOOKS - 1):
        assert not stillness.look(Medium.IMAGE, list(BELOW), {})
    stillness.forget(Medium.IMAGE)
    for _ in range(LOOKS - 1):
        assert not stillness.look(Medium.IMAGE, list(BELOW), {})
    assert not stillness.look(Medium.AUDIO, list(BELOW), {})  # each medium has its own
    assert stillness.look(Medium.IMAGE, list(BELOW), {}) == set(BELOW)
