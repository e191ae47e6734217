"""Convert the speaker encoder of Resemblyzer (Apache-2.0) into the repository's ``speaker_embedding``.

``python -m export.speaker_embedding`` writes the version folder ``model_repository/speaker_embedding/1``. The package
computes a power mel spectrogram with librosa and runs an LSTM in PyTorch; this module writes both as one ONNX graph:
the Fourier transform is a convolution with a Hann-windowed basis, so that the front end of serving cannot differ from
what the weights were trained with. The encoder is that of Wan et al., Generalized End-to-End Loss for Speaker
Verification, 2018. The checkpoint is a pickle: it is read with ``weights_only=True`` and only where its hash is the
pinned one.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.converted import write_converted
from export.graph import (
    IR_VERSION,
    OPSET,
    add_record_output,
    half_rounded,
    record_words,
    safetensors_bytes,
)

Floats = npt.NDArray[np.float32]

SOURCE_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
RATE = 16_000
WINDOW, HOP, MELS, FRAMES = 400, 160, 40, 160
SAMPLES = (FRAMES - 1) * HOP + WINDOW
"""Samples of one window: 160 frames of 25 ms, 10 ms apart, none of them padded."""
LAYERS, HIDDEN = 3, 256


def source_path() -> Path:
    """The checkpoint inside the installed package ``Resemblyzer`` (found without importing the package).

    Raises FileNotFoundError where the package is missing or carries another file than the pinned one.
    """
    spec = importlib.util.find_spec("resemblyzer")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("pretrained.pt is not here: pip install --no-deps Resemblyzer==0.1.4")
    path = Path(spec.origin).with_name("pretrained.pt")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SOURCE_SHA256:
        raise FileNotFoundError(f"pretrained.pt has sha256 {digest}, expected {SOURCE_SHA256}")
    return path


def read_checkpoint(source: Path) -> dict[str, Floats]:
    """The weights of the LSTM and of the linear layer, by the names that PyTorch gives them."""
    import torch

    state = torch.load(source, map_location="cpu", weights_only=True)["model_state"]
    return {name: value.numpy() for name, value in state.items() if name.split(".")[0] in ("lstm", "linear")}


def fourier_basis() -> Floats:
    """[402, 1, 400]: cosines and then sines of the 201 frequencies, under a periodic Hann window."""
    at = np.arange(WINDOW)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * at / WINDOW)
    angle = 2 * np.pi * np.outer(np.arange(WINDOW // 2 + 1), at) / WINDOW
    basis = np.concatenate([np.cos(angle), -np.sin(angle)]) * window
    return np.asarray(basis[:, None], dtype=np.float32)


def mel_filters() -> Floats:
    """[40, 201]: Slaney's triangles from 0 to 8,000 Hz, each of area one (librosa's default)."""
    edges = _hertz(np.linspace(_mel(0.0), _mel(RATE / 2), MELS + 2))
    bins = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None], dtype=np.float32)


_KNEE, _STEP, _GROWTH = 1000.0, 200.0 / 3.0, np.log(6.4) / 27.0


def _mel(hertz: float) -> float:
    """Slaney's scale: linear up to 1,000 Hz, logarithmic above."""
    return hertz / _STEP if hertz < _KNEE else _KNEE / _STEP + float(np.log(hertz / _KNEE)) / _GROWTH


def _hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    knee = _KNEE / _STEP
    return np.where(mels < knee, mels * _STEP, _KNEE * np.exp(_GROWTH * (np.maximum(mels, knee) - knee)))


def _gates(value: Floats) -> Floats:
    """PyTorch keeps the gates as input, forget, cell, output; ONNX wants input, output, forget, cell."""
    given, forget, cell, output = np.split(value, 4)
    return np.concatenate([given, output, forget, cell])


