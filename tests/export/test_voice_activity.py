"""The converted voice activity detector answers as the package's own graph does, frame by frame."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import onnxruntime
import pytest

from cards.repository import ModelRepository
from export.graph import expanded
from export.voice_activity import FILE, convert, read_weights, source_folder
from pipelines.infer import digest_hex

RNG = np.random.default_rng(0)
FRAMES = 40


def session(content: bytes | str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def recording(frames: int = FRAMES) -> np.ndarray:
    """Pulses at a voice's pitch through two resonances, with pauses: both answers occur."""
    time = np.arange(frames * 512) / 16000
    pulses = (np.sin(2 * np.pi * 120 * time + np.sin(2 * np.pi * 3 * time)) > 0.97).astype(np.float32)
    sound = np.convolve(pulses, np.exp(-np.arange(200) / 40) * np.cos(np.arange(200) * 0.27), mode="same")
    sound *= np.sin(2 * np.pi * 1.3 * time) > -0.3
    return (0.1 * sound + 0.001 * RNG.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="module")
def shipped() -> onnxruntime.InferenceSession:
    return session(str(ModelRepository().folder("voice_activity") / "model.onnx"))


def run(network: onnxruntime.InferenceSession, audio: np.ndarray, state: np.ndarray | None = None) -> list[np.ndarray]:
    first = np.zeros((len(audio), 2, 128), np.float32) if state is None else state
    return list(network.run(["SPEECH", "STATE_AFTER", "RECORD"], {"AUDIO": audio, "STATE": first}))


def test_every_frame_has_the_probability_of_the_package(shipped: onnxruntime.InferenceSession) -> None:
    pytest.importorskip("silero_vad.data", reason="the package that carries Silero VAD")
    package = session(str(source_folder() / "silero_vad.onnx"))
    audio = np.concatenate([np.zeros(64, np.float32), recording()])
    expected, state = [], np.zeros((2, 1, 128), np.float32)
    for frame in range(FRAMES):
        chunk = audio[None, frame * 512 : frame * 512 + 576]
        probability, state = package.run(None, {"input": chunk, "state": state, "sr": np.array(16000)})
        expected.append(float(probability[0, 0]))
    speech, after, _ = run(shipped, audio[None])
    np.testing.assert_allclose(speech[0], expected, atol=1e-4)
    np.testing.assert_allclose(after[0], state[:, 0], atol=1e-3)
    assert min(expected) < 0.2
    assert max(expected) > 0.5


def test_the_state_carries_over_and_recordings_of_a_batch_are_apart(shipped: onnxruntime.InferenceSession) -> None:
    audio = np.stack([np.concatenate([np.zeros(64, np.float32), recording()]) for _ in range(3)])
    whole, end, words = run(shipped, audio)
    assert whole.shape == (3, FRAMES)
    first, state, _ = run(shipped, audio[:, : 64 + 15 * 512])
    second, again, _ = run(shipped, audio[:, 15 * 512 :], state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-5)
    np.testing.assert_allclose(again, end, atol=1e-5)
    alone, _, _ = run(shipped, audio[1:2])
    np.testing.assert_allclose(alone[0], whole[1], atol=1e-5)
    assert {digest_hex(row) for row in words} == {ModelRepository().record("voice_activity").weights_sha256}


def test_the_shipped_files_are_what_the_converter_makes() -> None:
    pytest.importorskip("silero_vad.data", reason="the package that carries Silero VAD")
    model, weights = convert(read_weights(source_folder() / FILE))
    folder = ModelRepository().folder("voice_activity")
    assert hashlib.sha256(weights).hexdigest() == ModelRepository().record("voice_activity").weights_sha256
    shipped = expanded(onnx.load(folder / "model.onnx"))
    assert expanded(model).SerializeToString(deterministic=True) == shipped.SerializeToString(deterministic=True)
    ModelRepository().verify("voice_activity")


def test_it_becomes_an_engine() -> None:
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT-RTX builds engines without a GPU")
    from export.tensorrt_build import build_engine, find_tensorrt

    card = ModelRepository().card("voice_activity")
    content = (ModelRepository().folder("voice_activity") / "model.onnx").read_bytes()
    assert len(build_engine(find_tensorrt(), content, card.engine_shapes)) > 1_000_000
