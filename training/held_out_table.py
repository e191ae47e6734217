"""What a photo verdict is worth on each kind of held-out fake: ``python -m training.fuse ... --table FILE`` writes it.

The kinds of ``training.data.sources.WATCHED`` are the galleries and generators that no run trains on, so that their
rows are those of a fold that leaves them out. Each fake is ranked against all held-out reals and against those that
look most like it (``training.scores.peers_of``: its own pipeline's where it has one, else the twelve nearest in style).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.metrics import auc
from training.data.sources import WATCHED
from training.report import Fit, FusedFit
from training.scores import Floats, Ints, Scores, kinds_of, rivals_of, wins_of
from training.tight import Ends, member_odds

ROUNDS = 500


def verdict_odds(fused: FusedFit, members: Mapping[str, tuple[Scores, Fit]], ends: Ends | None) -> Floats:
    """Log-odds of a verdict on the photos that its members scored, [n], each judged by those that serving would ask."""
    return fused.log_odds(member_odds(members, tuple(fused.weights), ends))


def kind_rows(values: Floats, scores: Scores, seed: int = 3) -> list[dict[str, Any]]:
    """One row for each kind of at least five fakes, with 95 % intervals over its fakes.

    Args:
        values: [n], of the verdict.
    """
    rng, wins = np.random.default_rng(seed), wins_of(values, rivals_of(scores))
    reals = values[scores.labels == 0]
    rows = []
    for kind in kinds_of(scores):
        name, alike = str(scores.sources[kind[0]]), wins[kind]
        rows.append(
            {
                "kind": name,
                "fakes": len(kind),
                "trained_on": name not in WATCHED,
                "auc": round(_against(values[kind], reals), 4),
                "auc_alike": mean_wins(alike, rng),
            }
        )
    return rows


def mean_wins(wins: Floats, rng: np.random.Generator) -> dict[str, float]:
    """Mean of the fakes' wins, ``value``, with a 95 % interval over the fakes, ``low`` and ``high``."""
    drawn = wins[rng.integers(0, len(wins), (ROUNDS, len(wins)))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": round(float(wins.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def _against(fakes: Floats, reals: Floats) -> float:
    labels: Ints = np.repeat([1, 0], [len(fakes), len(reals)])
    return auc(np.concatenate([fakes, reals]), labels)


def write_table(path: Path, fused: FusedFit, members: Mapping[str, tuple[Scores, Fit]], ends: Ends | None) -> None:
    """Write the rows, and their means over all kinds and over those that no run trains on."""
    scores = next(iter(members.values()))[0]
    rows = kind_rows(verdict_odds(fused, members, ends), scores)
    left_out = [row for row in rows if not row["trained_on"]]
    content = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "members": sorted(fused.weights),
        "reals": int((scores.labels == 0).sum()),
        "means": {name: mean_rows(some) for name, some in (("all", rows), ("left_out", left_out)) if some},
        "kinds": rows,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def mean_rows(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over the kinds of some rows."""
    return {
        "auc": round(float(np.mean([row["auc"] for row in rows])), 4),
        "auc_alike": round(float(np.mean([row["auc_alike"]["value"] for row in rows])), 4),
    }
