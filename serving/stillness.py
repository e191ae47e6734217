"""Tells a server that stands still from one that is only busy, by what Triton counts of each model.

A canary that misses its deadline proves nothing by itself: it may have waited behind everybody's photos. Only where the
counts do not move either, look after look, does nobody get an answer.
"""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from deepscan_client import Medium

LOOKS = 4
"""Looks, one after each canary that missed its deadline, over which nothing has moved: at least 45 seconds."""
_METRICS_SECONDS = 5.0
_COUNTS = "request_success|exec_count|pending_request_count"
_LINE = re.compile(rf'^nv_inference_({_COUNTS})\{{[^}}]*?\bmodel="([^"]+)"[^}}]*\}} (\S+)', re.MULTILINE)


@dataclass(frozen=True)
class Work:
    """What Triton counts of one model."""

    done: float = 0.0
    """Requests answered and executions, since the server began."""
    waiting: float = 0.0
    """Requests that no instance has taken yet."""


def read_work(text: str) -> dict[str, Work]:
    """Model: its work, from Triton's Prometheus metrics; versions are added up."""
    found: dict[str, Work] = {}
    for kind, model, value in _LINE.findall(text):
        work, number = found.get(model, Work()), float(value)
        waits = kind == "pending_request_count"
        found[model] = Work(work.done, work.waiting + number) if waits else Work(work.done + number, work.waiting)
    return found


def ask_work(metrics_url: str) -> dict[str, Work]:
    """As :func:`read_work`, of a running server.

    Raises:
        OSError: it does not answer.
    """
    with urllib.request.urlopen(metrics_url, timeout=_METRICS_SECONDS) as answer:
        return read_work(answer.read().decode())


class Stillness:
    """What the looks after failed canaries saw.

    Args:
        below: a model, and all that it calls.
    """

    def __init__(self, below: Callable[[str], Collection[str]]) -> None:
        self._below = below
        self._looks: dict[Medium, list[Mapping[str, Work]]] = {}

    def forget(self, medium: Medium) -> None:
        """Its canary was answered, or its models were loaded again."""
        self._looks.pop(medium, None)

    def look(self, medium: Medium, models: Collection[str], work: Mapping[str, Work]) -> set[str]:
        """The models of a medium that stand still, after a canary of it missed its deadline.

        A model stands still where requests wait for it at every look while neither it nor what it calls has done
        anything: its canaries may move those before it. Where no model of the medium has moved, all of them do.
        """
        looks = self._looks.setdefault(medium, [])
        looks.append(work)
        del looks[:-LOOKS]
        if len(looks) < LOOKS:
            return set()
        still = {name for name in models if len({seen.get(name, Work()).done for seen in looks}) == 1}
        if still >= set(models):
            return still
        waited_for = {name for name in still if all(seen.get(name, Work()).waiting for seen in looks)}
        return {name for name in waited_for if set(self._below(name)) & set(models) <= still}
