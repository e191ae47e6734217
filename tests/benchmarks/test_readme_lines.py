"""The README's voice part, from results as the commands write them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import peers, readme


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


def group(name: str) -> dict[str, Any]:
    area = {"value": 0.912, "low": 0.85, "high": 0.96}
    return {
        "group": name, "real": 10, "fake": 20, "auc": area, "eer": {"value": 0.12}, "false_positive_rate": 0.05,
        "true_positive_rate": 0.45,
        "inconclusive": 2,
    }  # fmt: skip


def test_every_measured_thing_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    assert readme.voice_lines() == []
    pooled = {
        "medium": "audio", "gradable": 30, "gradable_conclusive": 28,
        "quality": {"groups": [group("all recordings")], "ece": {"value": 0.08}},
    }  # fmt: skip
    write(tmp_path, "dev_audio.json", {"quality": {"groups": [group("page")]}, "pooled": [pooled]})
    write(tmp_path, "peers_audio.json", {"peers": {"aasist": {"page": {"auc": 0.62}, "all recordings": {"auc": 0.61}}}})
    share = {"value": 0.04}
    row = {
        "condition": "mp3 64 kbit/s", "group": "all", "real": 48, "fake": 99, "flagged": share,
        "conclusive": {"value": 0.9},
        "auc": {"value": 0.88, "low": 0.8, "high": 0.93},
    }  # fmt: skip
    write(tmp_path, "voice_robustness.json", {"rows": [row, row | {"group": "page", "condition": "not shown"}]})
    partial = {
        "frame_auc": {"value": 0.8, "low": 0.7, "high": 0.9}, "pieces_hit": {"value": 0.5}, "clips": 100,
        "heard_in_training_by": [],
    }  # fmt: skip
    write(tmp_path, "voice_partial.json", partial)
    write(tmp_path, "latency_audio.json", {"summary": "A recording of 4 s takes 25 ms."})
    run = {
        "format": "mp3", "seconds": 3600.0, "times_real_time": 72.4, "bytes": 28_800_000,
        "before_mb": 2800.0, "received_mb": 3010.0, "growth_mb": 12.0,
    }  # fmt: skip
    write(tmp_path, "long_recording.json", {"runs": [run]})
    text = "\n".join(readme.voice_lines())
    assert "| page | 10 / 20 | 0.912 (0.850 to 0.960) | 12.0 % | 5.0 % | 45.0 % | 2 | 0.620 |" in text
    assert "| all recordings | 10 / 20 | 0.912 (0.850 to 0.960) | 12.0 % | 5.0 % | 45.0 % | 2 | 0.610 |" in text
    assert "28 of the 30 recordings" in text
    assert "| mp3 64 kbit/s | 4.0 % | 90.0 % | 0.880 (0.800 to 0.930) |" in text
    assert "not shown" not in text
    assert "an AUC of 0.800 (0.700 to 0.900, 100 clips)" in text
    assert "had heard" not in text
    assert "A recording of 4 s takes 25 ms." in text
    assert "60 minutes of MP3 72 times faster" in text
    assert "grows by 210 MB until the first progress, with the file of 29 MB, and by 12 MB from there" in text
    write(tmp_path, "voice_partial.json", partial | {"heard_in_training_by": ["voice_cepstra"]})
    assert "had heard" in "\n".join(readme.voice_lines())


def test_peers_are_measured_from_their_own_scores(tmp_path: Path) -> None:
    rows = [("a/fake/1.flac", "fake", -3.0), ("a/real/1.flac", "bonafide", 2.0), ("b/fake/1.flac", "fake", 1.0)]
    with (tmp_path / "peer_x.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("path", "label", "score_bonafide"))
        writer.writerows([*rows, ("b/real/1.flac", "bonafide", 0.0)])
    out = tmp_path / "out.json"
    assert peers.main([str(tmp_path), "--out", str(out)]) == 0
    told = json.loads(out.read_text())["peers"]["x"]
    assert (told["a"]["auc"], told["b"]["auc"], told["all recordings"]["auc"]) == (1.0, 0.0, 0.75)
    assert (told["a"]["real"], told["all recordings"]["fake"]) == (1, 2)
    assert peers.main([str(tmp_path / "nothing"), "--out", str(out)]) == 2


def test_a_peer_without_its_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "peer_x.csv").write_text("path,label\na/real/1,real\n")
    with pytest.raises(ValueError, match="score_bonafide"):
        peers.measure(tmp_path / "peer_x.csv")
