"""An hour of video through a server: ``python -m benchmarks.long_video`` writes results/long_video.json.

The memory of the whole server tree is watched: it is to stay flat, whatever the length. The frames that are judged are
to lie evenly over the hour, by time. The hour is one clip of our own again and again, in a temporary file.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import server
from benchmarks.films import write_film, write_loop
from benchmarks.long_recording import MUST_GROWTH_MB, watched
from benchmarks.report import tell_failure, write_measured
from cards.limits import MAX_JUDGED_FRAMES
from deepscan_client import DeepScanClient, DeepScanError
from deepscan_client.verdict import Progress, Verdict

TARGET = Path(__file__).resolve().parent / "results" / "long_video.json"
HOUR_S, CLIP_S = 3600.0, 10.0
_WARMING = 4
MUST_UNEVEN = 0.05
"""How far a frame may lie from its place in the even row, in steps of the row."""


@dataclass(frozen=True)
class LongRun:
    """One way to ask about the video.

    Attributes:
        frames: that were judged; uneven: see :data:`MUST_UNEVEN`; first_s, last_s: seconds of the first and the last.
        progress: messages before the verdict; first_progress_s: seconds until the first.
        before_mb: proportional set size of the server tree, warm; received_mb: at the first progress; peak_mb: from
            then on; after_mb: with the verdict.
    """

    asked: str
    seconds: float
    bytes: int
    wall_s: float
    times_real_time: float
    frames: int
    uneven: float
    first_s: float
    last_s: float
    progress: int
    first_progress_s: float
    label: str
    reasons: tuple[str, ...]
    before_mb: float
    received_mb: float
    peak_mb: float
    after_mb: float

    @property
    def growth_mb(self) -> float:
        """How much the tree grew from the first progress to its peak: with the length, if it does."""
        return max(0.0, self.peak_mb - self.received_mb)


def places(verdict: Verdict) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds of the frames in which the face was judged that was judged most often, rising."""
    most = max(verdict.tracks, key=lambda track: track.frames, default=None)
    return np.array([] if most is None else [box.time for box in most.boxes], dtype=np.float64)


def unevenness(times: np.ndarray[Any, np.dtype[np.float64]], seconds: float, count: int) -> float:
    """Greatest distance of the frames from the middles of ``count`` equal parts of the time, in parts."""
    if not len(times):
        return float("inf")
    parts = times * count / seconds - 0.5
    return float(np.abs(parts - np.round(parts)).max())


def measure(
    ask: Callable[..., Verdict], name: str, path: Path, seconds: float, memory: Callable[[], int | None]
) -> LongRun:
    """Send the video with progress and watch the server.

    Raises:
        DeepScanError: the server did not judge it.
    """
    told: list[tuple[float, Progress]] = []
    before = (memory() or 0) / 1e6
    with watched(memory, 0.5) as samples:
        began = time.monotonic()
        verdict = ask(path, on_progress=lambda progress: told.append((time.monotonic(), progress)))
        wall = time.monotonic() - began
    first = told[0][0] if told else began
    behind = [held for moment, held in samples if moment >= first]
    times = places(verdict)
    return LongRun(
        asked=name,
        seconds=seconds,
        bytes=path.stat().st_size,
        wall_s=round(wall, 2),
        times_real_time=round(seconds / wall, 1),
        frames=len(times),
        uneven=round(unevenness(times, seconds, min(MAX_JUDGED_FRAMES, round(5 * seconds))), 4),
        first_s=round(float(times[0]), 2) if len(times) else 0.0,
        last_s=round(float(times[-1]), 2) if len(times) else 0.0,
        progress=len(told),
        first_progress_s=round(first - began, 2),
        label=str(verdict.label),
        reasons=tuple(str(reason) for reason in verdict.reasons),
        before_mb=round(before, 1),
        received_mb=round(behind[0] if behind else before, 1),
        peak_mb=round(max(behind, default=before), 1),
        after_mb=round((memory() or 0) / 1e6, 1),
    )


def checks(runs: list[LongRun]) -> list[dict[str, Any]]:
    """Flat memory and even frames. Where the sound is judged as well its file is in memory, which is allowed for."""
    found: list[dict[str, Any]] = []
    for run in runs:
        allowed = MUST_GROWTH_MB + (2 * run.bytes / 1e6 if run.asked == "with sound" else 0.0)
        rows = (("growth_mb", allowed, run.growth_mb), ("uneven", MUST_UNEVEN, run.uneven))
        found += [
            {"asked": run.asked, "kind": "must", "name": name, "limit": round(limit, 3), "measured": round(value, 3)}
            | {"met": value <= limit}
            for name, limit, value in rows
        ]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and write. Exit status 1 where a must is missed, 2 where nothing was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_video", description=__doc__)
    parser.add_argument("--url", help="host:port of a running server's gRPC (default: start one)")
    parser.add_argument("--http", help="host:port of its HTTP, for its memory (default: one port below)")
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--seconds", type=float, default=HOUR_S, help=f"a multiple of {CLIP_S:.0f}")
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    console = Console()
    load = os.getloadavg()[0]
    runs: list[LongRun] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            clip, path = Path(folder) / "clip.mp4", Path(folder) / "hour.mp4"
            write_film(clip, CLIP_S)
            write_loop(clip, path, options.seconds)
            with (
                server.place(options.url, options.http, options.models, console.print) as place,
                DeepScanClient(place.grpc) as client,
            ):
                for name, ask in (("pictures", client.detect_video), ("with sound", client.detect_multimodal)):
                    with ThreadPoolExecutor(_WARMING) as pool:  # every instance, so that what grows grows with the hour
                        list(pool.map(ask, [clip] * _WARMING))
                    runs.append(measure(ask, name, path, options.seconds, place.memory))
                    console.print(
                        f"{name}: {runs[-1].wall_s:.0f} s, {runs[-1].frames} frames, {runs[-1].progress} messages, "
                        f"memory {runs[-1].before_mb:.0f} to {runs[-1].peak_mb:.0f} MB",
                        highlight=False,
                    )
    except (DeepScanError, ValueError, OSError) as error:
        tell_failure(console, error)
        return 2
    found = checks(runs)
    content = {
        "runs": [asdict(run) | {"growth_mb": round(run.growth_mb, 1)} for run in runs],
        "checks": found,
    }
    write_measured(options.out, load, content)
    return int(any(not check["met"] for check in found))


if __name__ == "__main__":
    sys.exit(main())
