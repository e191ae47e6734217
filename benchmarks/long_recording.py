"""An hour of speech through a server: ``python -m benchmarks.long_recording`` writes results/long_recording.json.

Measures how many times faster than real time the verdict comes, how often progress is told, and how the memory of the
whole server tree moves meanwhile: it is to stay flat, whatever the length.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from rich.console import Console

from benchmarks import server
from benchmarks.recordings import make_recordings, read_speech, speech_files
from benchmarks.report import tell_failure, write_measured
from deepscan_client import DeepScanClient, DeepScanError
from deepscan_client.verdict import Progress
from pipelines.audio.source import RATE, Samples

TARGET = Path(__file__).resolve().parent / "results" / "long_recording.json"
MUST_TIMES, AIM_TIMES, MUST_GROWTH_MB = 30.0, 60.0, 100.0
FORMATS = {"mp3": ("mp3", "libmp3lame", 64_000), "flac": ("flac", "flac", 0), "wav": ("wav", "pcm_s16le", 0)}
_BLOCK_S = 60.0


@dataclass(frozen=True)
class LongRun:
    """One recording: what it was, how long its verdict took, and what the server held."""

    format: str
    bytes: int
    seconds: float
    wall_s: float
    times_real_time: float
    progress: int
    """Messages of progress before the verdict."""
    first_progress_s: float
    label: str
    windows_s: float
    """Of the recording that was heard, as the last progress told."""
    before_mb: float
    """Proportional set size of the server tree, warm."""
    received_mb: float
    """At the first progress: the file is in the server now."""
    peak_mb: float
    after_mb: float

    @property
    def growth_mb(self) -> float:
        """How much the tree grew from the first progress to its peak."""
        return max(0.0, self.peak_mb - self.received_mb)


def long_file(seconds: float, kind: str, speech: Samples) -> bytes:
    """A file of speech that is repeated at changing levels.

    Args:
        kind: one of :data:`FORMATS`; speech: float32 [n] at 16 kHz.
    """
    container, codec, bit_rate = FORMATS[kind]
    buffer, rng = io.BytesIO(), np.random.default_rng(1)
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        if bit_rate:
            stream.bit_rate = bit_rate
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout="mono", rate=RATE)
        done, total, size = 0, int(seconds * RATE), int(_BLOCK_S * RATE)
        while done < total:
            block = np.resize(np.roll(speech, -int(rng.integers(len(speech)))), min(size, total - done))
            frame = av.AudioFrame.from_ndarray((block * np.float32(rng.uniform(0.4, 1.0)))[None], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, done, Fraction(1, RATE)
            for part in resampler.resample(frame):
                out.mux(stream.encode(part))
            done += len(block)
        for part in resampler.resample(None):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return buffer.getvalue()


@contextmanager
def watched(memory: Callable[[], int | None], pause: float) -> Iterator[list[tuple[float, float]]]:
    """Samples of the memory (moment, megabytes) while the block runs."""
    samples: list[tuple[float, float]] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(pause):
            held = memory()
            if held is not None:
                samples.append((time.monotonic(), held / 1e6))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def measure(
    client: DeepScanClient, data: bytes, kind: str, seconds: float, memory: Callable[[], int | None], pause: float = 1.0
) -> LongRun:
    """Send one file with progress and watch the server.

    Raises:
        DeepScanError: the server did not judge it.
    """
    heard: list[tuple[float, Progress]] = []
    before = (memory() or 0) / 1e6
    with watched(memory, pause) as samples:
        began = time.monotonic()
        verdict = client.detect_audio(data, on_progress=lambda told: heard.append((time.monotonic(), told)))
        wall = time.monotonic() - began
    first = heard[0][0] if heard else began
    behind = [held for moment, held in samples if moment >= first]
    return LongRun(
        format=kind,
        bytes=len(data),
        seconds=seconds,
        wall_s=wall,
        times_real_time=seconds / wall,
        progress=len(heard),
        first_progress_s=first - began,
        label=str(verdict.label),
        windows_s=heard[-1][1].seconds if heard else 0.0,
        before_mb=before,
        received_mb=behind[0] if behind else before,
        peak_mb=max(behind, default=before),
        after_mb=(memory() or 0) / 1e6,
    )


def checks(runs: list[LongRun], full: bool) -> list[dict[str, Any]]:
    """Limits on speed and memory; speed is checked for whole hours alone."""
    told: list[dict[str, Any]] = []
    for run in runs:
        rows: list[tuple[str, str, float, float, bool]] = [
            ("must", "growth_mb", MUST_GROWTH_MB, run.growth_mb, run.growth_mb <= MUST_GROWTH_MB)
        ]
        if full:
            rows += [
                (kind, "times_real_time", limit, run.times_real_time, run.times_real_time >= limit)
                for kind, limit in (("must", MUST_TIMES), ("aim", AIM_TIMES))
            ]
        told += [
            {"format": run.format, "kind": kind, "name": name, "limit": limit, "measured": round(found, 1), "met": met}
            for kind, name, limit, found, met in rows
        ]
    return told


def main(arguments: list[str] | None = None) -> int:
    """Measure and write. Exit status 1 where a must is missed, 2 where nothing was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_recording", description=__doc__)
    parser.add_argument("--url", help="host:port of a running server's gRPC (default: start one)")
    parser.add_argument("--http", help="host:port of its HTTP, for its memory (default: one port below)")
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--formats", nargs="+", choices=tuple(FORMATS), default=["mp3", "wav"])
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    console = Console()
    load = os.getloadavg()[0]
    try:
        speech = read_speech(speech_files(), 120.0)
        with server.place(options.url, options.http, options.models, console.print) as place:
            runs = []
            with DeepScanClient(place.grpc) as client:
                for clip in make_recordings(8):  # warm
                    client.detect_audio(clip)
                for kind in options.formats:
                    data = long_file(options.seconds, kind, speech)
                    console.print(f"{kind}: {len(data) / 1e6:.0f} MB", highlight=False)
                    runs.append(measure(client, data, kind, options.seconds, place.memory))
                    console.print(
                        f"  {runs[-1].wall_s:.0f} s, {runs[-1].times_real_time:.0f} times real time, "
                        f"{runs[-1].progress} messages, memory {runs[-1].received_mb:.0f} to {runs[-1].peak_mb:.0f} MB",
                        highlight=False,
                    )
    except (DeepScanError, ValueError, OSError) as error:
        tell_failure(console, error)
        return 2
    found = checks(runs, options.seconds >= 3600)
    content = {
        "runs": [
            {k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(run).items()}
            | {"growth_mb": round(run.growth_mb, 1)}
            for run in runs
        ],
        "checks": found,
    }
    write_measured(options.out, load, content)
    return int(any(check["kind"] == "must" and not check["met"] for check in found))


if __name__ == "__main__":
    sys.exit(main())
