"""How soon work ends when its caller leaves: ``python -m benchmarks.cancellation`` writes results/cancellation.json.

Half a minute of video at 720p goes to a server of our own and is given up while the work stands at different places.
Freed is the work when the file that it reads is gone: then its worker takes the next video.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.films import write_film
from benchmarks.report import tell_failure, write_measured
from deepscan_client import Cancellation, CancelledError, DeepScanClient, DeepScanError, Medium, Progress
from serving.supervisor import running_server

TARGET = Path(__file__).resolve().parent / "results" / "cancellation.json"
MUST_S = 1.0
SECONDS = 30.0
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Case:
    """Where the work stands when its caller leaves.

    Attributes:
        seen: share of the video after whose progress the caller leaves; None: without any progress.
        wait_s: seconds from that progress, or from the begin.
    """

    name: str
    medium: Medium = Medium.VIDEO
    options: dict[str, Any] = field(default_factory=dict)
    seen: float | None = None
    wait_s: float = 0.0


CASES = (
    Case("among the frames", seen=0.1),
    Case("between two frames that lie far apart", options={"num_frames": 2}, wait_s=0.4),
    Case("in the look at the main face", options={"fps": 2, "analyzers": True}, seen=1.0, wait_s=0.3),
    Case("among the frames, with sound", medium=Medium.MULTIMODAL, seen=0.1),
    Case("while lips are read", medium=Medium.MULTIMODAL, options={"fps": 2}, seen=1.0, wait_s=0.3),
)


@dataclass(frozen=True)
class Row:
    """Seconds from the cancellation, of each repeat: until the file was gone, and until the client's call ended."""

    case: str
    freed_s: tuple[float, ...]
    call_s: tuple[float, ...]


def leave(client: DeepScanClient, spool: Path, path: Path, case: Case) -> tuple[float, float]:
    """Ask, leave, and wait until the work is freed: ``freed_s`` and ``call_s`` of :class:`Row`.

    Raises:
        DeepScanError: the server did not take the video.
        ValueError: the work was done before its caller left, or did not end.
    """
    cancellation = Cancellation()
    left: list[float] = []

    def cancel() -> None:
        left.append(time.monotonic())
        cancellation.cancel()

    timer = threading.Timer(case.wait_s, cancel)

    def told(progress: Progress) -> None:
        if case.seen is not None and (progress.share or 0.0) >= case.seen and not timer.is_alive() and not left:
            timer.start()

    ask = client.detect_video if case.medium is Medium.VIDEO else client.detect_multimodal
    if case.seen is None:
        timer.start()
    try:
        ask(path, on_progress=told, cancellation=cancellation, **case.options)
    except CancelledError:
        ended = time.monotonic()
    else:
        timer.cancel()
        raise ValueError(f"{case.name}: the verdict came before its caller left")
    while any(spool.iterdir()):
        if time.monotonic() - left[0] > _PATIENCE_S:
            raise ValueError(f"{case.name}: the work went on for {_PATIENCE_S:.0f} s")
        time.sleep(0.002)
    return time.monotonic() - left[0], ended - left[0]


def checks(rows: list[Row]) -> list[dict[str, Any]]:
    """The longest of each case against the limit."""
    return [
        {
            "case": row.case,
            "kind": "must",
            "name": "freed_s",
            "limit": MUST_S,
            "measured": round(max(row.freed_s), 3),
            "met": max(row.freed_s) <= MUST_S,
        }
        for row in rows
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure and write. Exit status 1 where a must is missed, 2 where nothing was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cancellation", description=__doc__)
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    console = Console()
    load = os.getloadavg()[0]
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "film.mp4"
            write_film(path, SECONDS, keys=100_000)
            media = (Medium.VIDEO, Medium.MULTIMODAL)
            with (
                running_server(options.models, report=console.print, watch=False, media=media) as server,
                DeepScanClient(server.grpc_url) as client,
            ):
                spool = server.folder / "uploads"
                client.detect_video(path, num_frames=8)  # warm
                for case in CASES:
                    measured = [leave(client, spool, path, case) for _ in range(options.repeats)]
                    freed, ended = (tuple(round(value, 3) for value in column) for column in zip(*measured))
                    rows.append(Row(case.name, freed, ended))
                    console.print(f"{case.name}: {max(freed):.2f} s at most", highlight=False)
    except (DeepScanError, ValueError, OSError) as error:
        tell_failure(console, error)
        return 2
    found = checks(rows)
    content = {
        "video": {"seconds": SECONDS, "width": 1280, "height": 720, "fps": 25, "key_frames": 1},
        "rows": [asdict(row) for row in rows],
        "checks": found,
    }
    write_measured(options.out, load, content)
    return int(any(not check["met"] for check in found))


if __name__ == "__main__":
    sys.exit(main())
