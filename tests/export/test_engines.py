"""Graphs of each precision, engines built on this CPU by TensorRT-RTX, and the manifest that guards them."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skimage import data

from cards.card import EngineShapes
from cards.repository import ModelRepository
from deepscan_client.errors import InstallationError
from export import engine_run, engines, tensorrt_build
from export.engine_manifest import Host, Reason, check_manifest, manifest_path, mismatches
from export.half import cast_first, rounded_like_half, to_half
from export.precision import compare, last_convolutions, make_graph, pictures_for
from export.quantize import session
from export.tensorrt_build import Gpu

REPOSITORY = ModelRepository()
TENSORRT = pytest.mark.skipif(
    not any(importlib.util.find_spec(name) for name in ("tensorrt", "tensorrt_rtx_bindings")),
    reason=f"neither TensorRT nor TensorRT-RTX is installed: pip install {tensorrt_build.RTX_PINS}",
)


def tiny_network(weight: float = 0.5) -> onnx.ModelProto:
    """UINT8 NHWC, transposed before it is cast, as the exporter of PyTorch writes it."""
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["IMAGES"], ["planar"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["planar"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["float", "w"], ["conv"], kernel_shape=[1, 1]),
            helper.make_node("Relu", ["conv"], ["LOGIT"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("IMAGES", TensorProto.UINT8, ["n", 4, 4, 3])],
        [helper.make_tensor_value_info("LOGIT", TensorProto.FLOAT, ["n", 1, 4, 4])],
        [numpy_helper.from_array(np.full((1, 3, 1, 1), weight, np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, pixels: np.ndarray, folder: Path) -> np.ndarray:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return np.asarray(session(path).run(["LOGIT"], {"IMAGES": pixels})[0])


def test_half_keeps_inputs_and_outputs_and_computes_in_fp16(tmp_path: Path) -> None:
    half = to_half(cast_first(tiny_network()))
    assert half.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert {tensor.data_type for tensor in half.graph.initializer} == {TensorProto.FLOAT16}
    pixels = np.full((2, 4, 4, 3), 200, np.uint8)
    assert np.array_equal(run(half, pixels, tmp_path), np.full((2, 1, 4, 4), 300, np.float32))


def test_half_refuses_a_weight_that_fp16_cannot_hold() -> None:
    with pytest.raises(ValueError, match="FP16 cannot hold"):
        to_half(tiny_network(weight=70_000.0))


def test_cast_first_moves_the_cast_and_changes_no_value(tmp_path: Path) -> None:
    before, after = tiny_network(), cast_first(tiny_network())
    assert [node.op_type for node in after.graph.node][:2] == ["Cast", "Transpose"]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    assert np.array_equal(run(before, pixels, tmp_path), run(after, pixels, tmp_path))


def test_rounding_to_eleven_bits_is_that_of_numpy(tmp_path: Path) -> None:
    model = cast_first(tiny_network(weight=float(np.float16(0.1))))
    pixels = np.random.default_rng(1).integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    exact = run(model, pixels, tmp_path)
    rounded = run(rounded_like_half(model), pixels, tmp_path)
    assert np.array_equal(rounded, exact.astype(np.float16).astype(np.float32))
    assert not np.array_equal(rounded, exact)


@pytest.mark.parametrize("model", ["face_detector", "frame_cnn"])
def test_each_precision_of_the_shipped_networks_stays_near_fp32(model: str, tmp_path: Path) -> None:
    pictures = pictures_for(REPOSITORY, model, [data.astronaut()])
    card, full = REPOSITORY.card(model), REPOSITORY.folder(model) / "model.onnx"
    for precision, share in (("fp16", 0.02), ("int8", 0.6)):
        graph = make_graph(REPOSITORY, model, REPOSITORY.latest(model), precision, pictures, tmp_path)  # type: ignore[arg-type]
        compared = compare(card, full, graph, pictures, tmp_path)
        assert compared.outputs["RECORD"].max_abs == 0
        main = compared.outputs["LOGIT" if model == "frame_cnn" else "HEATMAP"]
        assert 0 < main.max_abs < share * max(1.0, main.largest_value)


def test_the_last_convolutions_stay_out_of_int8() -> None:
    assert last_convolutions(cast_first(onnx.load(REPOSITORY.folder("face_detector") / "model.onnx")))
    model = cast_first(tiny_network())
    assert last_convolutions(model) == [node.name for node in model.graph.node if node.op_type == "Conv"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelRepository]:
    """A repository with the face detector, copied so that a test may change it, and its FP16 engine."""
    root = tmp_path_factory.mktemp("models")
    folder = root / "face_detector"
    (folder / "1").mkdir(parents=True)
    shutil.copy2(REPOSITORY.root / "face_detector" / "card.yaml", folder)
    for file in ("model.onnx", "record.json", "weights.safetensors"):
        shutil.copy2(REPOSITORY.folder("face_detector") / file, folder / "1")
    repository = ModelRepository(root)
    out = tmp_path_factory.mktemp("engines")
    pictures = pictures_for(repository, "face_detector", [data.astronaut()])
    engines.build(repository, "face_detector", "fp16", out, tensorrt_build.find_tensorrt(), pictures)
    return engines.engine_path(out, "face_detector", "fp16"), repository


@TENSORRT
def test_an_engine_is_built_with_a_manifest_that_fits(built: tuple[Path, ModelRepository]) -> None:
    engine, repository = built
    tensorrt = tensorrt_build.find_tensorrt()
    manifest = check_manifest(engine, repository, Host(tensorrt.flavour, tensorrt.version))
    assert manifest.engine_bytes == engine.stat().st_size > 1_000_000
    assert manifest.tensorrt_version == tensorrt.version
    assert manifest.compute_capabilities == tensorrt_build.targets(tensorrt)
    assert manifest.optimisation_profile == repository.card("face_detector").engine_shapes


@TENSORRT
def test_every_difference_is_named_with_the_command_that_rebuilds(
    built: tuple[Path, ModelRepository], tmp_path: Path
) -> None:
    engine, repository = built
    flavour = tensorrt_build.find_tensorrt().flavour
    host = Host(flavour, "0.0.1", Gpu("a card of tomorrow", "SM999"))
    assert [m.reason for m in mismatches(engine, repository, host)] == [
        Reason.TENSORRT_VERSION,
        Reason.COMPUTE_CAPABILITY,
    ]
    other = "tensorrt" if flavour == "tensorrt-rtx" else "tensorrt-rtx"
    assert [m.reason for m in mismatches(engine, repository, Host(other))] == [Reason.FLAVOUR]  # type: ignore[arg-type]
    copy = tmp_path / engine.name
    shutil.copy2(engine, copy)
    assert [m.reason for m in mismatches(copy, repository, Host())] == [Reason.NO_MANIFEST]
    shutil.copy2(manifest_path(engine), manifest_path(copy))
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    with pytest.raises(InstallationError, match="engine_changed") as caught:
        check_manifest(copy, repository, Host())
    assert "python -m export.engines face_detector --precision fp16" in caught.value.remedy


@TENSORRT
def test_a_changed_network_or_profile_makes_its_engine_stale(
    built: tuple[Path, ModelRepository], tmp_path: Path
) -> None:
    engine, repository = built
    root = tmp_path / "models"
    shutil.copytree(repository.root, root)
    onnx_file = root / "face_detector" / "1" / "model.onnx"
    onnx_file.write_bytes(onnx_file.read_bytes() + b"\0")
    card = root / "face_detector" / "card.yaml"
    card.write_text(card.read_text().replace("1280, 1280", "640, 640"))
    found = {m.reason for m in mismatches(engine, ModelRepository(root), Host())}
    assert found == {Reason.ONNX_CHANGED, Reason.PROFILE_CHANGED}


def test_a_missing_engine_is_named_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(InstallationError, match="no_engine") as caught:
        check_manifest(tmp_path / "frame_cnn-int8.engine", REPOSITORY, Host())
    assert caught.value.remedy.endswith("python -m export.engines frame_cnn --precision int8")


@TENSORRT
def test_tensorrt_says_in_its_own_words_why_a_graph_does_not_build() -> None:
    tensorrt = tensorrt_build.find_tensorrt()
    shape = (1, 4, 4, 3)
    shapes = {"IMAGES": EngineShapes(minimum=shape, optimum=shape, maximum=shape)}
    with pytest.raises(InstallationError, match="UInt8"):
        tensorrt_build.build_engine(tensorrt, tiny_network().SerializeToString(), shapes)


def test_without_tensorrt_the_command_prints_the_pip_line_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(tensorrt_build.importlib, "import_module", missing)
    assert engines.main(["face_detector", "--out", str(tmp_path)]) != 0
    printed = capsys.readouterr().out
    assert "pip install -e '.[gpu]'" in printed
    assert "tensorrt-rtx-cu13-libs==" in printed
    assert not list(tmp_path.iterdir())


def test_installing_without_a_gpu_says_where_to_do_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engines, "find_gpu", lambda: None)
    with pytest.raises(InstallationError, match="no GPU") as caught:
        engines.install(REPOSITORY, "frame_cnn", tmp_path)
    assert "--install" in caught.value.remedy


@TENSORRT
def test_the_manifest_is_plain_json_with_numbers_of_the_comparison(built: tuple[Path, ModelRepository]) -> None:
    content = json.loads(manifest_path(built[0]).read_text())
    assert content["comparison"]["outputs"]["HEATMAP"]["max_abs"] > 0
    assert content["comparison"]["pictures"] == 1


@TENSORRT
def test_what_runs_engines_on_a_gpu_exists_in_the_installed_tensorrt() -> None:
    module = tensorrt_build.find_tensorrt().module
    for name, members in engine_run.TENSORRT_NAMES.items():
        assert [member for member in members if not hasattr(getattr(module, name), member)] == []
    assert module.TensorIOMode.INPUT is not None
    assert module.nptype(module.DataType.FLOAT) is np.float32


def test_an_engine_does_not_run_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine_run, "find_gpu", lambda: None)
    with pytest.raises(InstallationError, match="no GPU"):
        engine_run.EngineRunner(tmp_path / "x.engine", REPOSITORY, tensorrt_build.TensorRT(None, "tensorrt", "0"))
