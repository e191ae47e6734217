"""The lip-sync network in ONNX against PyTorch, and the shipped one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from cards import ModelRepository
from cards.record import VersionRecord
from export.av_sync import OUTPUTS, examples, write
from pipelines.analyzers.lip_sync import NETWORK, lip_sync
from pipelines.infer import digest_hex
from pipelines.onnx_infer import OnnxInfer
from pipelines.video.lips import MEASURES, Lips
from training.models.lip_sync import LipSync
from training.sync.train import Plan

SOURCE = {"source": "somewhere", "label": "real", "items": 3, "licence": "none stated", "commercial": False}


def make_run(folder: Path, seeds: int) -> Path:
    """A run of networks that learnt nothing."""
    torch.manual_seed(0)
    state = {
        "weights": [LipSync(hidden=8).state_dict() for _ in range(seeds)],
        "settings": json.dumps({**vars(Plan(hidden=8, seeds=seeds))}),
        "own_offsets": "{}",
        "trained_on": json.dumps([SOURCE]),
    }
    torch.save(state, folder / "all.pt")
    return folder


@pytest.mark.parametrize("seeds", [1, 2])
def test_onnx_says_what_pytorch_says_at_any_batch(tmp_path: Path, seeds: int) -> None:
    target = tmp_path / NETWORK / "1"
    errors = write(make_run(tmp_path, seeds), target)
    assert max(errors.values()) < 1e-4
    session = onnxruntime.InferenceSession(target / "model.onnx", providers=["CPUExecutionProvider"])
    digest = hashlib.sha256((target / "weights.safetensors").read_bytes()).hexdigest()
    whole = session.run([*OUTPUTS, "RECORD"], examples(8))
    assert whole[0].shape == whole[1].shape == (8, 64, 32 * seeds)
    np.testing.assert_allclose(np.linalg.norm(whole[0], axis=2), 1.0, atol=1e-4)
    assert digest_hex(whole[2][0]) == digest
    for batch in (1, 3):
        part = session.run([*OUTPUTS, "RECORD"], {name: value[:batch] for name, value in examples(8).items()})
        np.testing.assert_allclose(part[0], whole[0][:batch], atol=1e-5)
        assert part[2].shape == (batch, 8)
    record = VersionRecord.model_validate_json((target / "record.json").read_text())
    assert record.weights_sha256 == digest
    assert record.commercial is False
    assert record.trained_on[0].source == "somewhere"


def test_the_shipped_network_runs_by_its_card() -> None:
    repository = ModelRepository()
    repository.verify(NETWORK)
    card, record = repository.card(NETWORK), repository.record(NETWORK)
    assert not card.family  # no detector
    assert {source.label for source in record.trained_on} == {"real"}
    assert max(record.parity.values()) < 1e-4
    rng = np.random.default_rng(0)
    lips = Lips(0.0, rng.standard_normal((200, MEASURES)).astype(np.float32), np.ones(200, bool))
    samples = (0.1 * rng.standard_normal(16_000 * 8)).astype(np.float32)
    found = lip_sync(lips, samples, np.ones(251, np.float32), OnnxInfer(repository))
    assert found is not None
    assert found.record == record.weights_sha256
    assert found.confidence < 0.3  # noise fits nowhere


def test_it_becomes_an_engine() -> None:
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT-RTX builds engines without a GPU")
    from export.tensorrt_build import build_engine, find_tensorrt

    repository = ModelRepository()
    content = (repository.folder(NETWORK) / "model.onnx").read_bytes()
    assert len(build_engine(find_tensorrt(), content, repository.card(NETWORK).engine_shapes)) > 50_000
