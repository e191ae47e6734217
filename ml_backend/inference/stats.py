"""What the gateway counts: for people at ``/api/stats``, for Prometheus at ``/metrics``."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import psutil
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as PromCounter

from deepscan_client import DeepScanError, Verdict

KEPT = 2048
"""Latest verdicts that the percentiles are taken over."""
_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p90, p95 and p99 by nearest rank, in the unit of the values; empty where there are none."""
    if not values:
        return {}
    ordered = sorted(values)
    return {f"p{p}": round(ordered[max(0, -(-p * len(ordered) // 100) - 1)], 3) for p in (50, 90, 95, 99)}


class Stats:
    """Counters of one gateway."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.asked_ms: deque[float] = deque(maxlen=KEPT)
        self.cached_ms: deque[float] = deque(maxlen=KEPT)
        self.medium_ms: dict[str, deque[float]] = {}
        self.registry = CollectorRegistry()
        self._requests = PromCounter(
            "deepscan_requests", "HTTP requests", ["path", "method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "deepscan_request_seconds", "Seconds of HTTP requests", ["path"], buckets=_BUCKETS, registry=self.registry
        )
        self._verdicts = PromCounter(
            "deepscan_verdicts", "Verdicts given", ["medium", "label", "cached"], registry=self.registry
        )
        self._errors = PromCounter("deepscan_errors", "Errors by code", ["code"], registry=self.registry)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A value that is read when Prometheus asks."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def request(self, path: str, method: str, status: int, seconds: float) -> None:
        """An HTTP request was answered; ``path`` is its route, of which there are few."""
        self.requests[(path, status)] += 1
        self._requests.labels(path, method, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def verdict(self, verdict: Verdict, milliseconds: float) -> None:
        """A verdict was given, after so long."""
        medium, label = str(verdict.medium), str(verdict.label)
        self.verdicts[(medium, label)] += 1
        (self.cached_ms if verdict.cached else self.asked_ms).append(milliseconds)
        if not verdict.cached:
            self.medium_ms.setdefault(medium, deque(maxlen=KEPT)).append(milliseconds)
        self._verdicts.labels(medium, label, str(verdict.cached).lower()).inc()

    def error(self, error: DeepScanError) -> None:
        """An error was answered, for a request or for one file of a batch."""
        self.errors[str(error.code)] += 1
        self._errors.labels(str(error.code)).inc()

    def snapshot(self) -> dict[str, Any]:
        """What ``/api/stats`` shows of these counters."""
        by_medium: dict[str, dict[str, int]] = {}
        for (medium, label), count in sorted(self.verdicts.items()):
            by_medium.setdefault(medium, {})[label] = count
        statuses: Counter[str] = Counter()
        for (_, status), count in self.requests.items():
            statuses[str(status)] += count
        return {
            "uptime_s": round(time.monotonic() - self.started, 3),
            "requests": {"total": sum(statuses.values()), "by_status": dict(sorted(statuses.items()))},
            "verdicts": {"total": sum(self.verdicts.values()), "by_medium": by_medium},
            "errors": {"total": sum(self.errors.values()), "by_code": dict(sorted(self.errors.items()))},
            "latency_ms": {
                "asked": {"count": len(self.asked_ms), **percentiles(self.asked_ms)},
                "cached": {"count": len(self.cached_ms), **percentiles(self.cached_ms)},
                "by_medium": {
                    medium: {"count": len(values), **percentiles(values)}
                    for medium, values in sorted(self.medium_ms.items())
                },
            },
        }

    def exposition(self) -> bytes:
        """Prometheus' text format, version 0.0.4."""
        return generate_latest(self.registry)


def memory() -> dict[str, int]:
    """Bytes of the gateway and of the processes that it started (Triton, where it did).

    Proportional set size: a page that several processes share is counted once. Takes milliseconds.
    """
    me = psutil.Process()
    total = gateway = int(me.memory_full_info().pss)
    for child in me.children(recursive=True):
        try:
            total += int(child.memory_full_info().pss)
        except psutil.Error:  # it has just ended
            continue
    return {"gateway_bytes": gateway, "with_children_bytes": total}
