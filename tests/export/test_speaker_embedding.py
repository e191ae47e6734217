"""The converted speaker encoder against the package that it comes from."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load as load_safetensors

from cards import ModelRepository
from export import speaker_embedding
from export.graph import expanded, half_rounded
from export.speaker_embedding import SAMPLES, convert, mel_filters, read_checkpoint, source_path
from pipelines.infer import digest_hex
from pipelines.onnx_infer import load_network

GOLDEN = Path(__file__).parent / "golden"
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("resemblyzer") is None, reason="the package Resemblyzer, which carries the encoder"
)


@pytest.fixture(scope="module")
def golden() -> Any:
    """The voice that the package was asked about, in windows as the package cuts it, and what it said."""
    spec = importlib.util.spec_from_file_location("golden_speaker", GOLDEN / "speaker.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    told = json.loads((GOLDEN / "speaker.json").read_text())
    # The package centres its frames: half a frame of zeros stands before the first.
    padded = np.concatenate([np.zeros(200, np.float32), module.voice(), np.zeros(SAMPLES, np.float32)])
    windows = np.stack([padded[start : start + SAMPLES] for start in told["starts"]])
    return windows, np.array(told["embeddings"], np.float32)


def test_the_shipped_network_says_what_the_package_says(golden: Any) -> None:
    windows, expected = golden
    found = load_network(ModelRepository(), "speaker_embedding").run({"AUDIO": windows}, ["EMBEDDING"])["EMBEDDING"]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (found * expected).sum(axis=1).min() > 0.9999


def test_mel_filters_are_those_of_librosa() -> None:
    """Rows of ``librosa.filters.mel(sr=16000, n_fft=400, n_mels=40)`` of librosa 0.11."""
    filters = mel_filters()
    assert filters.shape == (40, 201)
    assert filters[0, :5].tolist() == pytest.approx([0, 0.00739021, 0.01240452, 0.00501431, 0], abs=1e-8)
    assert filters[39, 188:191].tolist() == pytest.approx([0.00145818, 0.00133667, 0.00121515], abs=1e-8)
    assert (filters.sum(axis=1) * 40).tolist() == pytest.approx([1.0] * 40, abs=0.04)  # bins are 40 Hz apart


@needs_package
def test_the_conversion_repeats_itself_and_names_its_weights(golden: Any) -> None:
    windows, expected = golden
    model, weights = convert(source_path())
    repository = ModelRepository()
    folder = repository.folder("speaker_embedding")
    shipped = expanded(onnx.load(folder / "model.onnx"))
    assert expanded(model).SerializeToString(deterministic=True) == shipped.SerializeToString(deterministic=True)
    assert weights == (folder / "weights.safetensors").read_bytes()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    embedding, record = session.run(["EMBEDDING", "RECORD"], {"AUDIO": windows[:1]})
    np.testing.assert_allclose(embedding, expected[:1], atol=1e-3)
    assert digest_hex(record[0]) == hashlib.sha256(weights).hexdigest()
    kept = load_safetensors(weights)
    given = read_checkpoint(source_path())
    assert set(kept) == set(given)
    for name, value in given.items():
        assert kept[name].dtype == np.float16
        np.testing.assert_array_equal(kept[name].astype(np.float32), half_rounded(value))


def test_silence_has_no_voice_and_a_batch_is_its_items(golden: Any) -> None:
    windows, _ = golden
    network = load_network(ModelRepository(), "speaker_embedding")
    batch = np.concatenate([windows, np.zeros((1, SAMPLES), np.float32)])
    together = network.run({"AUDIO": batch}, ["EMBEDDING", "RECORD"])
    assert np.isfinite(together["EMBEDDING"]).all()
    assert together["RECORD"].shape == (len(batch), 8)
    for place, window in enumerate(batch):
        alone = network.run({"AUDIO": window[None]}, ["EMBEDDING"])["EMBEDDING"]
        np.testing.assert_allclose(alone[0], together["EMBEDDING"][place], atol=1e-5)


@needs_package
def test_another_file_than_the_pinned_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker_embedding, "SOURCE_SHA256", "0" * 64)
    with pytest.raises(FileNotFoundError, match="sha256"):
        source_path()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker_embedding.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"Resemblyzer==0\.1\.4"):
        source_path()


def test_the_record_and_the_card_say_whose_it_is() -> None:
    repository = ModelRepository()
    repository.verify("speaker_embedding")
    record, card = repository.record("speaker_embedding"), repository.card("speaker_embedding")
    assert (record.licence, record.commercial, card.licence.name) == ("Apache-2.0", True, "Apache-2.0")
    assert "Resemble" in card.licence.attribution
    assert not card.family


def test_it_becomes_an_engine() -> None:
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT-RTX builds engines without a GPU")
    from export.tensorrt_build import build_engine, find_tensorrt

    repository = ModelRepository()
    content = (repository.folder("speaker_embedding") / "model.onnx").read_bytes()
    shapes = repository.card("speaker_embedding").engine_shapes
    assert len(build_engine(find_tensorrt(), content, shapes)) > 1_000_000
