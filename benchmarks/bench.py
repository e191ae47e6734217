"""Measures the latency of photos and recordings with the real perf_analyzer, against benchmarks/targets.yaml.

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
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks import report, server
from benchmarks.inputs import write_perf_input
from benchmarks.perf import Latency, Protocol, find_binary, measure, middle
from benchmarks.raw import RawBench
from benchmarks.subjects import IMAGE, SUBJECTS, Subject
from cards.repository import ModelRepository
from deepscan_client.errors import DeepScanError

_BUSY = 0.5
"""Load above which the numbers deserve a warning."""


def run_bench(
    place: server.Place, models: Path | None, quick: bool, say: Callable[[str], None], subject: Subject = IMAGE
) -> report.Run:
    """Measure a running server.

    Raises:
        InstallationError: perf_analyzer cannot run here.
        ServiceError: the server does not answer.
    """
    find_binary()
    load = os.getloadavg()[0]
    items = subject.make()
    say(f"judging the {subject.item}s in process")
    raw_bench = RawBench(ModelRepository(models), items, subject)
    turns, rounds, requests = (2, 1, 40) if quick else (4, 2, 100)
    raw = raw_bench.run(rounds)
    plan: list[tuple[Protocol, int]] = [("grpc", 1), ("http", 1)]
    if not quick:
        plan += [("grpc", 4), ("http", 4)]
    latencies: list[Latency] = []
    times: list[server.ModelTime] = []
    hits = 0
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        data = Path(folder) / "items.json"
        write_perf_input(items, data, subject.tensor)
        server.stage_times(place.grpc, items, subject.ask)  # warm
        for protocol, clients in plan:
            before = server.counters(place.http)
            url = place.grpc if protocol == "grpc" else place.http
            runs: list[Latency] = []
            for turn in range(turns if clients == 1 else 1):
                say(f"perf_analyzer: {protocol}, {clients} client{'s' * (clients > 1)}, run {turn + 1}")
                runs.append(measure(url, protocol, clients, data, requests, model=subject.model))
                if clients == 1:
                    # In turns with the yardstick, so that other load on the machine hits both.
                    raw = raw.joined(raw_bench.run(rounds))
            latencies.append(middle(runs))
            part, cached = server.spent(before, server.counters(place.http), subject.model)
            hits += cached
            times = times or part
    stages = server.stage_times(place.grpc, items, subject.ask)
    return report.Run(latencies, raw, times, stages, place.memory(), hits, len(items), load, subject)


def main(arguments: list[str] | None = None) -> int:
    """The command. Exit status 1 where a must is missed (not with ``--report-only``), 2 where nothing was measured."""
    parser = argparse.ArgumentParser(prog="deepscan bench", description=__doc__)
    parser.add_argument("--url", help="host:port of a running server's gRPC (default: start one)")
    parser.add_argument("--http", help="host:port of its HTTP (default: one port below)")
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--quick", action="store_true", help="a fifth of the requests, one client only")
    parser.add_argument("--medium", nargs="+", choices=tuple(SUBJECTS), default=list(SUBJECTS), help="what to measure")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the result; that of recordings to OUT_audio")
    parser.add_argument("--report-only", action="store_true", help="exit 0 also where a must is missed")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console()

    def say(line: str) -> None:
        console.print(f"  {line}", markup=False, highlight=False, style="dim")

    try:
        find_binary()
        with server.place(options.url, options.http, options.models, say) as place:
            runs = {
                name: run_bench(place, options.models, options.quick, say, SUBJECTS[name]) for name in options.medium
            }
    except (DeepScanError, ValueError, OSError) as error:
        report.tell_failure(console, error, soft_wrap=True)
        return 2
    missed = [name for name, run in runs.items() if not _tell(console, name, run, options.json)]
    return int(bool(missed) and not options.report_only)


def _tell(console: Console, name: str, run: report.Run, out: Path | None) -> bool:
    """Show and write one run; whether every must is met."""
    found = report.checks(run, report.read_targets())
    report.show(console, run, found)
    if run.load_before > _BUSY:
        console.print(
            f"the machine was busy (load {run.load_before:.1f}): times and ratios are worse than on an idle one",
            style="yellow",
        )
    if run.cache_hits:
        console.print(f"{run.cache_hits} answers came from a cache: the numbers flatter", style="yellow")
    if out is not None:
        path = out if name == "image" else out.with_stem(f"{out.stem}_{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        content = report.as_dict(run, found, datetime.now(UTC).isoformat(timespec="seconds"))
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    return all(check.met for check in found if check.kind == "must")


if __name__ == "__main__":
    sys.exit(main())
