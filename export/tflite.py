"""Read a TensorFlow Lite file and write its network as ONNX nodes, for the few operators that landmark networks have.

A ``.tflite`` file is a FlatBuffers table; the field numbers below are those of TensorFlow's public ``schema.fbs``.
TensorFlow keeps channels last, ONNX first, so kernels, slopes and paddings are turned on the way. Everything else than
a plain floating-point network is refused by name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Floats = npt.NDArray[np.float32]

_FLOAT, _INT = 0, 2
_KINDS = {
    0: "ADD",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    17: "MAX_POOL_2D",
    22: "RESHAPE",
    34: "PAD",
    54: "PRELU",
}
_ONNX = {
    "ADD": "Add",
    "CONV_2D": "Conv",
    "DEPTHWISE_CONV_2D": "Conv",
    "MAX_POOL_2D": "MaxPool",
    "PAD": "Pad",
    "PRELU": "PRelu",
    "RESHAPE": "Flatten",
}
_SAME = 0
_ACTIVATION = {"ADD": 0, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "MAX_POOL_2D": 5}
"""Operator: the field of its options that holds a fused activation."""


class _Table:
    """One FlatBuffers table: a position in the file, and fields found through its table of offsets."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._at = data, position
        self._offsets = position - self._read("<i", position)

    def _read(self, form: str, at: int) -> int:
        return int(struct.unpack_from(form, self._data, at)[0])

    def _field(self, number: int) -> int | None:
        place = 4 + 2 * number
        if place >= self._read("<H", self._offsets):
            return None
        offset = self._read("<H", self._offsets + place)
        return self._at + offset if offset else None

    def number(self, field: int, form: str, default: int = 0) -> int:
        """A whole number of a ``struct`` format."""
        at = self._field(field)
        return default if at is None else self._read(form, at)

    def table(self, field: int) -> _Table:
        """The table that a field points at."""
        at = self._field(field)
        if at is None:
            raise ValueError(f"field {field} is missing")
        return _Table(self._data, at + self._read("<I", at))

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._field(field)
        if at is None:
            return 0, 0
        start = at + self._read("<I", at)
        return start + 4, self._read("<I", start)

    def tables(self, field: int) -> list[_Table]:
        """A vector of tables."""
        start, count = self._vector(field)
        return [_Table(self._data, at + self._read("<I", at)) for at in range(start, start + 4 * count, 4)]

    def integers(self, field: int) -> list[int]:
        """A vector of 32-bit integers."""
        start, count = self._vector(field)
        return [self._read("<i", at) for at in range(start, start + 4 * count, 4)]

    def bytes(self, field: int) -> bytes:
        """A vector of bytes."""
        start, count = self._vector(field)
        return self._data[start : start + count]


@dataclass(frozen=True)
class Operator:
    """One step of the network; ``inputs`` and ``outputs`` are numbers of tensors."""

    kind: str
    inputs: list[int]
    outputs: list[int]
    options: _Table | None


@dataclass(frozen=True)
class LiteNetwork:
    """A network as it stands in the file."""

    shapes: list[list[int]]
    """Of every tensor, channels last."""
    constants: dict[int, npt.NDArray[Any]]
    operators: list[Operator]
    inputs: list[int]
    outputs: list[int]


def read_lite(data: bytes) -> LiteNetwork:
    """Parse a file.

    Raises:
        ValueError: an operator or a type that is not among the known ones.
    """
    model = _Table(data, struct.unpack_from("<I", data)[0])
    codes = [max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)]
    (graph,) = model.tables(2)
    buffers = model.tables(4)
    shapes: list[list[int]] = []
    constants: dict[int, npt.NDArray[Any]] = {}
    for number, tensor in enumerate(graph.tables(0)):
        shapes.append(tensor.integers(0))
        content = buffers[tensor.number(2, "<I")].bytes(0)
        kind = tensor.number(1, "<b")
        if kind not in (_FLOAT, _INT):
            raise ValueError(f"tensor {number} has type {kind}, only float32 and int32 are known")
        if content:
            dtype = np.float32 if kind == _FLOAT else np.int32
            constants[number] = np.frombuffer(content, dtype).reshape(shapes[-1])
    operators = []
    for step in graph.tables(3):
        code = codes[step.number(0, "<I")]
        if code not in _KINDS:
            raise ValueError(f"operator {code} is not known")
        options = step.table(4) if step.number(3, "<B") else None
        operators.append(Operator(_KINDS[code], step.integers(1), step.integers(2), options))
    return LiteNetwork(shapes, constants, operators, graph.integers(1), graph.integers(2))


