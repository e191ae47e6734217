"""Convert silero-vad (MIT, from the package ``silero-vad``) into the repository's ``voice_activity``.

``python -m export.voice_activity`` writes the version folder ``model_repository/voice_activity/1``. The package's
graph for streams takes one frame of 512 samples a call; ours takes any number, so that an hour is a few calls: the
transform and the encoder run over all frames as one batch, the LSTM over them as one sequence whose state goes in and
comes out. A frame is only four columns long, so its convolutions are written as products of matrices, which takes half
of the time. The batch dimension is independent recordings. The weights are those of the package's ONNX for 16 kHz (its
safetensors file holds an older training), in full precision: rounded to half they move probabilities by 0.006.
Silero Team, Silero VAD: pre-trained enterprise-grade Voice Activity Detector, 2021 to 2026.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from export.converted import write_converted
from export.graph import (
    IR_VERSION,
    OPSET,
    add_record_output,
    record_words,
)

PIN = "silero-vad==6.2.3"
FILE = "silero_vad_16k_sequence.onnx"
SOURCE_SHA256 = "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
FRAME, CONTEXT, WIDTH = 512, 64, 128
COLUMN, COLUMNS, HOP, BINS = 256, 4, 128, 129
Weights = dict[str, npt.NDArray[np.float32]]
_NAMES = {
    "stft.forward_basis_buffer": "stft.weight",
    **{f"encoder.{i}.{part}": f"conv{i + 1}.{part}" for i in range(4) for part in ("weight", "bias")},
    "onnx::LSTM_209": "lstm.input",
    "onnx::LSTM_210": "lstm.recurrent",
    "onnx::LSTM_211": "lstm.bias",
    "output.weight": "final.weight",
    "output.bias": "final.bias",
}


def source_folder() -> Path:
    """The data folder of the installed package (found without importing it, which would need torchaudio).

    Raises FileNotFoundError where the package is missing or carries other weights than the pinned ones.
    """
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{FILE} is not here: pip install --no-deps {PIN}")
    folder = Path(spec.origin).parent / "data"
    digest = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
    if digest != SOURCE_SHA256:
        raise FileNotFoundError(f"{FILE} has sha256 {digest}, expected {SOURCE_SHA256}")
    return folder


class _Graph:
    """Nodes in the order in which they are written; each named by what it gives."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, inputs: list[str], outputs: str | list[str], **attributes: Any) -> str:
        """Append a node; the name of its first output."""
        names = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(helper.make_node(kind, inputs, names, name=names[0], **attributes))
        return names[0]

    def constant(self, name: str, values: object) -> str:
        """Whole numbers that nodes take as inputs."""
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=np.int64), name))
        return name

    def cut(self, source: str, name: str, axis: int, start: int, end: int) -> str:
        """A range along one axis."""
        bounds = [self.constant(f"{name}.{key}", [value]) for key, value in (("s", start), ("e", end), ("a", axis))]
        return self.add("Slice", [source, *bounds], name)


def _columns(graph: _Graph) -> str:
    """AUDIO [b, 64 + 512 f] to the four overlapping columns of each frame, [b f 4, 256].

    A frame has the last 64 samples of the one before it in front, and 64 mirrored samples of its own behind it.
    """
    by_frame = graph.constant("by_frame", [0, -1, FRAME])
    starts = graph.cut("AUDIO", "before", 1, 0, -CONTEXT)
    starts = graph.add("Reshape", [starts, by_frame], "before_frames")
    starts = graph.cut(starts, "contexts", 2, 0, CONTEXT)
    bodies = graph.cut("AUDIO", "after", 1, CONTEXT, np.iinfo(np.int64).max)
    bodies = graph.add("Reshape", [bodies, by_frame], "bodies")
    size = CONTEXT + FRAME
    frames = graph.add("Concat", [starts, bodies], "with_context", axis=2)
    frames = graph.add("Reshape", [frames, graph.constant("flat", [-1, size])], "frames")
    mirrored = np.r_[np.arange(size), np.arange(size - 2, size - 2 - CONTEXT, -1)]
    places = np.concatenate([mirrored[start : start + COLUMN] for start in range(0, COLUMNS * HOP, HOP)])
    columns = graph.add("Gather", [frames, graph.constant("places", places)], "overlapping", axis=1)
    return graph.add("Reshape", [columns, graph.constant("by_column", [-1, COLUMN])], "columns")


def _as_matrix(kernel: npt.NDArray[np.float32], length: int, stride: int) -> npt.NDArray[np.float32]:
    """A convolution of three taps, padded by one, as a matrix.

    Args:
        kernel: [outputs, inputs, 3].
        length: columns that come in.
        stride: columns from one result to the next.

    Returns:
        [columns in x inputs, columns out x outputs].
    """
    outputs, inputs, _ = kernel.shape
    results = (length - 1) // stride + 1
    matrix = np.zeros((length, inputs, results, outputs), dtype=np.float32)
    for result in range(results):
        for tap in range(3):
            column = result * stride + tap - 1
            if 0 <= column < length:
                matrix[column, :, result] = kernel[:, :, tap].T
    return matrix.reshape(length * inputs, results * outputs)


