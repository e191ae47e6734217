"""Every network of the registry, exported: the same answers as PyTorch, weights that agree, a card that fits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.external_data_helper import uses_external_data
from safetensors.numpy import load_file
from torch import nn

from cards import ModelRepository
from cards.record import DataSource
from deepscan_client.errors import InstallationError
from export import onnx_export, provenance
from export.generate import outdated
from export.graph import expanded
from export.networks import INPUTS, example_arrays, folded, outputs_of, read_folded, served_form
from export.onnx_export import export_model
from export.provenance import without_paths
from export.quantize import session
from export.record import WEIGHTS
from export.templates import add_card, card_text, model_name
from export.torch_graph import check_outputs
from pipelines.infer import Call, digest_hex
from pipelines.onnx_infer import OnnxInfer, load_network
from training.models.registry import NETWORKS, Network
from training.settings import Settings

torch.set_num_threads(1)
OUTPUTS = ("LOGIT", "EMBEDDING", "CAM", "RECORD")


def trained(entry: Network, seed: int = 1) -> nn.Module:
    """Stands for a trained network: batch norms, biases and heads are not trivial."""
    torch.manual_seed(seed)
    model = entry.empty()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.6, 1.4)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.1, 0.3)
    for name, buffer in model.named_buffers():
        if name == "spread":
            nn.init.constant_(buffer, 0.3)
    return model.eval()


def checkpoint_of(entry: Network, folder: Path, **settings: Any) -> Path:
    path = folder / "model.pt"
    content = {"state": trained(entry).state_dict(), "network": entry.name, "settings": json.dumps(settings)}
    torch.save(content, path)
    return path


@pytest.mark.parametrize("entry", NETWORKS.values(), ids=lambda e: e.name)
def test_folding_changes_no_answer_and_leaves_no_batch_norm(entry: Network) -> None:
    model = trained(entry)
    result = folded(model, entry.example())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in result.modules())
    inputs = entry.example(2)
    with torch.inference_mode():
        for before, after in zip(model(*inputs), result(*inputs), strict=True):
            torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-3)


def test_a_network_whose_layers_run_in_another_order_is_not_folded(caplog: pytest.LogCaptureFixture) -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> Any:
            return replace_output(self.conv(torch.relu(self.norm(x))))

    model = Crossed().eval()
    nn.init.constant_(model.norm.bias, 0.5)
    x = torch.randn(2, 3, 8, 8)
    result = folded(model, (x,))
    assert any(isinstance(module, nn.BatchNorm2d) for module in result.modules())
    assert "not folded" in caplog.text


def replace_output(x: torch.Tensor) -> Any:
    from training.models.output import Output

    return Output(x.mean(dim=(1, 2, 3))[:, None], x.flatten(1), x[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize("entry", NETWORKS.values(), ids=lambda e: e.name)
def test_a_checkpoint_becomes_a_version_that_answers_like_pytorch(entry: Network, tmp_path: Path) -> None:
    """Card, graph, weights and record of one export, run as the ``cpu`` profile and the inference engine run it."""
    models = tmp_path / "models"
    models.mkdir()
    checkpoint = checkpoint_of(entry, tmp_path, size=64) if entry.takes == "clip" else checkpoint_of(entry, tmp_path)
    folder = export_model(entry.name, checkpoint, models, cache=tmp_path / "none")
    assert folder == models / entry.name / "1"
    repository = ModelRepository(models)
    repository.verify(entry.name)
    assert outdated(repository) == []
    assert {f.name for f in folder.iterdir()} == {"model.onnx", "weights.safetensors", "record.json", "model.py"}
    record, card = repository.record(entry.name), repository.card(entry.name)
    assert max(record.parity.values()) < 2e-3
    assert {key.rsplit("_", 1)[1] for key in record.parity} == {"1", "5"}
    assert record.commercial is False, "nobody said what it was trained on"
    assert record.precisions == {}
    content = (folder / "model.onnx").read_bytes()
    for trace in (b"site-packages", b"/work/", b"/home/", str(tmp_path).encode()):
        assert trace not in content
    size = card.preprocessing.size if card.preprocessing else entry.size
    arrays = example_arrays(entry, size, 3, seed=8)
    # The safetensors file alone, read back into PyTorch, gives the graph's answers.
    again = served_form(entry, read_folded(folder / "weights.safetensors", entry.name), card.preprocessing)
    infer = OnnxInfer(repository)
    for count in (3, 2):
        some = {name: value[:count] for name, value in arrays.items()}
        (answer,) = infer.run([Call(entry.name, some, (*outputs_of(entry), "RECORD"))])
        with torch.inference_mode():
            expected = again(*(torch.from_numpy(value) for value in some.values()))
        for name, truth in zip(outputs_of(entry), expected, strict=True):
            np.testing.assert_allclose(answer[name], truth.numpy(), rtol=2e-3, atol=2e-3)
        assert {digest_hex(row) for row in answer["RECORD"]} == {record.weights_sha256}
    assert record.weights_sha256 == hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    assert {value.dtype for value in load_file(str(folder / "weights.safetensors")).values()} == {np.dtype(np.float16)}
    if "MASK" in arrays and entry.takes != "audio":  # a window is zero behind its mask (test_voice.py)
        hidden = dict(arrays)
        (data,) = (name for name in arrays if name != "MASK")
        gone = arrays["MASK"].reshape(*arrays["MASK"].shape, *[1] * (arrays[data].ndim - 2)) == 0
        hidden[data] = np.where(gone, np.array(7, arrays[data].dtype), arrays[data])
        (masked,) = infer.run([Call(entry.name, hidden, OUTPUTS)])
        (plain,) = infer.run([Call(entry.name, arrays, OUTPUTS)])
        np.testing.assert_array_equal(masked["LOGIT"], plain["LOGIT"])
    infer.close()


@pytest.mark.parametrize("entry", NETWORKS.values(), ids=lambda e: e.name)
def test_each_card_fits_its_network(entry: Network, tmp_path: Path) -> None:
    assert add_card(tmp_path, entry, entry.empty())
    card = ModelRepository(tmp_path).card(entry.name)
    assert card.family == entry.family
    assert tuple(tensor.name for tensor in card.inputs) == INPUTS[entry.takes]
    assert tuple(tensor.name for tensor in card.outputs) == (*outputs_of(entry), "RECORD")
    arrays = example_arrays(entry, entry.size, 1)
    assert {t.name: t.shape for t in card.inputs} == {name: value.shape[1:] for name, value in arrays.items()}
    for tensor in card.inputs:
        assert card.engine_shapes[tensor.name].optimum[1:] == tensor.shape
        assert card.engine_shapes[tensor.name].maximum[0] == card.max_batch_size


def test_a_card_that_is_there_is_not_touched_and_another_size_is_filled_in(tmp_path: Path) -> None:
    entry = NETWORKS["mobile_cnn"]
    path = tmp_path / "mobile_cnn" / "card.yaml"
    assert add_card(tmp_path, entry, entry.empty(), size=96, margin=1.5)
    card = ModelRepository(tmp_path).card("mobile_cnn")
    assert card.preprocessing is not None
    assert (card.preprocessing.size, card.preprocessing.margin) == (96, 1.5)
    assert {t.name: t.shape for t in card.outputs}["CAM"] == (3, 3)
    path.write_text(path.read_text() + "# mine\n")
    assert not add_card(tmp_path, entry, entry.empty())
    assert path.read_text().endswith("# mine\n")


def test_the_shipped_card_of_frame_cnn_is_its_template() -> None:
    text = (ModelRepository().root / "frame_cnn" / "card.yaml").read_text()
    card = ModelRepository().card("frame_cnn")
    assert card.preprocessing is not None
    entry = NETWORKS["frame_cnn"]
    made = card_text(entry, entry.empty(), card.preprocessing.size, card.preprocessing.margin)
    assert {line for line in made.splitlines() if "CAM" not in line} <= set(text.splitlines())


def test_a_card_of_other_sizes_is_refused_by_name(tmp_path: Path) -> None:
    entry = replace(NETWORKS["sequence_rnn"], size=24)
    model = NETWORKS["sequence_rnn"].empty()
    add_card(tmp_path, NETWORKS["sequence_rnn"], model)
    card = ModelRepository(tmp_path).card("sequence_rnn")
    names = INPUTS["embeddings"]
    shape = [1, entry.frames]
    nodes = [onnx.helper.make_node("ReduceMax", ["MASK"], [name], keepdims=1) for name in OUTPUTS]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in OUTPUTS]
    inputs = [
        onnx.helper.make_tensor_value_info(names[0], onnx.TensorProto.FLOAT, [*shape, 24]),
        onnx.helper.make_tensor_value_info(names[1], onnx.TensorProto.FLOAT, shape),
    ]
    graph = onnx.helper.make_graph(nodes, "wrong", inputs, values)
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10),
        tmp_path / "wrong.onnx",
    )
    with pytest.raises(ValueError, match="the card of sequence_rnn says"):
        check_outputs(card, tmp_path / "wrong.onnx", example_arrays(entry, 24, 1))


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(NETWORKS["mobile_cnn"], tmp_path)
    with pytest.raises(ValueError, match="holds mobile_cnn, not sequence_rnn"):
        export_model("sequence_rnn", checkpoint, tmp_path)
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_record_names_no_path_of_a_machine() -> None:
    told = {"start": "/somewhere/runs/first", "list": ["/a/b", "c/d"], "n": 3}
    assert without_paths(told) == {"start": "first", "list": ["b", "c/d"], "n": 3}


def test_names_of_timm_become_names_of_models() -> None:
    assert model_name(replace(NETWORKS["frame_cnn"], name="timm/resnet18.a1_in1k")) == "timm_resnet18_a1_in1k"


def test_the_command_exports_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, NDArray[Any] | Any] = {}

    def seen(*arguments: Any, **named: Any) -> Path:
        asked["arguments"], asked["named"] = arguments, named
        return tmp_path

    monkeypatch.setattr(onnx_export, "export_model", seen)
    assert onnx_export.main(["hybrid", "--checkpoint", "a.pt", "--models", "m", "--no-int8"]) == 0
    assert asked["arguments"] == ("hybrid", Path("a.pt"), Path("m"), Path(".cache"), 1, False)
    assert asked["named"] == {"compact": False}


@pytest.mark.parametrize("name", ["denoising_autoencoder", "sequence_gru"])
def test_a_compact_graph_is_smaller_and_answers_the_same(name: str, tmp_path: Path) -> None:
    entry, files = NETWORKS[name], {}
    for compact in (False, True):
        models = tmp_path / str(compact)
        models.mkdir()
        folder = export_model(name, checkpoint_of(entry, tmp_path), models, tmp_path / "none", compact=compact)
        ModelRepository(models).verify(name)
        files[compact] = folder / "model.onnx"
    assert files[True].stat().st_size < 0.35 * files[False].stat().st_size
    arrays = example_arrays(entry, entry.size, 3)
    outputs = list(outputs_of(entry))
    for one, two in zip(*(session(files[c]).run(outputs, arrays) for c in (False, True)), strict=True):
        np.testing.assert_array_equal(one, two)
    full = onnx.load(files[False])
    again = {tensor.name: tensor for tensor in expanded(onnx.load(files[True])).graph.initializer}
    assert len(again) == len(full.graph.initializer)
    for tensor in full.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), numpy_helper.to_array(again[tensor.name]))
    assert len(expanded(onnx.load(files[True])).graph.node) == len(full.graph.node)
    shared = [t for t in onnx.load(files[True], load_external_data=False).graph.initializer if uses_external_data(t)]
    assert shared, "the graph refers to weights.safetensors"
    (files[True].parent / WEIGHTS).unlink()
    with pytest.raises(InstallationError, match=WEIGHTS):
        load_network(ModelRepository(files[True].parents[2]), name)


def test_a_run_of_training_train_tells_its_settings_and_the_photos_that_it_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network's name in its checkpoint too: a record without sources would look like free weights of nobody."""
    state: dict[str, Any] = {"network": "mobile_cnn", "step": 40, "spent": 120.0}
    state["settings"] = json.dumps(asdict(Settings(network="mobile_cnn", start="/some/where/main1/last.pt")))
    torch.save(state, tmp_path / "last.pt")
    seen = DataSource(source="mebeauty", label="real", items=3, licence="free", commercial=True)
    monkeypatch.setattr(provenance, "data_sources", lambda cache, checkpoint: (seen,))
    told = provenance.told_of(tmp_path / "last.pt", state, tmp_path)
    assert told["trained_on"] == (seen,)
    assert told["commercial"] is True
    assert (told["training"]["steps"], told["training"]["start"]) == (40, "main1")
