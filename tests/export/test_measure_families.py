"""Records of networks that no verdict asks get the numbers that were measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from cards import ModelRepository
from cards.record import Calibration
from export.generate import outdated
from export.measure_families import CLIPS, main, result
from export.onnx_export import export_model
from training.models.registry import NETWORKS

torch.set_num_threads(1)


def test_a_row_tells_counts_auc_and_its_interval() -> None:
    row = result("a", np.array([0.0, 1, 2, 3]), np.array([0, 0, 1, 1]), unscored=2)
    assert (row.real, row.fake, row.unscored, row.auc, row.eer) == (2, 2, 2, 1.0, 0.0)
    assert row.auc_low == row.auc_high == 1.0
    assert row.accuracy is None, "without a calibration a logit has no place of one half"


def test_accuracy_is_that_of_calibrated_probabilities_at_one_half() -> None:
    fitted = Calibration(slope=2.0, intercept=-5.0, fitted_on="others", items=4)  # one half at a logit of 2.5
    row = result("a", np.array([0.0, 1, 2, 3]), np.array([0, 0, 1, 1]), calibration=fitted)
    assert row.accuracy == 0.75


def test_scores_of_clips_go_into_record_page_and_table(tmp_path: Path) -> None:
    models, run, data = tmp_path / "models", tmp_path / "sequence_gru", tmp_path / "data"
    models.mkdir()
    run.mkdir()
    state = {"network": "sequence_gru", "average": NETWORKS["sequence_gru"].empty().state_dict(), "settings": "{}"}
    torch.save(state, run / "last.pt")
    scores = {}
    for word, value in (("real", -1.0), ("fake", 2.0)):
        folder = data / "train" / "videos" / word / f"{word}_source"
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{number}.mp4").write_bytes(b"x")
            scores[(folder / f"{number}.mp4").relative_to(data).as_posix()] = value + 0.1 * number
    (run / "scores.json").write_text(json.dumps(scores))
    (run / "facts.json").write_text(json.dumps({"network": "sequence_gru", "seconds": 3.0}))
    fitted = Calibration(slope=1.0, intercept=-2.1, fitted_on="others", items=6)
    extra = {"calibration": fitted}
    export_model("sequence_gru", run / "last.pt", models, tmp_path / "none", extra=extra, compact=True)
    told = ["--models", str(models), "--data", str(data), "--out", str(tmp_path / "out.json")]
    assert main([str(run), *told, "--photos", str(tmp_path / "none")]) == 0
    repository = ModelRepository(models)
    (row,) = repository.record("sequence_gru").evaluation
    assert (row.group, row.real, row.fake, row.auc) == (CLIPS, 3, 3, 1.0)
    assert outdated(repository) == []
    assert "AUC" in (models / "sequence_gru" / "MODEL_CARD.md").read_text()
    table = json.loads((tmp_path / "out.json").read_text())
    assert table["sequence_gru"]["run"] == {"seconds": 3.0}
    assert table["sequence_gru"]["claimed_accuracy"] == "94-97 %"
    # Of the fakes' 2.0, 2.1 and 2.2 one lies above one half.
    assert row.accuracy == table["sequence_gru"]["evaluation"][0]["accuracy"] == 0.6667