def read_weights(source: Path) -> Weights:
    """The floating-point weights of the package's graph, by names of our own."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(source).graph.initializer}
    return {ours: found[name].astype(np.float32) for name, ours in _NAMES.items()}


def convert(weights: Weights) -> tuple[onnx.ModelProto, bytes]:
    """The graph and the bytes of its ``weights.safetensors``."""
    graph = _Graph()
    inside = {name: weights[name] for name in ("lstm.input", "lstm.recurrent", "lstm.bias", "final.bias")}
    inside["stft.matrix"] = np.ascontiguousarray(weights["stft.weight"][:, 0].T)
    inside["final.matrix"] = weights["final.weight"].reshape(WIDTH)
    waves = graph.add("MatMul", [_columns(graph), "stft.matrix"], "waves")
    parts = []
    for name, start in (("cosines", 0), ("sines", BINS)):
        part = graph.cut(waves, name, 1, start, start + BINS)
        parts.append(graph.add("Mul", [part, part], f"{name}_squared"))
    here = graph.add("Sqrt", [graph.add("Add", parts, "power")], "magnitude")
    here = graph.add("Reshape", [here, graph.constant("whole_frame", [-1, COLUMNS * BINS])], "spectrum")
    length = COLUMNS
    for number, stride in ((1, 1), (2, 2), (3, 2), (4, 1)):
        matrix, bias = _as_matrix(weights[f"conv{number}.weight"], length, stride), weights[f"conv{number}.bias"]
        length = matrix.shape[1] // len(bias)
        inside[f"conv{number}.matrix"], inside[f"conv{number}.biases"] = matrix, np.tile(bias, length)
        here = graph.add("Gemm", [here, f"conv{number}.matrix", f"conv{number}.biases"], f"conv{number}")
        here = graph.add("Relu", [here], f"relu{number}")
    # One column is left of each frame: [b f, 128] to a sequence [f, b, 128].
    batch = graph.add("Shape", ["AUDIO"], "batch", start=0, end=1)
    wide = graph.constant("wide", [-1, WIDTH])
    shape = graph.add("Concat", [batch, wide], "by_recording", axis=0)
    here = graph.add("Reshape", [here, shape], "features")
    here = graph.add("Transpose", [here], "sequence", perm=[1, 0, 2])
    state = graph.add("Transpose", ["STATE"], "state_first", perm=[1, 0, 2])
    before = [graph.cut(state, name, 0, place, place + 1) for place, name in enumerate(("hidden", "cell"))]
    lstm = ["lstm.input", "lstm.recurrent", "lstm.bias"]
    after = ["steps", "hidden_after", "cell_after"]
    graph.add("LSTM", [here, *lstm, "", *before], after, hidden_size=WIDTH)
    state = graph.add("Concat", after[1:], "state_after", axis=0)
    graph.add("Transpose", [state], "STATE_AFTER", perm=[1, 0, 2])
    here = graph.add("Squeeze", ["steps", graph.constant("direction", [1])], "one_direction")
    here = graph.add("Relu", [here], "relu5")
    here = graph.add("MatMul", [here, "final.matrix"], "scored")
    here = graph.add("Add", [here, "final.bias"], "logits")
    here = graph.add("Sigmoid", [here], "probabilities")
    graph.add("Transpose", [here], "SPEECH", perm=[1, 0])

    value = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "voice_activity",
            [value("AUDIO", TensorProto.FLOAT, ["n", "samples"]), value("STATE", TensorProto.FLOAT, ["n", 2, WIDTH])],
            [
                value("SPEECH", TensorProto.FLOAT, ["n", "frames"]),
                value("STATE_AFTER", TensorProto.FLOAT, ["n", 2, WIDTH]),
            ],
            [*graph.constants, *(numpy_helper.from_array(array, name) for name, array in inside.items())],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="deepscan",
    )
    content = save({name: np.ascontiguousarray(weights[name]) for name in sorted(weights)})
    add_record_output(model, record_words(content), batched="AUDIO")
    onnx.checker.check_model(model, full_check=True)
    return model, content


def main(target: Path = Path("model_repository/voice_activity/1")) -> None:
    """Write ``model.onnx``, ``weights.safetensors`` and ``record.json`` into the version folder ``target``."""
    model, weights = convert(read_weights(source_folder() / FILE))
    write_converted(
        target,
        model,
        weights,
        origin=f"silero-vad 6.2.3 ({FILE}), converted by export/voice_activity.py",
        licence="MIT",
    )


if __name__ == "__main__":
    main()
