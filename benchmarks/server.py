"""What the server says of itself: statistics of each model, stage times of verdicts, memory of its process tree."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from deepscan_client import DeepScanClient
from deepscan_client.verdict import Verdict
from serving.child import tree_memory

Counters = dict[str, dict[str, float]]
_PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


def counters(http: str) -> Counters:
    """Triton's statistics: model to its counters (requests, and nanoseconds of each part).

    Args:
        http: ``host:port`` of Triton's HTTP.
    """
    with urllib.request.urlopen(f"http://{http}/v2/models/stats", timeout=10) as answer:
        listed = json.load(answer)["model_stats"]
    found: Counters = {}
    for entry in listed:
        stats = entry["inference_stats"]
        row = found.setdefault(entry["name"], dict.fromkeys(("requests", "hits", "success", *_PARTS), 0.0))
        row["requests"] += float(stats["success"].get("count", 0))
        row["success"] += float(stats["success"].get("ns", 0))
        row["hits"] += float(stats.get("cache_hit", {}).get("count", 0))
        for part in _PARTS:
            row[part] += float(stats[part].get("ns", 0))
    return found


@dataclass(frozen=True)
class Place:
    """Where the measured server is."""

    grpc: str
    http: str
    memory: Callable[[], int | None]


@contextmanager
def place(url: str | None, http: str | None, models: Path | None, say: Callable[[str], None]) -> Iterator[Place]:
    """A running server: the one of ``url`` (its HTTP one port below unless ``http`` says otherwise), or one of our own.

    Raises:
        ValueError: the URL names no port.
        DeepScanError: our own does not start.
    """
    if url is not None:
        host, _, port = url.removeprefix("grpc://").rpartition(":")
        beside = http or f"{host}:{int(port) - 1}"
        yield Place(f"{host}:{port}", beside, lambda: memory_of_port(beside))
        return
    from serving.supervisor import running_server

    with running_server(models, report=say, watch=False) as running:
        yield Place(running.grpc_url, running.http_url.removeprefix("http://"), running.memory)


@dataclass(frozen=True)
class ModelTime:
    """Milliseconds that one request of the public model spends in one model, on average."""

    model: str
    calls: float
    """Of this model for each request."""
    queue_ms: float
    input_ms: float
    infer_ms: float
    output_ms: float
    total_ms: float


def spent(before: Counters, after: Counters, public: str = "deepfake_image") -> tuple[list[ModelTime], int]:
    """Where the time of the requests between two readings went, and how many of them a cache answered."""
    requests = after[public]["requests"] - before.get(public, {}).get("requests", 0.0)
    times: list[ModelTime] = []
    hits = 0.0
    for name, row in after.items():
        old = before.get(name, {})
        gain = {key: value - old.get(key, 0.0) for key, value in row.items()}
        hits += gain["hits"]
        if gain["requests"] and requests:
            share = {key: value / requests / 1e6 for key, value in gain.items()}
            times.append(
                ModelTime(
                    model=name,
                    calls=gain["requests"] / requests,
                    queue_ms=share["queue"],
                    input_ms=share["compute_input"],
                    infer_ms=share["compute_infer"],
                    output_ms=share["compute_output"],
                    total_ms=share["success"],
                )
            )
    return sorted(times, key=lambda time: -time.total_ms), int(hits)


def stage_times(grpc: str, items: Sequence[bytes], ask: Callable[[DeepScanClient, bytes], Verdict]) -> dict[str, float]:
    """Medians of ``timing_ms`` of the verdicts of all items, sent one after another by ``ask``."""
    rows: list[dict[str, float]] = []
    with DeepScanClient(grpc) as client:
        rows.extend(ask(client, item).timing_ms for item in items)
    return {key: float(np.median([row[key] for row in rows])) for key in rows[0]}


def memory_of_port(http: str) -> int | None:
    """Proportional set size in bytes of the process that listens there and of all below it; None where unknown."""
    port = int(http.rsplit(":", 1)[1])
    try:
        listening = [c for c in psutil.net_connections("tcp") if c.status == "LISTEN"]
        owners = {c.pid for c in listening if getattr(c.laddr, "port", None) == port}
        return sum(tree_memory(pid) for pid in owners if pid) or None
    except (psutil.Error, OSError):
        return None


def as_json(times: Sequence[ModelTime]) -> list[dict[str, object]]:
    """Rounded rows for the result file."""
    return [{k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(time).items()} for time in times]
