"""Networks in this process: outputs that cost extra are computed only for those who want them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client.errors import InstallationError
from pipelines import onnx_infer
from pipelines.onnx_infer import OnnxNetwork, load_network

REPOSITORY = ModelRepository()
CROPS = np.random.default_rng(3).integers(0, 256, (2, 160, 160, 3)).astype(np.uint8)


def test_optional_outputs_do_not_change_the_others() -> None:
    network = load_network(REPOSITORY, "frame_cnn")
    lean = network.run({"IMAGES": CROPS}, ["LOGIT", "EMBEDDING"])
    whole = network.run({"IMAGES": CROPS}, ["LOGIT", "EMBEDDING", "CAM"])
    assert whole["CAM"].shape == (2, 20, 20)
    for name, values in lean.items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-4, atol=1e-4)


def test_the_whole_graph_is_loaded_when_it_is_first_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = OnnxNetwork._load
    monkeypatch.setattr(OnnxNetwork, "_load", lambda self, model: loaded.append(type(model)) or load(self, model))
    network = load_network(REPOSITORY, "frame_cnn")
    network.run({"IMAGES": CROPS}, ["LOGIT"])
    assert loaded == [bytes]
    for _ in range(2):
        network.run({"IMAGES": CROPS}, ["CAM"])
    assert loaded == [bytes, str]


def test_a_network_without_optional_outputs_does_not_import_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError("the graph was cut")

    monkeypatch.setattr(onnx_infer, "_without_optional", never)
    answer = load_network(REPOSITORY, "portrait_cnn").run({"IMAGES": CROPS[:, :128, :128]}, ["LOGIT"])
    assert answer["LOGIT"].shape == (2, 1)


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(b"no graph")
    for name in ("frame_cnn", "blend_cnn"):
        with pytest.raises(InstallationError, match=f"deepscan export {name}"):
            OnnxNetwork(REPOSITORY.card(name), damaged)


def test_a_large_batch_is_run_in_the_pieces_of_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_network(REPOSITORY, "frame_cnn")
    assert REPOSITORY.card("frame_cnn").session.together == 4
    crops = np.random.default_rng(4).integers(0, 256, (10, 160, 160, 3)).astype(np.uint8)
    ran: list[int] = []

    class Counted:
        def run(self, outputs: list[str], inputs: dict[str, Any]) -> list[Any]:
            ran.append(len(inputs["IMAGES"]))
            return list(session.run(outputs, inputs))

    session = network._lean
    monkeypatch.setattr(network, "_lean", Counted())
    answer = network.run({"IMAGES": crops}, ["LOGIT", "RECORD"])
    assert ran == [4, 4, 2]
    assert answer["RECORD"].shape == (10, 8)
    one_by_one = [network.run({"IMAGES": crop[None]}, ["LOGIT"])["LOGIT"] for crop in crops]
    np.testing.assert_allclose(answer["LOGIT"], np.concatenate(one_by_one), atol=1e-4)
