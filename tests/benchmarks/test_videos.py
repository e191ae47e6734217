"""The AUC over labelled videos, with and without the real clips that training half knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.videos import RELATED, summary, unrelated

DEV = Path(os.environ.get("DEEPSCAN_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / "dev" / "videos"


def row(file: str, truth: str, probability: float | None, label: str = "real") -> dict[str, Any]:
    return {"file": file, "truth": truth, "fake_probability": probability, "label": label}


def test_related_reals_are_left_out_and_fakes_stay() -> None:
    known = sorted(RELATED)
    rows = [
        row(known[0], "real", 0.9, "fake"),
        row(known[1], "real", 0.8),
        row("new.mp4", "real", 0.1),
        row("fake.mp4", "fake", 0.7),
        row("unscored.mp4", "fake", None),
    ]
    every, fewer = summary(rows), summary(unrelated(rows))
    assert (every["real"], every["fake"], every["scored"], every["auc"]) == (3, 1, 4, pytest.approx(1 / 3, abs=1e-4))
    assert (fewer["real"], fewer["fake"], fewer["auc"]) == (1, 1, 1.0)
    assert (every["flagged_reals"], fewer["flagged_reals"]) == ([known[0]], [])


@pytest.mark.skipif(not DEV.is_dir(), reason="the development data are not here")
def test_the_list_names_real_clips_that_are_there() -> None:
    assert {path.name for path in DEV.glob("*/real/*")} >= RELATED
    assert not {path.name for path in DEV.glob("*/fake/*")} & RELATED
