"""``deepscan bench``: perf_analyzer against the latency targets, beside the raw networks in the same run."""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from tritonclient.grpc import InferenceServerClient

from benchmarks import machine, perf
from benchmarks.photos import make_photos, perf_analyzer_input
from benchmarks.raw import RawNetworks
from cards import ModelRepository
from deepscan_client import DeepScanClient
from serving.supervisor import Server, running_server

TARGETS = Path(__file__).with_name("targets.yaml")
MODEL = "deepfake_image"


def measure(server: Server, targets: dict[str, Any], quick: bool, report: Any) -> dict[str, Any]:
    """Measure one running server; everything that a table or a JSON file shows."""
    about = machine.describe()
    shape = targets["photos"]
    photos = make_photos(shape["count"], shape["width"], shape["height"])
    data = perf_analyzer_input(photos)
    raw = RawNetworks(server.repository, photos)
    rounds, seconds = (3, 2.0) if quick else (10, 5.0)
    report("raw networks")
    raw_times = [raw.measure(rounds)]
    stages = _stages(server.grpc_url, photos, rounds)
    before = _statistics(server.grpc_url)
    loads = []
    for protocol, url in (("grpc", server.grpc_url), ("http", server.http_url.removeprefix("http://"))):
        for clients in targets["clients"]:
            report(f"perf_analyzer: {protocol}, {clients} client{'s' if clients > 1 else ''}")
            loads.append(perf.run(MODEL, url, protocol, clients, data, seconds))
            if clients == 1:
                raw_times.append(raw.measure(rounds))
    after = _statistics(server.grpc_url)
    floor = {name: statistics.median(t[name] for t in raw_times) for name in raw_times[0]}
    return {
        "model": MODEL,
        "machine": about,
        "photos": {**shape, "mean_bytes": round(statistics.mean(map(len, photos)))},
        "raw_ms": {name: round(value, 2) for name, value in floor.items()},
        "loads": [asdict(load) for load in loads],
        "stages_ms": stages,
        "models_ms": _difference(before, after),
        "memory_mb": round(server.memory() / 1e6),
        "targets": targets,
    }


def judge(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Each must and aim with its figure, for one gRPC client."""
    one = next(load for load in result["loads"] if load["protocol"] == "grpc" and load["clients"] == 1)
    figures = {
        "p50_ms": one["p50_ms"],
        "ratio": one["p50_ms"] / result["raw_ms"]["sum"],
        "memory_mb": result["memory_mb"],
    }
    return [
        {
            "kind": kind,
            "figure": name,
            "limit": limit,
            "measured": round(figures[name], 2),
            "met": figures[name] < limit,
        }
        for kind in ("must", "aim")
        for name, limit in result["targets"][kind].items()
    ]


def _stages(url: str, photos: list[bytes], rounds: int) -> dict[str, float]:
    """Median of the verdict's own times by stage."""
    with DeepScanClient(url) as client:
        times = [client.detect_image(photo).timing_ms for _ in range(rounds) for photo in photos]
    return {name: round(statistics.median(t[name] for t in times), 2) for name in times[0]}


def _statistics(url: str) -> dict[str, tuple[int, dict[str, int]]]:
    """Requests and nanoseconds by model, from Triton's own counters."""
    with InferenceServerClient(url) as client:
        answer = client.get_inference_statistics(as_json=True)
    found = {}
    for model in answer["model_stats"]:
        stats = model.get("inference_stats", {})
        parts = {part: int(stats.get(part, {}).get("ns", 0)) for part in _PARTS}
        found[model["name"]] = (int(stats.get("success", {}).get("count", 0)), parts)
    return found


_PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


def _difference(
    before: dict[str, tuple[int, dict[str, int]]], after: dict[str, tuple[int, dict[str, int]]]
) -> dict[str, dict[str, float]]:
    """Mean milliseconds of a request by model and part, between two readings."""
    rows = {}
    for name, (count, parts) in after.items():
        earlier, old = before.get(name, (0, dict.fromkeys(_PARTS, 0)))
        requests = count - earlier
        if requests:
            rows[name] = {part: round((parts[part] - old[part]) / requests / 1e6, 3) for part in _PARTS}
    return rows


def show(result: dict[str, Any], console: Console) -> None:
    """The result as tables for a person."""
    table = Table(title=f"{MODEL}: {result['photos']['count']} photos of {result['photos']['width']} px")
    for column in ("protocol", "clients", "requests/s", "p50 ms", "p90 ms", "p99 ms", "x raw"):
        table.add_column(column, justify="right")
    for load in result["loads"]:
        ratio = load["p50_ms"] / result["raw_ms"]["sum"]
        row = [f"{load[key]:.1f}" for key in ("per_second", "p50_ms", "p90_ms", "p99_ms")]
        table.add_row(load["protocol"], str(load["clients"]), *row, f"{ratio:.2f}")
    console.print(table)
    console.print(f"raw ONNX Runtime, ms: {result['raw_ms']}")
    console.print(f"where a request spends its time, ms: {result['stages_ms']}")
    console.print(f"server tree: {result['memory_mb']} MB")
    for line in result["judgement"]:
        mark = "[green]met[/]" if line["met"] else "[red]not met[/]"
        console.print(f"{line['kind']} {line['figure']} < {line['limit']}: {line['measured']} {mark}")


def summary(result: dict[str, Any]) -> str:
    """One line for the README."""
    one = next(load for load in result["loads"] if load["protocol"] == "grpc" and load["clients"] == 1)
    shape, about = result["photos"], result["machine"]
    return (
        f"Latency of `{MODEL}` over gRPC, one client, {shape['count']} different photos of {shape['width']} x "
        f"{shape['height']} with one face, warm, no cache, on {about['cores']} cores of an {about['processor']}, no "
        f"GPU: p50 {one['p50_ms']:.1f} ms, {one['p50_ms'] / result['raw_ms']['sum']:.2f} times the same networks in "
        f"raw ONNX Runtime in the same run; {one['per_second']:.0f} requests a second; server tree "
        f"{result['memory_mb']:,} MB. Other machines give other times; the ratio holds."
    )


def main(arguments: list[str] | None = None) -> int:
    """Start a server, measure, print, write JSON; exit 1 where a must is not met."""
    parser = argparse.ArgumentParser(prog="deepscan bench", description=__doc__)
    parser.add_argument("--models", help="model repository; the shipped one by default")
    parser.add_argument("--quick", action="store_true", help="short windows, for a first look")
    parser.add_argument("--json", type=Path, help="write the result there")
    options = parser.parse_args(arguments)
    targets = yaml.safe_load(TARGETS.read_text(encoding="utf-8"))[MODEL]
    console = Console(stderr=True)
    perf.analyzer()
    ModelRepository(options.models)
    with (
        console.status("starting") as status,
        running_server(options.models, report=status.update, watch=False) as server,
    ):
        result = measure(server, targets, options.quick, status.update)
    result["judgement"] = judge(result)
    result["summary"] = summary(result)
    show(result, Console())
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(any(line["kind"] == "must" and not line["met"] for line in result["judgement"]))


if __name__ == "__main__":
    raise SystemExit(main())