class LiteGraph:
    """The network's steps as ONNX nodes over NCHW values.

    Args:
        network: with one input, a picture.
        source: the name of the NCHW value that is this picture.

    Raises:
        ValueError: a step that has no equal here.

    Attributes:
        nodes: in order; names: value of each tensor's number; integers: constants of whole numbers; weights: by name.
    """

    def __init__(self, network: LiteNetwork, source: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.integers: list[onnx.TensorProto] = []
        self.weights: dict[str, Floats] = {}
        self.names = {network.inputs[0]: source}
        self._network = network
        for place, step in enumerate(network.operators):
            self._add(f"s{place}", step)

    def _add(self, name: str, step: Operator) -> None:
        constants, shapes = self._network.constants, self._network.shapes
        if step.kind in _ACTIVATION and step.options is not None and step.options.number(_ACTIVATION[step.kind], "<b"):
            raise ValueError(f"{name} has a fused activation")
        inputs = [self.names[tensor] for tensor in step.inputs if tensor not in constants]
        fixed = [constants[tensor] for tensor in step.inputs if tensor in constants]
        attributes: dict[str, Any] = {}
        if step.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            deep = step.kind == "DEPTHWISE_CONV_2D"
            # Channels last: [outputs, h, w, inputs], and [1, h, w, channels] for one filter a channel.
            kernel = np.transpose(fixed[0], (3, 0, 1, 2) if deep else (0, 3, 1, 2))
            inputs += [self._weight(f"{name}.weight", kernel), self._weight(f"{name}.bias", fixed[1])]
            attributes = self._window(step, fixed[0].shape[1], fixed[0].shape[2])
            attributes["group"] = shapes[step.inputs[0]][3] if deep else 1
        elif step.kind == "PRELU":
            inputs.append(self._weight(f"{name}.slope", fixed[0].reshape(-1, 1, 1)))
        elif step.kind == "PAD":
            pads = fixed[0][[0, 3, 1, 2]].T.reshape(-1).astype(np.int64)
            self.integers.append(numpy_helper.from_array(pads, f"{name}.pads"))
            inputs.append(f"{name}.pads")
        elif step.kind == "MAX_POOL_2D":
            assert step.options is not None
            attributes = self._window(step, step.options.number(4, "<i"), step.options.number(3, "<i"))
            attributes["kernel_shape"] = [step.options.number(4, "<i"), step.options.number(3, "<i")]
        elif step.kind == "RESHAPE" and shapes[step.inputs[0]][1:3] != [1, 1]:
            raise ValueError(f"{name} reshapes a map: its channels would change their order")
        output = f"v{step.outputs[0]}"
        self.names[step.outputs[0]] = output
        self.nodes.append(helper.make_node(_ONNX[step.kind], inputs, [output], name=name, **attributes))

    def _weight(self, name: str, values: npt.NDArray[Any]) -> str:
        self.weights[name] = np.ascontiguousarray(values, dtype=np.float32)
        return name

    def _window(self, step: Operator, height: int, width: int) -> dict[str, Any]:
        """Strides and padding of a step; "SAME" puts the odd row or column of padding behind, which ONNX names."""
        assert step.options is not None
        strides = [step.options.number(2, "<i", 1), step.options.number(1, "<i", 1)]
        dilated = {"CONV_2D": (4, 5), "DEPTHWISE_CONV_2D": (5, 6)}.get(step.kind, ())
        if any(step.options.number(field, "<i", 1) != 1 for field in dilated):
            raise ValueError("dilated convolutions are not known")
        pads = [0, 0, 0, 0]
        if step.options.number(0, "<b") == _SAME:
            for axis, (size, stride) in enumerate(zip((height, width), strides, strict=True)):
                length = self._network.shapes[step.inputs[0]][1 + axis]
                total = max((-(-length // stride) - 1) * stride + size - length, 0)
                pads[axis], pads[axis + 2] = total // 2, total - total // 2
        return {"strides": strides, "pads": pads}
