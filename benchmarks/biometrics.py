"""What the biometrics of a video cost: ``python -m benchmarks.biometrics`` writes results/biometrics.json.

One clip of ten seconds, 720p at 25 frames a second, H.264, in which the sample portrait sways. Its main face is
followed through every frame; decoding alone is measured beside it. On a busy machine CPU seconds are inflated, and wall
seconds say nothing.

With ``--clips FOLDER`` (such as ``train/videos/real``) it prints what is read from the clips under it instead: number,
5th, 50th and 95th percentile of each reading, and its median confidence.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.films import FPS, SIZE, write_film
from benchmarks.report import machine
from cards.repository import ModelRepository
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video.analyze import VideoAnalyzer
from pipelines.video.body import with_biometrics
from pipelines.video.sampling import open_source

TARGET = Path(__file__).resolve().parent / "results" / "biometrics.json"
SECONDS = 10
BUDGET_S = 2.0
"""Wall seconds on two idle cores that were asked for."""


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of this process, all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(repeats: int) -> dict[str, Any]:
    """The result file."""
    repository = ModelRepository()
    infer = OnnxInfer(repository)
    analyzer = VideoAnalyzer(repository, infer, networks=("face_detector", "frame_cnn"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_film(path, SECONDS, sound=False)
        evidence = analyzer.evidence(path, Options())
        with_biometrics(evidence, path, infer)  # loads the networks

        def decode() -> None:
            for held in open_source(path).held():
                held.pixels()

        whole = [timed(lambda: with_biometrics(evidence, path, infer)) for _ in range(repeats)]
        alone = [timed(decode) for _ in range(repeats)]
        rows = with_biometrics(evidence, path, infer).more["biometrics"]
    infer.close()
    wall, cpu = np.median(whole, axis=0).tolist()
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "load_average": round(os.getloadavg()[0], 1),
        "clip": {"seconds": SECONDS, "width": SIZE[0], "height": SIZE[1], "fps": FPS, "codec": "h264"},
        "repeats": repeats,
        "budget_s": BUDGET_S,
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "cpu_ms_a_frame": round(1000 * cpu / (FPS * SECONDS), 1),
        "decoding_cpu_s": round(float(np.median(alone, axis=0)[1]), 2),
        "evidence": [row.name for row in rows],
    }


def readings(folder: Path, most: int) -> dict[str, list[tuple[float, float]]]:
    """Score and confidence of each reading, in up to ``most`` clips that are spread evenly over a folder.

    Raises:
        ValueError: there is no clip.
    """
    clips = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in (".mp4", ".mov", ".mkv", ".webm", ".avi")
    )
    if not clips:
        raise ValueError(f"no video under {folder}")
    repository = ModelRepository()
    infer = OnnxInfer(repository, threads=1)
    analyzer = VideoAnalyzer(repository, infer, networks=("face_detector", "frame_cnn"))
    found: dict[str, list[tuple[float, float]]] = {}
    for path in clips[:: max(1, len(clips) // most)][:most]:
        for row in analyzer.evidence(path, Options(analyzers=True)).more.get("biometrics", ()):
            found.setdefault(row.name, []).append((row.score, row.confidence))
    infer.close()
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=TARGET)
    parser.add_argument("--clips", type=Path, help="print what is read from the clips of this folder instead")
    parser.add_argument("--most", type=int, default=24, help="clips that are looked at")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    if options.clips is not None:
        for name, pairs in sorted(readings(options.clips, options.most).items()):
            scores, confidences = np.array(pairs).T
            low, middle, high = np.quantile(scores, [0.05, 0.5, 0.95])
            sure = np.median(confidences)
            print(f"{name}: {len(scores)} clips, {low:.3g} {middle:.3g} {high:.3g}, confidence {sure:.2f}")
        return 0
    found = measure(options.repeats)
    options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(
        f"{found['cpu_s']} s of CPU ({found['cpu_ms_a_frame']} ms a frame; decoding alone {found['decoding_cpu_s']} s)"
    )
    print(f"{found['wall_s']} s of wall time at a load of {found['load_average']}; budget {found['budget_s']} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