def convert(source: Path) -> tuple[onnx.ModelProto, bytes]:
    """Return the converted model and the bytes of its ``weights.safetensors``."""
    weights = {name: half_rounded(value) for name, value in read_checkpoint(source).items()}
    content = safetensors_bytes(weights)
    nodes, tensors = _front_end()
    nodes += _encoder(weights, tensors)
    graph = helper.make_graph(
        nodes,
        "speaker_embedding",
        [helper.make_tensor_value_info("AUDIO", TensorProto.FLOAT, ["n", SAMPLES])],
        [helper.make_tensor_value_info("EMBEDDING", TensorProto.FLOAT, ["n", HIDDEN])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="deepscan")
    model.ir_version = IR_VERSION
    add_record_output(model, record_words(content), "AUDIO")
    onnx.checker.check_model(model, full_check=True)
    return model, content


def _front_end() -> tuple[list[onnx.NodeProto], dict[str, npt.NDArray[np.generic]]]:
    """AUDIO [n, samples] to ``mel`` [frames, n, 40], power and not its logarithm, as the weights expect it."""
    tensors: dict[str, npt.NDArray[np.generic]] = {
        "channel_axis": np.array([1], np.int64),
        "fourier": fourier_basis(),
        "mel_filters": mel_filters(),
        "halves": np.array([WINDOW // 2 + 1] * 2, np.int64),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["AUDIO", "channel_axis"], ["audio"], name="audio"),
        helper.make_node("Conv", ["audio", "fourier"], ["spectrum"], name="spectrum", strides=[HOP]),
        helper.make_node("Mul", ["spectrum", "spectrum"], ["squares"], name="squares"),
        helper.make_node("Split", ["squares", "halves"], ["cosines", "sines"], name="parts", axis=1),
        helper.make_node("Add", ["cosines", "sines"], ["power"], name="power"),
        helper.make_node("MatMul", ["mel_filters", "power"], ["mel_channels"], name="mel_channels"),
        helper.make_node("Transpose", ["mel_channels"], ["mel"], name="mel", perm=[2, 0, 1]),
    ]
    return nodes, tensors


def _encoder(weights: Mapping[str, Floats], tensors: dict[str, npt.NDArray[np.generic]]) -> list[onnx.NodeProto]:
    """``mel`` to EMBEDDING [n, 256]: three LSTM layers, the last state, linear, ReLU, length one."""
    nodes = []
    value = "mel"
    for layer in range(LAYERS):
        names = [f"lstm.{kind}.{layer}" for kind in ("W", "R", "B")]
        biases = [_gates(weights[f"lstm.bias_{kind}_l{layer}"]) for kind in ("ih", "hh")]
        tensors[names[0]] = _gates(weights[f"lstm.weight_ih_l{layer}"])[None]
        tensors[names[1]] = _gates(weights[f"lstm.weight_hh_l{layer}"])[None]
        tensors[names[2]] = np.concatenate(biases)[None]
        last = layer == LAYERS - 1
        outputs = ["", "state"] if last else [f"states.{layer}"]
        nodes.append(helper.make_node("LSTM", [value, *names], outputs, name=f"lstm.{layer}", hidden_size=HIDDEN))
        if not last:
            value = f"sequence.{layer}"
            nodes.append(helper.make_node("Squeeze", [outputs[0], "channel_axis"], [value], name=value))
    tensors["direction_axis"] = np.array([0], np.int64)
    tensors["linear.weight"], tensors["linear.bias"] = weights["linear.weight"], weights["linear.bias"]
    tensors["least"] = np.array(1e-6, np.float32)  # silence has no direction: zeros, not NaN
    tensors["width_axis"] = np.array([1], np.int64)
    return [
        *nodes,
        helper.make_node("Squeeze", ["state", "direction_axis"], ["last"], name="last"),
        helper.make_node("Gemm", ["last", "linear.weight", "linear.bias"], ["line"], name="line", transB=1),
        helper.make_node("Relu", ["line"], ["raw"], name="raw"),
        helper.make_node("ReduceL2", ["raw", "width_axis"], ["length"], name="length", keepdims=1),
        helper.make_node("Max", ["length", "least"], ["divisor"], name="divisor"),
        helper.make_node("Div", ["raw", "divisor"], ["EMBEDDING"], name="embedding"),
    ]


def main(target: Path = Path("model_repository/speaker_embedding/1")) -> None:
    """Write ``model.onnx``, ``weights.safetensors`` and ``record.json`` into the version folder ``target``."""
    model, weights = convert(source_path())
    write_converted(
        target,
        model,
        weights,
        origin="Resemblyzer 0.1.4 (pretrained.pt), converted by export/speaker_embedding.py",
        licence="Apache-2.0",
    )


if __name__ == "__main__":
    main()
