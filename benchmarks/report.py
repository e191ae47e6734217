"""Targets, the table on the screen and the result file of a latency run."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import yaml
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from benchmarks.perf import Latency, Protocol
from benchmarks.raw import Raw, median
from benchmarks.server import ModelTime, as_json
from benchmarks.subjects import IMAGE, Subject
from deepscan_client import DeepScanError

TARGETS = Path(__file__).with_name("targets.yaml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LatencyTarget(_Strict):
    """Limits on the public model."""

    what: str
    protocol: Protocol
    clients: int
    must: dict[str, float]
    aim: dict[str, float]


class ServerTarget(_Strict):
    """Limits on the server tree."""

    what: str
    must: dict[str, float]


class Targets(_Strict):
    """``targets.yaml``."""

    deepfake_image: LatencyTarget
    deepfake_audio: LatencyTarget
    server: ServerTarget


def read_targets(path: Path = TARGETS) -> Targets:
    """The targets.

    Raises:
        pydantic.ValidationError: a key is missing or unknown.
    """
    return Targets.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Check:
    """One limit and what was measured."""

    kind: str
    """``must`` or ``aim``."""
    name: str
    limit: float
    measured: float

    @property
    def met(self) -> bool:
        """Below the limit."""
        return self.measured < self.limit


@dataclass(frozen=True)
class Run:
    """Everything that one run measured."""

    latencies: Sequence[Latency]
    raw: Raw
    models: Sequence[ModelTime]
    stages: Mapping[str, float]
    memory_bytes: int | None
    cache_hits: int
    items: int
    load_before: float
    subject: Subject = IMAGE


def checks(run: Run, targets: Targets) -> list[Check]:
    """Every limit that this run can speak to."""
    target: LatencyTarget = getattr(targets, run.subject.model)
    raw = median(run.raw.sums_ms)
    found: list[Check] = []
    for latency in run.latencies:
        if (latency.protocol, latency.clients) == (target.protocol, target.clients):
            measured = {"p50_ms": latency.p50_ms, "ratio_to_raw": latency.p50_ms / raw}
            for kind, limits in (("must", target.must), ("aim", target.aim)):
                found += [Check(kind, name, limit, measured[name]) for name, limit in limits.items()]
    if run.memory_bytes is not None:
        found.append(Check("must", "memory_gb", targets.server.must["memory_gb"], run.memory_bytes / 1e9))
    return found


def machine() -> dict[str, Any]:
    """What the numbers were measured on; no host name and no path."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpu_lines() if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("nvidia-pytriton", "onnxruntime", "opencv-python-headless")},
    }


def tell_failure(console: Console, error: Exception, soft_wrap: bool = False) -> None:
    """Say why nothing was measured, with the remedy where the error knows one."""
    message, remedy = (error.message, error.remedy) if isinstance(error, DeepScanError) else (str(error), "")
    console.print(f"{message}\n{remedy}".rstrip(), style="red", markup=False, highlight=False, soft_wrap=soft_wrap)


def write_measured(out: Path, load: float, content: Mapping[str, Any]) -> None:
    """Write a result file: when, on what machine, at what load before the run, and what was measured."""
    told = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "load_before": round(load, 2),
        **content,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def as_dict(run: Run, found: Sequence[Check], created: str) -> dict[str, Any]:
    """The result file."""
    raw = median(run.raw.sums_ms)
    return {
        "summary": summary(run, found),
        "created": created,
        "machine": machine(),
        "load_before": round(run.load_before, 2),
        f"{run.subject.item}s": run.items,
        "cache_hits": run.cache_hits,
        "latency": [
            {k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(latency).items()}
            | {"ratio_to_raw": round(latency.p50_ms / raw, 3)}
            for latency in run.latencies
        ],
        "raw_onnx_runtime": {
            "networks_ms": {name: round(median(times), 2) for name, times in run.raw.networks_ms.items()},
            "sum_ms": round(raw, 2),
            "whole_chain_in_one_process_ms": round(median(run.raw.whole_ms), 2),
            "samples": len(run.raw.sums_ms),
        },
        "models": as_json(run.models),
        "stages_ms": {name: round(value, 2) for name, value in run.stages.items()},
        "server_memory_mb": None if run.memory_bytes is None else round(run.memory_bytes / 1e6),
        "checks": [
            {"kind": c.kind, "name": c.name, "limit": c.limit, "measured": round(c.measured, 3), "met": c.met}
            for c in found
        ],
    }


def summary(run: Run, found: Sequence[Check]) -> str:
    """One sentence for the README, made of numbers of this run."""
    by_name = {check.name: check for check in found if check.kind == "must"}
    if "p50_ms" not in by_name:
        return ""
    p50 = by_name["p50_ms"].measured
    ratio = p50 / median(run.raw.sums_ms)
    text = (
        f"{run.subject.one} takes {p50:.0f} ms over gRPC (median, one client, {run.items} different "
        f"{run.subject.item}s, no cache), {ratio:.2f} times the sum of the same networks in plain ONNX Runtime on "
        f"one thread ({median(run.raw.sums_ms):.0f} ms), measured by perf_analyzer in the same run"
    )
    if run.memory_bytes is not None:
        text += f"; the whole server tree holds {run.memory_bytes / 1e9:.2f} GB"
    return text + "."


def show(console: Console, run: Run, found: Sequence[Check]) -> None:
    """Print the tables."""
    raw = median(run.raw.sums_ms)
    table = Table(title=f"{run.subject.model}, as a client of perf_analyzer sees it")
    for heading in ("protocol", "clients", "p50 ms", "p90 ms", "p99 ms", f"{run.subject.item}s/s", "times raw"):
        table.add_column(heading, justify="right")
    for one in run.latencies:
        numbers = (one.p50_ms, one.p90_ms, one.p99_ms, one.requests_per_second)
        cells = [one.protocol, str(one.clients), *(f"{n:.1f}" for n in numbers), f"{one.p50_ms / raw:.2f}"]
        table.add_row(*cells)
    console.print(table)
    names = " + ".join(f"{name} {median(times):.1f}" for name, times in run.raw.networks_ms.items())
    item = run.subject.item
    console.print(f"raw ONNX Runtime, one thread, CPU time: {names} = {raw:.1f} ms a {item}", highlight=False)
    whole = median(run.raw.whole_ms)
    console.print(f"whole chain in one process, CPU time: {whole:.1f} ms a {item}", highlight=False)
    table = Table(title="Where the time goes, ms a request (Triton's statistics, gRPC, one client)")
    for heading in ("model", "calls", "queue", "input", "infer", "output", "total"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in run.models:
        parts = (row.calls, row.queue_ms, row.input_ms, row.infer_ms, row.output_ms, row.total_ms)
        table.add_row(row.model, *(f"{part:.2f}" for part in parts))
    console.print(table)
    stages = ", ".join(f"{name} {value:.1f}" for name, value in run.stages.items())
    console.print(f"stages of the verdict, ms: {stages}", highlight=False)
    if run.memory_bytes is not None:
        console.print(f"server tree: {run.memory_bytes / 1e6:,.0f} MB (proportional set size)", highlight=False)
    for check in found:
        colour = "green" if check.met else "red" if check.kind == "must" else "yellow"
        word = "met" if check.met else "missed"
        line = f"{check.kind} {check.name} < {check.limit:g}: {check.measured:.3g}, [{colour}]{word}[/]"
        console.print(line, highlight=False)
