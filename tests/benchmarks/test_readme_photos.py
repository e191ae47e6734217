"""The README's rows on damaged photos say what the report measured."""

from __future__ import annotations

from benchmarks.readme_photos import SHOWN, gallery_lines, held_out_lines, licence_lines, photo_lines


def share(count: int, total: int) -> dict[str, float]:
    return {"count": count, "total": total, "value": count / total, "low": 0.0, "high": 1.0}


def test_each_damage_has_its_row_and_each_tone_its_count() -> None:
    def row(detector: str, name: str, area: float) -> dict[str, object]:
        told = {"value": area, "low": area - 0.1, "high": area + 0.1}
        return {"detector": detector, "condition": name, "auc": told, "flagged": share(1, 40), "found": share(9, 40)}

    rows = [row("verdict", name, 0.8) for name in (*SHOWN, "jpeg 50")] + [row("blend_cnn", "none", 0.6)]
    told = {"robustness": rows, "robustness_items": 80, "skin_tone": [{"tone": "tan", "flagged": share(2, 67)}]}
    lines = photo_lines(told)
    assert "| blur 2 | 0.800 (0.700 to 0.900) | 2.5 % | 22.5 % |" in lines
    assert not any("jpeg 50" in line or "0.600" in line for line in lines)
    assert any("tan 2 of 67" in line for line in lines)
    assert "80 of these photos" in lines[0]


def test_without_a_report_there_is_nothing_to_say() -> None:
    assert photo_lines(None) == []


def test_licences_stand_side_by_side() -> None:
    run = {"reals": 3000, "fakes": 2500, "sources": 60, "steps": 900}
    told = {
        "runs": {
            "all": {**run, "groups": {"all": {"auc_alike": 0.8}, "stylegan": {"auc_alike": 0.75}}},
            "permissive": {**run, "fakes": 1600, "groups": {"all": {"auc_alike": 0.7}}},
        }
    }
    lines = licence_lines(told)
    assert "all: 3,000 real, 2,500 fake, 60 sources, 900 steps" in lines[0]
    assert "permissive: 3,000 real, 1,600 fake" in lines[0]
    assert lines[2:] == ["| StyleGAN | 0.750 | n/a |", "| mean over all kinds | 0.800 | 0.700 |", ""]
    assert licence_lines(None) == []


def test_kinds_that_no_run_trains_on_are_named() -> None:
    def row(kind: str, seen: bool) -> dict[str, object]:
        return {"kind": kind, "fakes": 31, "trained_on": seen, "auc_alike": {"value": 0.8, "low": 0.7, "high": 0.9}}

    means = {"all": {"auc_alike": 0.9}, "left_out": {"auc_alike": 0.81}}
    told = {"reals": 479, "means": means, "kinds": [row("stylegan3", True), row("gpt_image", False)]}
    (line, _) = held_out_lines(told)
    assert "`gpt_image` 0.800 (0.700 to 0.900, 31 fakes), mean 0.810; all held-out kinds and pseudo-fakes 0.900" in line
    assert "stylegan3" not in line
    assert held_out_lines(None) == []


def test_galleries_left_out_are_told_by_the_worst_the_middle_and_the_best() -> None:
    rows = [{"gallery": name, "auc": auc} for name, auc in (("b", 0.7), ("c", 0.9), ("a", 0.5))]
    (line, _) = gallery_lines({"alike": {"mean": 0.7, "galleries": rows}, "anyone": {"mean": 0.72}})
    assert "3 galleries" in line
    assert "`a` 0.500, `b` 0.700, `c` 0.900" in line
    assert "0.720" in line
    assert gallery_lines(None) == []
