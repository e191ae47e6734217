"""Runs the real perf_analyzer that the tritonclient wheel carries, and reads its report."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError


@dataclass(frozen=True)
class Load:
    """What perf_analyzer measured at one number of clients; times in milliseconds."""

    protocol: str
    clients: int
    per_second: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float


def analyzer() -> Path:
    """The perf_analyzer binary of this environment.

    Raises:
        InstallationError: it is missing, or a library that it needs is.
    """
    binary = Path(sys.prefix) / "bin" / "perf_analyzer"
    if not binary.is_file():
        raise InstallationError("perf_analyzer is not installed", code=ErrorCode.ENVIRONMENT, remedy="run: make setup")
    missing = _missing_libraries(binary)
    if missing:
        raise InstallationError(
            f"perf_analyzer needs {', '.join(missing)}",
            code=ErrorCode.ENVIRONMENT,
            remedy="apt-get install -y libb64-0d, and pip install -c constraints.txt -e '.[dev]' for the CUDA runtime",
        )
    return binary


def environment() -> dict[str, str]:
    """perf_analyzer links the CUDA runtime, which comes in a wheel of its own; no GPU is needed."""
    spec = importlib.util.find_spec("nvidia")
    folders = (
        [str(Path(place) / "cuda_runtime" / "lib") for place in (spec.submodule_search_locations or [])] if spec else []
    )
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": ":".join([*folders, *([inherited] if inherited else [])])}


def _missing_libraries(binary: Path) -> list[str]:
    listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, env=environment(), check=False).stdout
    return [line.split()[0] for line in listed.splitlines() if "not found" in line]


def run(model: str, url: str, protocol: str, clients: int, data: str, seconds: float) -> Load:
    """One measurement.

    Args:
        model: public model; url: ``host:port`` of the protocol; protocol: ``grpc`` or ``http``.
        clients: requests in flight.
        data: perf_analyzer's JSON input.
        seconds: length of a measurement window; up to eight windows are taken until they agree.

    Raises:
        InstallationError: perf_analyzer does not run.
    """
    with tempfile.TemporaryDirectory(prefix="deepscan-bench-") as folder:
        source, report = Path(folder) / "input.json", Path(folder) / "report.csv"
        source.write_text(data, encoding="utf-8")
        command = [
            str(analyzer()),
            *("-m", model, "-u", url, "-i", protocol, "-b", "1"),
            *("--input-data", str(source), "--concurrency-range", str(clients)),
            # Windows that differ by up to 100 % count as stable: on a shared machine only ratios hold.
            *("-p", str(int(seconds * 1000)), "-s", "100", "-r", "8", "-f", str(report)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=600, check=False)
        if not report.is_file():
            raise InstallationError(
                f"perf_analyzer failed: {(done.stdout + done.stderr)[-600:]}",
                code=ErrorCode.ENVIRONMENT,
                remedy="run: deepscan doctor",
            )
        with report.open(encoding="utf-8") as stream:
            row = next(iter(csv.DictReader(stream)))
    percentiles = [float(row[f"p{p} latency"]) / 1000 for p in (50, 90, 95, 99)]
    return Load(protocol, clients, float(row["Inferences/Second"]), *percentiles)
