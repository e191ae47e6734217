"""A photo from bytes to verdict in one process, with the shipped networks."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cards import ModelRepository
from deepscan_client.codes import Label, Reason
from deepscan_client.verdict import Verdict
from pipelines.image.align import align_faces
from pipelines.image.analyze import PhotoAnalyzer, analyze_image
from pipelines.image.decode import decode_image
from pipelines.image.probe import probe_image
from pipelines.image.verdict import PhotoJudge
from pipelines.infer import Arrays, Call, digest_hex, digest_words, run_in_batches
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
GOLDEN = Path(__file__).parent / "golden"
REPOSITORY = ModelRepository()


class CountingInfer:
    """The real networks, with a note of what was called."""

    def __init__(self) -> None:
        self._infer = OnnxInfer(REPOSITORY)
        self.calls: list[tuple[str, int]] = []

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        self.calls += [(call.model, len(next(iter(call.inputs.values())))) for call in calls]
        return self._infer.run(calls)


@pytest.fixture
def infer() -> CountingInfer:
    return CountingInfer()


def scan(data: bytes, infer: CountingInfer, options: Options | None = None) -> Verdict:
    return analyze_image(data, PhotoAnalyzer(REPOSITORY, infer), PhotoJudge(REPOSITORY), options)


def encoded(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_one_face_gets_a_probability_an_interval_and_a_label(infer: CountingInfer) -> None:
    verdict = scan((SAMPLES / "astronaut.jpg").read_bytes(), infer)
    assert verdict.label in (Label.REAL, Label.FAKE)
    assert len(verdict.faces) == 1
    assert verdict.fake_probability is not None
    assert verdict.interval is not None
    assert verdict.interval.low <= verdict.interval.high
    stage = REPOSITORY.card("image_faces")
    assert stage.tight is not None
    asked = set(stage.calls) - set(stage.tight.instead.values())
    assert {model.name for model in verdict.models} == {*asked, "image_verdict"}
    assert verdict.reasons == ()
    x0, y0, x1, y1 = verdict.faces[0].box
    assert 160 < (x0 + x1) / 2 < 290  # the face of the portrait
    assert 60 < (y0 + y1) / 2 < 170


def test_a_photo_without_a_face_is_inconclusive(infer: CountingInfer) -> None:
    verdict = scan((SAMPLES / "coffee.webp").read_bytes(), infer)
    assert (verdict.label, verdict.fake_probability) == (Label.INCONCLUSIVE, None)
    assert verdict.reasons == (Reason.NO_FACE,)
    assert [name for name, _ in infer.calls] == ["face_detector", "face_detector"]  # one look and one second look


def test_a_photo_turned_by_a_quarter_without_a_tag_still_has_its_face(infer: CountingInfer) -> None:
    assert len(scan((SAMPLES / "astronaut_turned.png").read_bytes(), infer).faces) == 1


def test_a_face_that_fills_the_photo_is_found(infer: CountingInfer) -> None:
    portrait = np.asarray(Image.open(SAMPLES / "astronaut.jpg"))
    assert len(scan(encoded(portrait[50:190, 160:290]), infer).faces) == 1


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (5, 10)])
def test_all_faces_of_a_photo_go_to_the_network_in_full_batches(infer: CountingInfer, rows: int, columns: int) -> None:
    head = np.asarray(Image.open(SAMPLES / "astronaut.jpg").crop((130, 0, 330, 200)))
    verdict = scan(encoded(np.tile(head, (rows, columns, 1))), infer)
    assert len(verdict.faces) == rows * columns
    largest = REPOSITORY.card("photo_cnn").max_batch_size
    batches = [count for name, count in infer.calls if name == "photo_cnn"]
    assert sum(batches) == rows * columns
    assert len(batches) == -(-rows * columns // largest)


def test_copies_of_a_face_do_not_add_up(infer: CountingInfer) -> None:
    head = np.asarray(Image.open(SAMPLES / "astronaut.jpg").crop((130, 0, 330, 200)))
    one = scan(encoded(head), infer).fake_probability
    many = scan(encoded(np.tile(head, (4, 5, 1))), infer)
    single = max(face.fake_probability or 0.0 for face in many.faces)
    assert one is not None
    assert many.fake_probability is not None
    assert many.fake_probability <= single


def test_a_tiny_face_is_reported_and_not_acted_on(infer: CountingInfer) -> None:
    portrait = Image.open(SAMPLES / "astronaut.jpg").resize((128, 128), Image.Resampling.LANCZOS)
    verdict = scan(encoded(np.asarray(portrait)), infer)
    assert verdict.label is Label.INCONCLUSIVE
    assert verdict.reasons == (Reason.FACE_TOO_SMALL,)
    assert verdict.fake_probability is not None


def test_the_callers_threshold_decides_the_label_and_is_said(infer: CountingInfer) -> None:
    data = (SAMPLES / "astronaut.jpg").read_bytes()
    probability = scan(data, infer).fake_probability
    assert probability is not None
    for threshold, label in ((0.0, Label.FAKE), (1.0, Label.REAL)):
        verdict = scan(data, infer, Options(confidence_threshold=threshold))
        band = abs(probability - threshold) < (REPOSITORY.record("image_verdict").fusion or 0).abstain_below  # type: ignore[union-attr]
        assert verdict.label is (Label.INCONCLUSIVE if band else label)
        assert verdict.operating_point.source == "request"
        assert Reason.CUSTOM_THRESHOLD in verdict.reasons


def test_a_heat_map_lies_on_the_face(infer: CountingInfer) -> None:
    verdict = scan((SAMPLES / "astronaut.jpg").read_bytes(), infer, Options(heatmaps=True))
    face = verdict.faces[0]
    assert face.heatmap is not None
    matrix = np.array(face.heatmap.to_photo)
    centre = matrix @ np.array([0.5, 0.5, 1.0])
    x0, y0, x1, y1 = face.box
    assert x0 < centre[0] < x1
    assert y0 < centre[1] < y1


def test_the_same_photo_gives_the_same_canonical_bytes(infer: CountingInfer) -> None:
    data = (SAMPLES / "group.jpg").read_bytes()
    first, second = scan(data, infer), scan(data, infer, Options(request_id="another"))
    assert first.canonical_json() == second.canonical_json()
    assert Verdict.from_json(first.to_json()) == first


def test_preprocessing_reproduces_the_golden_tensor() -> None:
    """The stored crop is what training saw; decoding and alignment must give it in every path."""
    golden = json.loads((GOLDEN / "astronaut.json").read_text())
    pixels = decode_image(probe_image((SAMPLES / "astronaut.jpg").read_bytes()).picture)
    preprocessing = REPOSITORY.card("frame_cnn").preprocessing
    assert preprocessing is not None
    assert (preprocessing.size, preprocessing.margin) == (golden["size"], golden["margin"])
    landmarks = np.array(golden["landmarks"], dtype=np.float32)
    crop = align_faces(pixels, landmarks, preprocessing.size, preprocessing.margin)[0]
    expected = np.asarray(Image.open(GOLDEN / "astronaut.png"))
    assert np.abs(crop.astype(int) - expected).max() <= 1


def test_batches_are_cut_and_joined_in_order() -> None:
    class Doubling:
        def run(self, calls: Sequence[Call]) -> list[Arrays]:
            assert all(len(call.inputs["X"]) <= 4 for call in calls)
            return [{"Y": np.asarray(call.inputs["X"]) * 2} for call in calls]

    items = np.arange(11)
    assert np.array_equal(run_in_batches(Doubling(), "any", "X", items, ("Y",), 4)["Y"], items * 2)


def test_a_digest_survives_its_packing() -> None:
    digest = "00ff" * 8 + "8000000000000001" * 2
    assert digest_hex(digest_words(digest)) == digest
