"""Measures the latency of photos with the real perf_analyzer and compares it with benchmarks/targets.yaml.

``deepscan bench`` starts a server of its own, or measures the one of ``--url``. The yardstick, plain ONNX Runtime, is
taken in turns with it in the same run.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks import report, server
from benchmarks.inputs import make_photos, write_perf_input
from benchmarks.perf import Latency, Protocol, find_binary, measure, middle
from benchmarks.raw import RawBench
from cards.repository import ModelRepository
from deepscan_client.errors import DeepScanError

_BUSY = 0.5
"""Load above which the numbers deserve a warning."""


@dataclass(frozen=True)
class Place:
    """Where the measured server is."""

    grpc: str
    http: str
    memory: Callable[[], int | None]


@contextmanager
def _server(url: str | None, http: str | None, models: Path | None, say: Callable[[str], None]) -> Iterator[Place]:
    if url is not None:
        host, _, port = url.removeprefix("grpc://").rpartition(":")
        beside = http or f"{host}:{int(port) - 1}"
        yield Place(f"{host}:{port}", beside, lambda: server.memory_of_port(beside))
        return
    from serving.supervisor import running_server

    with running_server(models, report=say, watch=False) as running:
        yield Place(running.grpc_url, running.http_url.removeprefix("http://"), running.memory)


def run_bench(place: Place, models: Path | None, quick: bool, say: Callable[[str], None]) -> report.Run:
    """Measure a running server.

    Raises:
        InstallationError: perf_analyzer cannot run here.
        ServiceError: the server does not answer.
    """
    find_binary()
    load = os.getloadavg()[0]
    photos = make_photos()
    say("looking at the photos in process")
    raw_bench = RawBench(ModelRepository(models), photos)
    turns, rounds, requests = (2, 1, 40) if quick else (4, 2, 100)
    raw = raw_bench.run(rounds)
    plan: list[tuple[Protocol, int]] = [("grpc", 1), ("http", 1)]
    if not quick:
        plan += [("grpc", 4), ("http", 4)]
    latencies: list[Latency] = []
    times: list[server.ModelTime] = []
    hits = 0
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        data = Path(folder) / "photos.json"
        write_perf_input(photos, data)
        server.stage_times(place.grpc, photos)  # warm
        for protocol, clients in plan:
            before = server.counters(place.http)
            url = place.grpc if protocol == "grpc" else place.http
            runs: list[Latency] = []
            for turn in range(turns if clients == 1 else 1):
                say(f"perf_analyzer: {protocol}, {clients} client{'s' * (clients > 1)}, run {turn + 1}")
                runs.append(measure(url, protocol, clients, data, requests))
                if clients == 1:
                    # In turns with the yardstick, so that other load on the machine hits both.
                    raw = raw.joined(raw_bench.run(rounds))
            latencies.append(middle(runs))
            part, cached = server.spent(before, server.counters(place.http))
            hits += cached
            times = times or part
    stages = server.stage_times(place.grpc, photos)
    return report.Run(latencies, raw, times, stages, place.memory(), hits, len(photos), load)


def main(arguments: list[str] | None = None) -> int:
    """The command. Exit status 1 where a must is missed (not with ``--report-only``), 2 where nothing was measured."""
    parser = argparse.ArgumentParser(prog="deepscan bench", description=__doc__)
    parser.add_argument("--url", help="host:port of a running server's gRPC (default: start one)")
    parser.add_argument("--http", help="host:port of its HTTP (default: one port below)")
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--quick", action="store_true", help="a fifth of the requests, one client only")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the result")
    parser.add_argument("--report-only", action="store_true", help="exit 0 also where a must is missed")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console()

    def say(line: str) -> None:
        console.print(f"  {line}", markup=False, highlight=False, style="dim")

    try:
        find_binary()
        with _server(options.url, options.http, options.models, say) as place:
            run = run_bench(place, options.models, options.quick, say)
    except (DeepScanError, ValueError, OSError) as error:
        message, remedy = (error.message, error.remedy) if isinstance(error, DeepScanError) else (str(error), "")
        console.print(f"{message}\n{remedy}".rstrip(), style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    found = report.checks(run, report.read_targets())
    report.show(console, run, found)
    if run.load_before > _BUSY:
        console.print(
            f"the machine was busy (load {run.load_before:.1f}): times and ratios are worse than on an idle one",
            style="yellow",
        )
    if run.cache_hits:
        console.print(f"{run.cache_hits} answers came from a cache: the numbers flatter", style="yellow")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        content = report.as_dict(run, found, datetime.now(UTC).isoformat(timespec="seconds"))
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        console.print(f"written: {options.json}", highlight=False, soft_wrap=True)
    missed = any(check.kind == "must" and not check.met for check in found)
    return int(missed and not options.report_only)


if __name__ == "__main__":
    sys.exit(main())
