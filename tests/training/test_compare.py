"""Runs side by side: each column says what its run was trained on, and a better run has better groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training import compare
from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.scores import Scores
from training.settings import Settings

ROWS = [
    *(Row(f"r{k}.png", 0, "mebeauty", (), "", "yes" if k % 2 else "no") for k in range(40)),
    *(Row(f"f{k}.png", 1, "stylegan3", (), "", "no") for k in range(20)),
]


def fake_scores(run: Path, *_: Any) -> Scores:
    strength = 5.0 if run.name == "good" else 0.0
    labels = np.array([row.label for row in ROWS])
    logits = np.random.default_rng(1).normal(labels * strength, 1.0)
    return Scores(logits, labels, np.array([row.source for row in ROWS]), "a test", None)


def test_columns_tell_data_and_worth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, shapes = np.zeros((60, 1, 1, 3), np.uint8), np.ones((60, 2), np.int32)
    photos = PhotoCache(pixels, shapes, np.zeros((60, 5, 2), np.float32), np.arange(60, dtype=np.int32), ROWS)
    (tmp_path / "photos").mkdir()
    np.save(tmp_path / "photos" / compare.FILE, np.zeros((60, 2), np.float16))
    for name, licences in (("good", "all"), ("poor", "permissive")):
        (tmp_path / name).mkdir()
        settings = Settings(licences=licences, held_out=0.0)
        monkeypatch.setitem(SETTINGS, name, settings)
    monkeypatch.setattr(compare, "settings_of", lambda path: (SETTINGS[path.parent.name], PROGRESS))
    monkeypatch.setattr(compare, "load_cache", lambda _: photos)
    monkeypatch.setattr(compare, "load_photos", lambda *_: (photos, None))
    monkeypatch.setattr(compare, "Reconstructions", lambda _: None)
    monkeypatch.setattr(compare, "out_of_fold", fake_scores)
    out = tmp_path / "out.json"
    assert compare.main([str(out), f"all={tmp_path}/good", f"free={tmp_path}/poor", "--cache", str(tmp_path)]) == 0
    runs = json.loads(out.read_text())["runs"]
    assert (runs["all"]["reals"], runs["all"]["fakes"], runs["all"]["minutes"]) == (40, 20, 1.5)
    assert (runs["free"]["reals"], runs["free"]["fakes"], runs["free"]["licences"]) == (20, 0, "permissive")
    assert runs["all"]["groups"]["stylegan"]["auc"] > 0.95 > runs["free"]["groups"]["stylegan"]["auc"]
    assert runs["all"]["groups"]["all"] == runs["all"]["groups"]["stylegan"]  # the only kind


SETTINGS: dict[str, Settings] = {}
PROGRESS = {"steps": 9, "minutes_spent": 1.5}
