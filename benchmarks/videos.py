"""Judge labelled videos in this process: ``python -m benchmarks.videos ../shared/data/dev/videos``.

Files lie in ``<group>/{real,fake}/``. Writes ``benchmarks/results/dev_videos.json``: every file with its label and
probability, the AUC with its interval, the reals that were flagged, and where the time went. The AUC stands there a
second time without the real clips that are not wholly new to the networks (:data:`RELATED`).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.report import machine
from cards.repository import ModelRepository
from deepscan_client import DeepScanError, Label
from pipelines.metrics import auc, bootstrap_interval
from pipelines.onnx_infer import OnnxInfer
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.verdict import VideoJudge

RELATED = frozenset(
    {
        "W009_front_angry_level3_001.mp4",
        "W009_front_fear_level3_001.mp4",
        "W009_front_happy_level3_001.mp4",
        "hdtf_WDA_KatieHill_000.mp4",
        "lia_vox_obama.mov",
        "liveportrait_driving_d19.mp4",
        "pcavs_voxceleb2_Audio_Source_00086.mp4",
        "pcavs_voxceleb2_Input_00010.mp4",
        "pcavs_voxceleb2_Pose_Source_731200067.mp4",
    }
)
"""Real clips of ``dev/videos`` that share their source or a person with real clips of training: the speaker W009 of
dreamtalk, and clips of HDTF, of VoxCeleb and of those that drive LivePortrait (``../shared/data/README.md``)."""
RESULT = Path(__file__).parent / "results" / "dev_videos.json"


def judge_all(folder: Path) -> list[dict[str, Any]]:
    """One row for each file, in the order of names."""
    repository = ModelRepository()
    analyzer, judge = VideoAnalyzer(repository, OnnxInfer(repository)), VideoJudge(repository)
    rows = []
    for path in sorted(folder.glob("*/*/*")):
        if path.parent.name not in ("real", "fake"):
            continue
        row: dict[str, Any] = {"group": path.parent.parent.name, "file": path.name, "truth": path.parent.name}
        start = time.monotonic()
        try:
            verdict = analyze_video(path, analyzer, judge)
        except DeepScanError as error:
            rows.append({**row, "error": str(error.code)})
            continue
        rows.append(
            {
                **row,
                "label": str(verdict.label),
                "fake_probability": verdict.fake_probability,
                "reasons": [str(reason) for reason in verdict.reasons],
                "seconds": verdict.input.duration_s,
                "tracks": [
                    {"id": each.id, "frames": each.frames, "fake_probability": each.fake_probability}
                    for each in verdict.tracks
                ],
                "stretches": len(verdict.timeline),
                "took_s": round(time.monotonic() - start, 2),
                "timing_ms": {name: round(value, 1) for name, value in verdict.timing_ms.items()},
            }
        )
        print(path.parent.parent.name, path.name, rows[-1]["label"], rows[-1]["fake_probability"], rows[-1]["reasons"])
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """AUC over the clips that were scored, with a 95 % interval, and what was flagged."""
    scored = [row for row in rows if row.get("fake_probability") is not None]
    truth = np.array([int(row["truth"] == "fake") for row in scored])
    values = np.array([row["fake_probability"] for row in scored])
    low, high = bootstrap_interval(auc, values, truth)
    flagged = [row for row in scored if row["label"] == str(Label.FAKE)]
    return {
        "clips": len(rows),
        "scored": len(scored),
        "real": int((truth == 0).sum()),
        "fake": int((truth == 1).sum()),
        "auc": round(auc(values, truth), 4),
        "auc_low": round(low, 4),
        "auc_high": round(high, 4),
        "flagged_reals": sorted(row["file"] for row in flagged if row["truth"] == "real"),
        "flagged_fakes": sorted(row["file"] for row in flagged if row["truth"] == "fake"),
        "inconclusive": sorted(row["file"] for row in scored if row["label"] == str(Label.INCONCLUSIVE)),
    }


def unrelated(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose source and people training did not see."""
    return [row for row in rows if row["file"] not in RELATED]


def main(arguments: list[str] | None = None) -> int:
    """Judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    rows = judge_all(options.folder)
    told = {
        "machine": machine(),
        "summary": summary(rows),
        "without_related": summary(unrelated(rows)),
        "related": sorted(row["file"] for row in rows if row["file"] in RELATED),
        "files": rows,
    }
    options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: told[name] for name in ("summary", "without_related")}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
