"""Small pieces of ONNX graph surgery that both exporters of networks use.

Every network of the repository takes ``IMAGES`` UINT8 [n, h, w, 3] RGB and answers, beside its own outputs,
with ``RECORD`` INT32 [n, 8]: the sha256 of the ``weights.safetensors`` that it was built from, as eight big-endian
32-bit integers. A verdict can so name the version that really ran, in every backend.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from safetensors.numpy import save

from export.record import WEIGHTS

OPSET = 20
IR_VERSION = 10
HALF = "_half"
SMALL = 256
"""Numbers below which a tensor is not worth a cast."""


def half_rounded(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The float32 values that survive a round trip through float16 (what ``weights.safetensors`` holds)."""
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused below
        rounded = array.astype(np.float16).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ValueError("a weight does not fit into half precision")
    return rounded


def safetensors_bytes(weights: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    """Serialise weights in half precision, in the order of their names, so that equal weights give equal bytes."""
    return save({name: np.ascontiguousarray(weights[name].astype(np.float16)) for name in sorted(weights)})


def record_words(weights: bytes) -> npt.NDArray[np.int32]:
    """sha256 of a ``weights.safetensors`` file as eight big-endian int32 words, shape [8]."""
    return np.frombuffer(hashlib.sha256(weights).digest(), dtype=">i4").astype(np.int32)


def add_record_output(model: onnx.ModelProto, words: npt.NDArray[np.int32], batched: str = "IMAGES") -> None:
    """Append the output ``RECORD`` [n, 8] to the graph, where n is the first dimension of the input ``batched``."""
    if words.shape != (8,):
        raise ValueError(f"a record has 8 words, got shape {words.shape}")
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(words.reshape(1, 8), "record_words"))
    graph.initializer.append(numpy_helper.from_array(np.array([8], dtype=np.int64), "record_width"))
    graph.node.extend(
        [
            helper.make_node("Shape", [batched], ["record_batch"], name="record_batch", start=0, end=1),
            helper.make_node("Concat", ["record_batch", "record_width"], ["record_shape"], name="record_shape", axis=0),
            helper.make_node("Expand", ["record_words", "record_shape"], ["RECORD"], name="record"),
        ]
    )
    graph.output.append(helper.make_tensor_value_info("RECORD", TensorProto.INT32, ["n", 8]))


def rename_value(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename one tensor of a graph wherever it is produced, consumed or declared."""
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                if name == old:
                    names[position] = new
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.name == old:
            value.name = new
    for tensor in graph.initializer:
        if tensor.name == old:
            tensor.name = new


def places_in(weights: bytes) -> dict[bytes, tuple[int, int]]:
    """Where a safetensors file keeps each tensor: its bytes, and their offset and length in the file."""
    if not weights:
        return {}
    start = 8 + int.from_bytes(weights[:8], "little")
    spans = [each["data_offsets"] for name, each in json.loads(weights[8:start]).items() if name != "__metadata__"]
    return {weights[start + first : start + last]: (start + first, last - first) for first, last in spans}


def compacted(model: onnx.ModelProto, weights: bytes = b"") -> onnx.ModelProto:
    """The same network in less space: weights that half precision holds exactly are stored in it.

    A cast gives them back, which ONNX Runtime carries out once, when it loads the file. Answers do not change.

    Args:
        weights: the ``weights.safetensors`` that will lie beside the file. What is in it is not stored twice: the graph
            refers to it (ONNX's external data), so that the file is read together with its neighbour.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    casts, places = [], places_in(weights)
    for tensor in result.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < SMALL:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}{HALF}"))
        if tensor.raw_data in places:
            offset, length = places[tensor.raw_data]
            set_external_data(tensor, WEIGHTS, offset, length)
            tensor.ClearField("raw_data")
        casts.append(
            helper.make_node("Cast", [tensor.name], [name], name=f"{name}{HALF}_cast", to=int(TensorProto.FLOAT))
        )
    nodes = [*casts, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result


def expanded(model: onnx.ModelProto) -> onnx.ModelProto:
    """What :func:`compacted` was given: for tools that want weights as constants. Other graphs stay as they are."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    held = {tensor.name: tensor for tensor in result.graph.initializer}
    kept = []
    for node in result.graph.node:
        source = held.get(node.input[0]) if node.op_type == "Cast" and node.name.endswith(f"{HALF}_cast") else None
        if source is None:
            kept.append(node)
            continue
        source.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(source).astype(np.float32), node.output[0]))
    del result.graph.node[:]
    result.graph.node.extend(kept)
    return result


def write_bytes(path: Path, content: bytes) -> str:
    """Write a file and return its sha256 in hexadecimal."""
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
