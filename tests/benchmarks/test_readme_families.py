"""The README's table of networks that no verdict asks."""

from __future__ import annotations

from benchmarks.readme_families import family_lines

ROW = {"real": 10, "fake": 20, "auc": 0.5, "auc_low": 0.25, "auc_high": 0.75, "eer": 0.125}


def test_each_network_has_a_row_for_each_group() -> None:
    told = {
        "hybrid": {"evaluation": [{"group": "clips", **ROW}], "claimed_accuracy": "97-99 %"},
        "deepscan_cnn": {
            "evaluation": [{"group": "known kinds", "accuracy": 0.674, **ROW}, {"group": "new kinds", **ROW}],
            "claimed_accuracy": "96-98 %",
        },
    }
    lines = family_lines(told)
    told_of = "| 10 / 20 | 0.500 (0.250 to 0.750) | 12.5 % |"
    assert lines[2] == f"| `deepscan_cnn` | known kinds {told_of} 67.4 % | 96-98 % |"
    assert lines[3] == f"| `deepscan_cnn` | new kinds {told_of}  | 96-98 % |"
    assert [line.split("|")[1].strip() for line in lines[2:-1]] == ["`deepscan_cnn`", "`deepscan_cnn`", "`hybrid`"]


def test_where_nothing_was_measured_there_is_no_table() -> None:
    assert family_lines(None) == []
    assert family_lines({}) == []
