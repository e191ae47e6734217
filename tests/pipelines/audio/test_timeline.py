"""Local scores on one grid, stretches, suspicious seconds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipelines.audio.timeline import MOST_STRETCHES, STEP_S, LocalScores, as_array, stretches, suspicious
from pipelines.audio.windows import CELLS, SAMPLES, Windows


def windows(*starts: int, speech: float = 1.0) -> Windows:
    ones = np.full((len(starts), CELLS), speech, np.float32)
    return Windows(np.zeros((len(starts), SAMPLES), np.float32), ones, np.array(starts, np.int64), ones)


def test_windows_that_overlap_are_averaged_and_a_slope_keeps_its_place() -> None:
    scores = LocalScores()
    rising = np.linspace(0, 1, 32, dtype=np.float32)[None]
    scores.add("a", windows(0), rising)
    scores.add("a", windows(64), np.full((1, 32), 3.0, np.float32))
    values = as_array(scores.values()["a"])
    assert len(values) == -(-(64 + CELLS) // 4)
    assert values[0] == pytest.approx(0, abs=0.05)
    assert values[8] == pytest.approx(0.26, abs=0.03)  # a quarter of the first window
    assert values[24] == pytest.approx((3 + 0.77) / 2, abs=0.05)
    assert values[40] == 3.0


def test_a_network_may_answer_with_any_number_of_frames() -> None:
    for count in (1, 7, 127, 400):
        scores = LocalScores()
        scores.add("a", windows(8), np.full((1, count), 2.0, np.float32))
        values = as_array(scores.values()["a"])
        assert np.isnan(values[:2]).all()
        assert (values[2:] == 2.0).all()


def test_where_nobody_speaks_there_is_no_value() -> None:
    scores = LocalScores()
    quiet = windows(0)
    quiet.speech[0, 40:80] = 0
    scores.add("a", quiet, np.ones((1, 32), np.float32))
    values = as_array(scores.values()["a"])
    assert np.isnan(values[10:20]).all()
    assert (values[:10] == 1).all()


def test_a_timeline_has_no_more_than_so_many_stretches() -> None:
    hour = np.zeros(round(3600 / STEP_S))
    rows = stretches(hour, STEP_S, 3600.0)
    assert 1000 < len(rows) <= MOST_STRETCHES
    assert rows[0][0] == 0
    assert rows[-1][1] == 3600.0
    assert all(left[1] == pytest.approx(right[0]) for left, right in itertools.pairwise(rows))
    assert stretches(np.zeros(0), STEP_S, 0.0) == []
    assert stretches(np.full(8, np.nan), STEP_S, 1.0) == []


def test_suspicious_stretches_are_joined_over_pauses_and_not_over_speech() -> None:
    def spans(text: str) -> list[tuple[float, float]]:
        values = {"x": 5.0, "-": -5.0, " ": np.nan}
        found = suspicious(np.array([values[letter] for letter in text]), 0.1, len(text) / 10, 1.0)
        return [(round(start, 1), round(end, 1)) for start, end in found]

    assert spans("----------") == []
    assert spans("--xxxxxx--") == [(0.2, 0.8)]
    assert spans("xxxxx-xxxxx") == [(0.0, 1.1)]
    assert spans("xxxxx--------xxxxx") == [(0.0, 0.5), (1.3, 1.8)]
    assert spans("xxxxx          xxxxx") == [(0.0, 2.0)]
    assert spans("xxxxx" + " " * 40 + "xxxxx") == [(0.0, 0.5), (4.5, 5.0)]
    assert spans("--xx--") == []  # a fifth of a second is nothing that anybody could listen to
    assert spans("") == []
