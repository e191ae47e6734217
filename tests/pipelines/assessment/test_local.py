"""Judging in process equals the photo's own analysis, and the sweep's rows count what was said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cards import ModelRepository
from deepscan_client.codes import Label
from deepscan_client.errors import DeepScanError
from deepscan_client.verdict import Verdict
from pipelines.assessment.damage import Condition
from pipelines.assessment.local import Labelled, LocalJudge, judge_photos
from pipelines.assessment.robustness import VERDICT, detector_rows
from pipelines.image.analyze import PhotoAnalyzer, analyze_image
from pipelines.image.verdict import PhotoJudge
from pipelines.onnx_infer import OnnxInfer

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


@pytest.fixture(scope="module")
def judge() -> LocalJudge:
    return LocalJudge(ModelRepository())


def test_a_photo_without_damage_gets_the_verdict_that_the_service_gives(judge: LocalJudge) -> None:
    repository = ModelRepository()
    items = [Labelled(SAMPLES / "astronaut.jpg", False, "a"), Labelled(SAMPLES / "group.jpg", False, "a")]
    found = list(judge_photos(judge, items, (Condition("none"), Condition("blur", 2.0))))
    assert [item for item, _, _ in found] == items
    for item, pixels, (plain, blurred) in found:
        analyzer = PhotoAnalyzer(repository, OnnxInfer(repository))
        expected = analyze_image(item.path.read_bytes(), analyzer, PhotoJudge(repository))
        assert isinstance(plain, Verdict)
        assert isinstance(blurred, Verdict)
        assert pixels is not None
        assert plain.canonical_json() == expected.canonical_json()
        assert blurred.fake_probability != plain.fake_probability


def test_a_file_that_is_no_photo_is_an_error_and_not_an_exception(judge: LocalJudge, tmp_path: Path) -> None:
    broken = tmp_path / "x.jpg"
    broken.write_bytes(b"no photo")
    _, pixels, answers = next(iter(judge_photos(judge, [Labelled(broken, True, "a")], (Condition("none"),))))
    assert pixels is None
    assert isinstance(answers[0], DeepScanError)


def test_rows_count_labels_and_take_unscored_photos_out_of_the_auc(judge: LocalJudge) -> None:
    base = judge.verdict(*judge.read((SAMPLES / "astronaut.jpg").read_bytes()))

    def said(probability: float | None, label: Label, score: float) -> Verdict:
        evidence = tuple(replace(row, score=score) for row in base.evidence) if probability is not None else ()
        return replace(base, fake_probability=probability, label=label, evidence=evidence)

    fakes = [said(0.9, Label.FAKE, 9.0), said(0.8, Label.INCONCLUSIVE, -9.0), said(None, Label.INCONCLUSIVE, 0.0)]
    reals = [said(0.1, Label.REAL, -9.0), said(0.85, Label.FAKE, -9.0)]
    rows = {row.detector: row for row in detector_rows("none", [True] * 3 + [False] * 2, [*fakes, *reals])}
    assert set(rows) == {VERDICT, *(row.name for row in base.evidence)}
    assert "photo_cnn" in rows
    assert rows[VERDICT].unscored == 1
    assert rows[VERDICT].auc.value == pytest.approx(0.75)  # of four pairs one is wrong
    assert (rows[VERDICT].found.count, rows[VERDICT].found.total) == (1, 3)
    assert (rows[VERDICT].flagged.count, rows[VERDICT].flagged.total) == (1, 2)
    assert (rows["photo_cnn"].found.count, rows["photo_cnn"].flagged.count) == (1, 0)
