"""Runs beside each other on held-out photos: ``python -m training.compare OUT.json all=RUN permissive=RUN``.

Written for what a choice of training data costs (``training.train --licences permissive``), and as good for any other
setting. Each fake is ranked against all held-out reals and against those that look most like it
(``training.held_out_table``), alone, with the logits of the run: calibration does not move a rank.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.data.cache import load_cache
from training.data.pairs import Reconstructions
from training.data.photo_split import training_photos
from training.data.photos import load_photos
from training.data.sources import PAIRS
from training.data.style import FILE
from training.held_out_table import kind_rows, mean_rows
from training.memory import keep_memory
from training.report import settings_of
from training.scores import out_of_fold


def column(run: Path, cache: Path) -> dict[str, Any]:
    """What one run was trained on and is worth."""
    settings, progress = settings_of(run / "last.pt")
    photos, styles = load_cache(cache / "photos"), np.load(cache / "photos" / FILE)
    scores = out_of_fold(run, photos, settings, None, Reconstructions(cache / "recon"), styles)
    rows = kind_rows(scores.logits, scores)
    seen, _ = load_photos(cache, settings.stills)
    learnt = [row for row, taken in zip(seen.rows, training_photos(seen, settings).tolist()) if taken]
    groups = {pair.name: [row for row in rows if row["kind"] in pair.fakes] for pair in PAIRS}
    groups["left_out"] = [row for row in rows if not row["trained_on"]]
    groups["pseudo"] = [row for row in rows if row["kind"].startswith("pseudo:")]
    groups["all"] = rows
    return {
        "licences": settings.licences,
        "steps": progress["steps"],
        "minutes": progress["minutes_spent"],
        "reals": sum(row.label == 0 for row in learnt),
        "fakes": sum(row.label == 1 for row in learnt),
        "sources": len({(row.source, row.label) for row in learnt}),
        "groups": {name: mean_rows(some) for name, some in groups.items() if some},
    }


def main(arguments: list[str] | None = None) -> int:
    """Score runs and write them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_memory()
    columns = {}
    for told in options.runs:
        name, _, folder = told.partition("=")
        columns[name] = column(Path(folder), options.cache)
        print(name, json.dumps(columns[name]))
    content = {"created": datetime.now(UTC).isoformat(timespec="seconds"), "runs": columns}
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
