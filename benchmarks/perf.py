"""Runs the real perf_analyzer, the binary that the tritonclient wheel carries, and reads its report."""

from __future__ import annotations

import csv
import ctypes
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError, ServiceError

Protocol = Literal["grpc", "http"]


@dataclass(frozen=True)
class Latency:
    """One line of perf_analyzer: what a client sees."""

    protocol: Protocol
    clients: int
    requests_per_second: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float


def find_binary() -> tuple[Path, dict[str, str]]:
    """perf_analyzer and the environment it needs.

    It is linked against libb64 (a Debian package) and the CUDA run time (a wheel of 4 MB; no GPU is used).

    Raises:
        InstallationError: something is missing; the remedy is the line that mends it.
    """
    beside = Path(sys.executable).with_name("perf_analyzer")
    found = str(beside) if beside.is_file() else shutil.which("perf_analyzer")
    if found is None:
        raise _missing("perf_analyzer, which the wheel of tritonclient carries", "pip install -e '.[dev]'")
    try:
        ctypes.CDLL("libb64.so.0d")
    except OSError:
        raise _missing("libb64, which perf_analyzer needs", "apt-get install -y libb64-0d") from None
    spec = importlib.util.find_spec("nvidia.cuda_runtime") if importlib.util.find_spec("nvidia") else None
    folders = [str(Path(place) / "lib") for place in (spec.submodule_search_locations or [])] if spec else []
    if not folders:
        try:
            ctypes.CDLL("libcudart.so.12")
        except OSError:
            raise _missing("libcudart.so.12, which perf_analyzer needs", "pip install -e '.[dev]'") from None
    path = os.pathsep.join([*folders, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    return Path(found), {**os.environ, "LD_LIBRARY_PATH": path}


def _missing(what: str, remedy: str) -> InstallationError:
    return InstallationError(f"{what}, is missing", code=ErrorCode.ENVIRONMENT, remedy=remedy)


def measure(
    url: str,
    protocol: Protocol,
    clients: int,
    data: Path,
    requests: int,
    windows: int = 3,
    model: str = "deepfake_image",
) -> Latency:
    """Measure a public model with a fixed number of clients that each wait for their answer.

    Args:
        url: ``host:port`` of the protocol.
        data: what :func:`benchmarks.inputs.write_perf_input` wrote.
        requests: in each window; ``windows``: of them the report is made.

    Raises:
        InstallationError: perf_analyzer cannot run.
        ServiceError: it ended with an error; its last lines are the message.
    """
    binary, environment = find_binary()
    with tempfile.TemporaryDirectory(prefix="perf-") as folder:
        report = Path(folder) / "report.csv"
        command = [
            str(binary),
            *("-m", model, "-u", url, "-i", protocol),
            *("--input-data", str(data), "--concurrency-range", str(clients)),
            *("--measurement-mode", "count_windows", "--measurement-request-count", str(requests)),
            # perf_analyzer reports nothing where windows differ by more than -s percent, as they do on a busy machine.
            *("-s", "999", "-r", str(windows), "--percentile", "50", "-f", str(report)),
        ]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=600, check=False
        )
        if not report.is_file():
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise ServiceError("perf_analyzer failed: " + " / ".join(lines[-4:])[:600], remedy="is the server ready?")
        return read_report(report.read_text(encoding="utf-8"), protocol)


def middle(runs: Sequence[Latency]) -> Latency:
    """One line for several runs of one kind: the median of each number.

    Raises:
        ValueError: there is no run.
    """
    if not runs:
        raise ValueError("no run to summarise")

    def of(name: str) -> float:
        return statistics.median(float(getattr(run, name)) for run in runs)

    return replace(
        runs[0],
        requests_per_second=of("requests_per_second"),
        p50_ms=of("p50_ms"),
        p90_ms=of("p90_ms"),
        p95_ms=of("p95_ms"),
        p99_ms=of("p99_ms"),
    )


def read_report(text: str, protocol: Protocol) -> Latency:
    """The first line of a report in CSV; its times are microseconds.

    Raises:
        ServiceError: it has no line.
    """
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not rows[0].get("p50 latency"):
        raise ServiceError("perf_analyzer wrote an empty report", remedy="is the server ready?")
    row = rows[0]
    p50, p90, p95, p99 = (float(row[f"p{share} latency"]) / 1e3 for share in (50, 90, 95, 99))
    return Latency(protocol, int(row["Concurrency"]), float(row["Inferences/Second"]), p50, p90, p95, p99)
