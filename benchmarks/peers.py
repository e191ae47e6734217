"""What published voice detectors score on the same clips: ``python -m benchmarks.peers DATA/dev/audio``.

The data keeps their scores (``peer_<name>.csv``: path, label, score_bonafide); nothing of ours runs here. The result,
``results/peers_audio.json``, is a fixed reference that the README prints beside our own numbers.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.metrics import auc, bootstrap_interval, eer

TARGET = Path(__file__).resolve().parent / "results" / "peers_audio.json"
ALL = "all recordings"


def measure(file: Path) -> dict[str, Any]:
    """AUC and EER of one peer, over all clips and by page (the first folder of the path).

    Raises:
        ValueError: a column is missing, or a score is no number.
    """
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    try:
        scores = np.array([-float(row["score_bonafide"]) for row in rows])
        truth = np.array([int(row["label"] == "fake") for row in rows])
        pages = np.array([row["path"].split("/")[0] for row in rows])
    except KeyError as error:
        raise ValueError(f"{file.name} has no column {error}") from error
    groups = {ALL: np.ones(len(rows), bool)} | {page: pages == page for page in sorted(set(pages.tolist()))}
    told = {}
    for name, chosen in groups.items():
        low, high = bootstrap_interval(auc, scores[chosen], truth[chosen])
        told[name] = {
            "real": int((truth[chosen] == 0).sum()),
            "fake": int(truth[chosen].sum()),
            "auc": round(auc(scores[chosen], truth[chosen]), 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "eer": round(eer(scores[chosen], truth[chosen]), 4),
        }
    return told


def main(arguments: list[str] | None = None) -> int:
    """Measure every peer of a folder and write. Exit status 2 where there is none."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("folder", type=Path, help="holds peer_<name>.csv")
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    peers = {file.stem.removeprefix("peer_"): measure(file) for file in sorted(options.folder.glob("peer_*.csv"))}
    if not peers:
        print(f"{options.folder} holds no peer_<name>.csv", file=sys.stderr)
        return 2
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"data": options.folder.name, "peers": peers}, indent=1) + "\n", encoding="utf-8")
    for name, groups in peers.items():
        print(f"{name}: AUC {groups[ALL]['auc']:.3f}, EER {groups[ALL]['eer']:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
