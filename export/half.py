"""An FP32 ONNX graph to FP16: what a strongly typed TensorRT network needs.

Inputs and outputs keep their types (UINT8 in, FP32 out), so that a precision can be swapped without a change of
configuration. ``onnxconverter_common.float16`` was tried first: it leaves a ``Cast`` to FP32 at a UINT8 input, and
ONNX Runtime refuses the graph.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_WITH_OUTPUT_TYPE = {"Cast": "to", "RandomNormal": "dtype", "RandomUniform": "dtype", "EyeLike": "dtype"}
"""Operators that name the type of what they make, and the attribute that does."""
_LARGEST = float(np.finfo(np.float16).max)


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph that computes in FP16.

    Every FP32 weight, constant and cast becomes FP16; each FP32 output is cast back at the very end. Weights below
    the smallest FP16 number become 0, as IEEE 754 rounds them.

    Args:
        model: FP32, without subgraphs and without FP32 inputs (our networks take UINT8).

    Raises:
        ValueError: an input is FP32, a node has a subgraph, or a weight is beyond 65,504.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    for value in graph.input:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            raise ValueError(f"input {value.name} is FP32: the networks of this repository take UINT8")
    del graph.value_info[:]  # the types in it no longer hold; runtimes infer them again
    # Resize takes its region and its scales in FP32, whatever the type of the picture.
    full = {name for node in graph.node if node.op_type == "Resize" for name in list(node.input)[1:3]}
    for tensor in graph.initializer:
        if tensor.name not in full:
            _halve(tensor)
    for node in graph.node:
        if not full.intersection(node.output):
            _halve_node(node)
    for value in graph.output:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            _cast_back(graph, value.name)
    onnx.checker.check_model(half, full_check=True)
    return half


def _halve(tensor: onnx.TensorProto) -> None:
    if tensor.data_type != TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    if values.size and not np.abs(values).max() <= _LARGEST:
        raise ValueError(f"{tensor.name} holds {np.abs(values).max():g}, which FP16 cannot hold")
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))


def _halve_node(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            raise ValueError(f"node {node.name} has a subgraph")
        if attribute.type == onnx.AttributeProto.TENSOR:
            _halve(attribute.t)
        if attribute.name == _WITH_OUTPUT_TYPE.get(node.op_type) and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            raise ValueError(f"constant {node.name} is written as {attribute.name}: write it as a tensor")


def _cast_back(graph: onnx.GraphProto, name: str) -> None:
    """Let ``name`` come out of a cast to FP32; what made it makes ``name_half``."""
    inner = f"{name}_half"
    for node in graph.node:
        for names in (node.input, node.output):
            for position, used in enumerate(names):
                if used == name:
                    names[position] = inner
    graph.node.append(helper.make_node("Cast", [inner], [name], name=f"{name}_full", to=TensorProto.FLOAT))


def rounded_like_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """An FP32 graph whose every intermediate value is rounded to the 11 significant bits of FP16.

    ONNX Runtime's CPU provider computes an FP16 graph in FP32 and takes out the casts between nodes, so that running
    it says nothing about precision. Here each value passes Dekker's split (1971): ``c = 8193 x; x' = c - (c - x)``,
    which no optimiser folds. Range is not simulated: FP16 ends at 65,504.
    """
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    graph = rounded.graph
    inferred = onnx.shape_inference.infer_shapes(model).graph
    floats = {
        value.name
        for value in (*inferred.value_info, *inferred.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    graph.initializer.append(numpy_helper.from_array(np.array(8193.0, np.float32), "half_split"))
    nodes = list(graph.node)
    del graph.node[:], graph.value_info[:]
    for node in nodes:
        graph.node.append(node)
        for position, name in enumerate(node.output):
            if name not in floats or node.op_type == "Constant":
                continue
            exact, big, low = f"{name}_exact", f"{name}_big", f"{name}_low"
            graph.node[-1].output[position] = exact
            graph.node.append(helper.make_node("Mul", [exact, "half_split"], [big]))
            graph.node.append(helper.make_node("Sub", [big, exact], [low]))
            graph.node.append(helper.make_node("Sub", [big, low], [name]))
    onnx.checker.check_model(rounded, full_check=True)
    return rounded


def cast_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which the UINT8 input is cast before it is transposed: TensorRT computes nothing in UINT8.

    Nodes without a name get one, so that they can be named to the quantiser.

    Raises:
        ValueError: the input is used in another way.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for place, node in enumerate(result.graph.node):
        node.name = node.name or f"{node.op_type.lower()}_{place}"
    for source in [v.name for v in result.graph.input if v.type.tensor_type.elem_type == TensorProto.UINT8]:
        for node in [n for n in result.graph.node if source in n.input]:
            if node.op_type in ("Cast", "Shape"):
                continue
            users = [n for n in result.graph.node if node.output[0] in n.input]
            if node.op_type != "Transpose" or [n.op_type for n in users] != ["Cast"]:
                raise ValueError(f"{node.op_type} {node.name} works on UINT8, which TensorRT does not do")
            cast = users[0]
            middle = f"{source}_cast"
            cast.input[0], node.input[0] = source, middle
            node.output[0], cast.output[0] = cast.output[0], middle
            order = list(result.graph.node)
            first, second = sorted((order.index(node), order.index(cast)))
            order[first], order[second] = cast, node
            del result.graph.node[:]
            result.graph.node.extend(order)
            del result.graph.value_info[:]
    onnx.checker.check_model(result, full_check=True)
    return result
