"""The README's table of targets: every path leads to a number, and a miss is told as one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from benchmarks.readme import RESULTS
from benchmarks.readme_quality import TARGETS, number_at, quality_lines

ROWS = {"rows": [{"a": 1, "b": "x y", "n": 0.1}, {"a": 1, "b": "z", "n": 0.2}, {"a": 2, "b": "z", "n": {"value": 0.3}}]}


def test_a_path_picks_entries_by_their_keys() -> None:
    assert number_at(ROWS, "rows[a=1].n") == 0.1
    assert number_at(ROWS, "rows[a=1][b=z].n") == 0.2
    assert number_at(ROWS, "rows[b=x y].n") == 0.1
    assert number_at(ROWS, "rows[a=2].n.value") == 0.3
    with pytest.raises(KeyError, match="no entry has a 3"):
        number_at(ROWS, "rows[a=3].n")


def test_every_target_finds_its_number_in_the_committed_results() -> None:
    for targets in yaml.safe_load(TARGETS.read_text(encoding="utf-8")).values():
        for target in targets:
            content = json.loads((RESULTS / f"{target['file']}.json").read_text(encoding="utf-8"))
            assert 0 <= number_at(content, target["at"]) <= 1


def test_less_is_better_where_the_target_says_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "quality.yaml"
    file.write_text(
        "photos:\n"
        "  - {what: area, file: a, at: x, must: 0.8, aim: 0.9}\n"
        "  - {what: error, file: a, at: y, must: 0.1, most: true}\n"
        "  - {what: gone, file: b, at: x, must: 0.1}\n"
    )
    monkeypatch.setattr("benchmarks.readme_quality.TARGETS", file)
    rows = quality_lines(lambda name: {"x": 0.85, "y": 0.2} if name == "a.json" else None)[2:]
    assert rows == [
        "| photos: area | 0.850 | 0.80 | met | 0.90 | **missed** |",
        "| photos: error | 0.200 | 0.10 | **missed** |  |  |",
    ]
