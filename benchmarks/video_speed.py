"""What one clip takes, and where the time goes: ``python -m benchmarks.video_speed`` writes results/video_speed.json.

One clip of ten seconds, 720p at 25 frames a second, with one face and speech, goes through a warm server again and
again: five frames a second for the networks (``pictures``); the main face at every frame, body and lips, as well
(``analyzers``); and the sound the voice way beside both (``everything``), which is what the limits are about.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import server
from benchmarks.films import FPS, SIZE, write_film
from benchmarks.report import tell_failure, write_measured
from deepscan_client import DeepScanClient, DeepScanError, Verdict

TARGET = Path(__file__).resolve().parent / "results" / "video_speed.json"
SECONDS = 10.0
MUST_S, AIM_S = 10.0, 4.0
LIMITED = "everything"
Ask = Callable[[DeepScanClient, Path], Verdict]
ASKED: dict[str, Ask] = {
    "pictures": lambda client, path: client.detect_video(path),
    "analyzers": lambda client, path: client.detect_video(path, analyzers=True),
    "everything": lambda client, path: client.detect_multimodal(path, analyzers=True),
}


@dataclass(frozen=True)
class Timed:
    """One question, asked again and again.

    Attributes:
        wall_s: seconds at the client, median; wall_range_s: the shortest and the longest.
        stages_ms: milliseconds of each stage at the server, medians; ``client`` is what lies outside its total.
        frames: that the networks saw; evidence: names of what was measured.
    """

    asked: str
    wall_s: float
    wall_range_s: tuple[float, float]
    stages_ms: dict[str, float]
    frames: int
    label: str
    evidence: tuple[str, ...]


def measure(client: DeepScanClient, path: Path, name: str, repeats: int) -> Timed:
    """Ask one question, once to warm up and then ``repeats`` times.

    Raises:
        DeepScanError: the server did not judge the clip.
    """
    verdict = ASKED[name](client, path)
    walls: list[float] = []
    stages: list[dict[str, float]] = []
    for _ in range(repeats):
        start = time.perf_counter()
        verdict = ASKED[name](client, path)
        walls.append(time.perf_counter() - start)
        stages.append({**verdict.timing_ms, "client": 1000 * walls[-1] - verdict.timing_ms["total"]})
    return Timed(
        asked=name,
        wall_s=round(float(np.median(walls)), 3),
        wall_range_s=(round(min(walls), 3), round(max(walls), 3)),
        stages_ms={stage: round(float(np.median([row[stage] for row in stages])), 1) for stage in stages[0]},
        frames=verdict.tracks[0].frames if verdict.tracks else 0,
        label=str(verdict.label),
        evidence=tuple(row.name for row in verdict.evidence),
    )


def checks(runs: list[Timed]) -> list[dict[str, Any]]:
    """The whole verdict against its limits."""
    (whole,) = (run for run in runs if run.asked == LIMITED)
    return [
        {"asked": LIMITED, "kind": kind, "name": "wall_s", "limit": limit, "measured": whole.wall_s, "met": met}
        for kind, limit, met in (("must", MUST_S, whole.wall_s <= MUST_S), ("aim", AIM_S, whole.wall_s <= AIM_S))
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure and write. Exit status 1 where the must is missed, 2 where nothing was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.video_speed", description=__doc__)
    parser.add_argument("--url", help="host:port of a running server's gRPC (default: start one)")
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    console = Console()
    load = os.getloadavg()[0]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            write_film(path, SECONDS)
            size = path.stat().st_size
            with (
                server.place(options.url, None, options.models, console.print) as place,
                DeepScanClient(place.grpc) as client,
            ):
                runs = [measure(client, path, name, options.repeats) for name in ASKED]
    except (DeepScanError, ValueError, OSError) as error:
        tell_failure(console, error)
        return 2
    for run in runs:
        slowest = sorted(((ms, stage) for stage, ms in run.stages_ms.items() if stage != "total"), reverse=True)[:6]
        where = ", ".join(f"{stage} {ms:.0f}" for ms, stage in slowest)
        console.print(f"{run.asked}: {run.wall_s:.2f} s ({where} ms)", highlight=False)
    found = checks(runs)
    content = {
        "clip": {"seconds": SECONDS, "width": SIZE[0], "height": SIZE[1], "fps": FPS, "codec": "h264", "bytes": size},
        "repeats": options.repeats,
        "runs": [asdict(run) for run in runs],
        "checks": found,
    }
    write_measured(options.out, load, content)
    return int(any(check["kind"] == "must" and not check["met"] for check in found))


if __name__ == "__main__":
    sys.exit(main())
