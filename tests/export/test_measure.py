"""Measuring writes records that agree with each other: fusion names the record of its member."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client.codes import Reason
from export.measure import judge_folder, main, renew_record, write_fusion
from pipelines.image.analyze import PhotoAnalyzer, analyze_image
from pipelines.image.verdict import PhotoJudge
from pipelines.onnx_infer import OnnxInfer
from training.calibrate import fit
from training.report import FusedFit
from training.scores import Scores

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
STAGE = ModelRepository().card("image_faces")
MEMBERS = tuple(name for name in STAGE.calls if name != "face_detector")
INSTEAD = STAGE.tight.instead if STAGE.tight else {}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the shipped repository."""
    shutil.copytree(ModelRepository().root, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One group of two photos and a file that cannot be judged."""
    group = tmp_path / "groups" / "nasa"
    for word, name in (("real", "astronaut.jpg"), ("fake", "astronaut_edited.jpg")):
        (group / word).mkdir(parents=True)
        shutil.copy(SAMPLES / name, group / word / name)
    (group / "real" / "broken.jpg").write_bytes(b"not a photo")
    return tmp_path / "groups"


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 400)
    scores = Scores(rng.normal(labels * 2.0, 1.0), labels, np.repeat(["a", "b"], 400), "made up", None)
    path = tmp_path / "calibration.json"
    fused = FusedFit(weights=dict.fromkeys(MEMBERS, 1.0), bias=0.0, instead=INSTEAD, fit=fit(scores))
    path.write_text(fused.model_dump_json())
    return path


def verdict_of(models: Path, name: str) -> tuple[Reason, ...]:
    repository = ModelRepository(models)
    analyzer = PhotoAnalyzer(repository, OnnxInfer(repository))
    return tuple(analyze_image((SAMPLES / name).read_bytes(), analyzer, PhotoJudge(repository)).reasons)


def test_what_cannot_be_judged_is_counted_not_scored(models: Path, folder: Path) -> None:
    judged = judge_folder(folder, ModelRepository(models))
    assert {"image_verdict", "photo_cnn"} <= set(judged)
    assert judged["photo_cnn"][0].probability != judged["photo_cnn"][2].probability
    rows = judged["image_verdict"]
    assert [(row.fake, row.probability is None) for row in rows] == [(False, False), (False, True), (True, False)]


def test_records_are_written_together_and_the_fusion_fits_its_member(
    models: Path, folder: Path, calibration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), "--models", str(models), "--record", str(calibration)]) == 0
    assert '"group":"nasa"' in capsys.readouterr().out
    repository = ModelRepository(models)
    for record in (repository.record(name) for name in (*MEMBERS, "image_verdict")):
        unscored = 3 if record.model in INSTEAD.values() else 1  # the photos are whole, so no stand-in is asked
        assert [(row.group, row.real, row.fake, row.unscored) for row in record.evaluation] == [
            ("nasa", 2, 1, unscored)
        ]
    fusion = repository.record("image_verdict").fusion
    assert fusion is not None
    assert fusion.members == {name: repository.record_hash(name) for name in MEMBERS}
    assert Reason.FUSION_MISMATCH not in verdict_of(models, "astronaut.jpg")


def test_a_member_with_another_record_is_noticed(models: Path, calibration: Path) -> None:
    write_fusion(ModelRepository(models), FusedFit.read(calibration))
    renew_record(ModelRepository(models), "photo_cnn", {"notes": ("changed afterwards",)})
    assert Reason.FUSION_MISMATCH in verdict_of(models, "astronaut.jpg")
