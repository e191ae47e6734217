"""Who is asked about which face: wide crops where there is a photo around it, close ones where it ends there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cards import ModelRepository
from cards.card import ModelCard, Tight
from deepscan_client.codes import Reason
from pipelines.image.align import TEMPLATE, inside_shares
from pipelines.image.analyze import PhotoAnalyzer, analyze_image
from pipelines.image.faces import Faces
from pipelines.image.panel import Panel
from pipelines.image.verdict import PhotoJudge
from pipelines.onnx_infer import OnnxInfer

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
REPOSITORY = ModelRepository()
STAGE = REPOSITORY.card("image_faces")
WHOLE = {"photo_cnn", "blend_cnn", "detail_cnn"}
CLOSE = {"frame_cnn", "blend_cnn", "closeup_cnn"}


@pytest.fixture(scope="module")
def infer() -> OnnxInfer:
    return OnnxInfer(REPOSITORY)


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


def astronaut() -> np.ndarray:
    return np.asarray(Image.open(SAMPLES / "astronaut.jpg").convert("RGB"))


def panel() -> Panel:
    return Panel([REPOSITORY.card(name) for name in STAGE.calls if name != "face_detector"], STAGE.tight)


def found(*points: np.ndarray) -> Faces:
    boxes = np.array([[*p.min(axis=0), *p.max(axis=0)] for p in points], np.float32)
    return Faces(boxes, np.ones(len(points), np.float32), np.stack(points).astype(np.float32))


def test_the_share_inside_is_that_of_the_area() -> None:
    """A crop with margin 1 of these landmarks is the square from (40, 60) to (140, 160)."""
    points = (TEMPLATE * 100 + [40.0, 60.0] - 0.5)[None]
    for height, width, share in ((300, 300, 1.0), (160, 90, 0.5), (110, 90, 0.25), (50, 300, 0.0)):
        assert inside_shares(points, height, width, 1.0)[0] == pytest.approx(share, abs=0.04), (height, width)
    assert inside_shares(points, 160, 140, 2.0)[0] == pytest.approx(150 * 140 / 200**2, abs=0.04)
    assert inside_shares(np.zeros((0, 5, 2)), 10, 10, 1.9).shape == (0,)


def test_a_photo_that_ends_at_the_face_is_judged_by_close_crops(infer: OnnxInfer) -> None:
    analyzer, judge = PhotoAnalyzer(REPOSITORY, infer), PhotoJudge(REPOSITORY)
    for pixels, names in ((astronaut(), WHOLE), (astronaut()[60:180, 170:280], CLOSE)):
        verdict = analyze_image(png(pixels), analyzer, judge)
        assert set(verdict.faces[0].scores) == names
        assert {row.name for row in verdict.evidence} == names
        assert {model.name for model in verdict.models} == {*names, "face_detector", "image_verdict"}
        assert verdict.interval is not None
        assert not {Reason.FUSION_MISMATCH, Reason.UNCALIBRATED} & set(verdict.reasons)


def test_faces_of_one_photo_are_each_asked_about_as_they_lie() -> None:
    """The crops of each network stand in its own order; each is the one that a lone face gets."""
    pixels = np.random.default_rng(3).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    inside, corner, other = (TEMPLATE * 60 + place for place in ([200.0, 120.0], [-20.0, -20.0], [330.0, 110.0]))
    asked = panel().crops(pixels, found(corner, inside, other))
    assert {name: each.places.tolist() for name, each in asked.items()} == {
        "photo_cnn": [1, 2],
        "detail_cnn": [1, 2],
        "blend_cnn": [1, 2, 0],
        "frame_cnn": [0],
        "closeup_cnn": [0],
    }
    for place, points in enumerate((corner, inside, other)):
        for name, alone in panel().crops(pixels, found(points)).items():
            row = asked[name].places.tolist().index(place)
            np.testing.assert_array_equal(asked[name].crops[row], alone.crops[0])
    assert panel().crops(pixels, Faces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))) == {}


def test_faces_of_both_manners_in_one_photo_keep_their_own_scores(
    infer: OnnxInfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A face that the photo's corner cuts off, and one in its middle: each is told by its own networks."""
    corner, inside = (TEMPLATE * 60 + place for place in ([-20.0, -20.0], [230.0, 200.0]))
    pixels = np.random.default_rng(3).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    told = {}
    for places in ((corner,), (inside,), (corner, inside)):
        monkeypatch.setattr("pipelines.image.analyze.find_faces", lambda *_, some=places: found(*some))
        told[len(told)] = analyze_image(png(pixels), PhotoAnalyzer(REPOSITORY, infer), PhotoJudge(REPOSITORY))
    first, second, both = told.values()
    assert [set(face.scores) for face in both.faces] == [CLOSE, WHOLE]
    for alone, face in zip((first, second), both.faces):
        assert face.scores == pytest.approx(alone.faces[0].scores, abs=1e-4)
        assert face.sharpness == pytest.approx(alone.faces[0].sharpness)
    assert {row.name for row in both.evidence} == WHOLE | CLOSE
    assert Reason.FUSION_MISMATCH not in both.reasons


def test_without_stand_ins_all_are_asked_about_every_face() -> None:
    cards = [REPOSITORY.card(name) for name in sorted(WHOLE)]
    everyone = Panel(cards)
    pixels = np.zeros((40, 40, 3), np.uint8)
    asked = everyone.crops(pixels, found(TEMPLATE * 40))
    assert set(asked) == WHOLE
    assert everyone.draws is not None
    assert everyone.draws.name == "blend_cnn"
    with pytest.raises(ValueError, match="every face"):
        Panel(
            [REPOSITORY.card("photo_cnn"), REPOSITORY.card("frame_cnn")],
            Tight(inside=0.4, instead={"photo_cnn": "frame_cnn"}),
        )


def test_a_card_names_stand_ins_that_it_calls() -> None:
    told = STAGE.model_dump()
    told["tight"] = Tight(inside=0.4, instead={"photo_cnn": "nobody"}).model_dump()
    with pytest.raises(ValueError, match="does not call"):
        ModelCard.model_validate(told)


def test_a_fusion_fits_either_panel_and_no_other() -> None:
    fusion = REPOSITORY.record("image_verdict").fusion
    assert fusion is not None
    assert fusion.fits(WHOLE)
    assert fusion.fits(CLOSE)
    assert not fusion.fits(WHOLE | CLOSE)
    assert not fusion.fits({"photo_cnn", "blend_cnn"})
    with pytest.raises(ValueError, match="no members"):
        type(fusion).model_validate({**fusion.model_dump(), "instead": {"photo_cnn": "nobody"}})
