"""What a client sends to the stages behind the public models: junk is its own mistake, and no defect is logged.

The stages run here on a stand-in for Triton's module, which exists only inside the server.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client.errors import find_error
from pipelines.image.probe import probe_image


class Stage:
    """Models of the repository, asked as Triton asks them.

    Attributes:
        logged: what they wrote into the server's log.
    """

    def __init__(self) -> None:
        self.logged: list[str] = []
        self.utils = types.ModuleType("triton_python_backend_utils")
        self.utils.__dict__.update(
            Tensor=lambda name, values: types.SimpleNamespace(name=name, as_numpy=lambda: values),
            InferenceResponse=lambda output_tensors, error=None: types.SimpleNamespace(error=error),
            TritonError=self._error,
            Logger=types.SimpleNamespace(log_error=self.logged.append),
            get_input_tensor_by_name=lambda request, name: request.inputs.get(name),
        )
        self._error.__dict__.update(INVALID_ARG=3, INTERNAL=1)

    @staticmethod
    def _error(message: str, code: int) -> tuple[str, int]:
        return message, code

    def ask(self, module: str, **inputs: Any) -> Any:
        """The error of one request; ``module`` is the name of the model too, but for ``network``."""
        made = importlib.import_module(f"pipelines.triton.{module}").TritonPythonModel()
        name = "face_detector" if module == "network" else module
        root = str(ModelRepository().root / name)
        made.initialize({"model_repository": root, "model_name": name, "model_version": "1", "model_config": "{}"})
        tensors = {key: self.utils.Tensor(key, value) for key, value in inputs.items()}
        request = types.SimpleNamespace(inputs=tensors, requested_output_names=lambda: ["HEATMAP"])
        (response,) = made.execute([request])
        return response.error


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage()
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", made.utils)
    before = set(sys.modules)
    yield made
    for name in set(sys.modules) - before:
        if name.startswith("pipelines.triton"):
            del sys.modules[name]


def text(value: str) -> Any:
    return np.array([value.encode()], dtype=np.object_)


def info() -> str:
    import io

    from PIL import Image

    Image.new("RGB", (40, 40)).save(stream := io.BytesIO(), "png")
    return str(probe_image(stream.getvalue()).info.model_dump_json())


PIXELS = np.zeros((1, 40, 40, 3), np.uint8)


@pytest.mark.parametrize(
    ("module", "inputs", "named"),
    [
        ("image_faces", {"PIXELS": PIXELS, "INFO": text("junk")}, "INFO"),
        ("image_faces", {"PIXELS": PIXELS, "INFO": text("{}")}, "INFO"),
        ("image_faces", {"PIXELS": PIXELS[:, :0], "INFO": text(info())}, "PIXELS"),
        ("image_verdict", {"INFO": text("[1]"), "EVIDENCE": text("{}")}, "INFO"),
        ("image_verdict", {"INFO": text(info()), "EVIDENCE": text("\0")}, "EVIDENCE"),
        ("audio_verdict", {"INFO": text("x"), "EVIDENCE": text("x")}, "INFO"),
        ("network", {"IMAGES": np.zeros((1, 7, 7, 3), np.uint8)}, "IMAGES"),
        ("network", {"IMAGES": np.zeros((1, 0, 32, 3), np.uint8)}, "IMAGES"),
    ],
)
def test_junk_is_a_bad_request(stage: Stage, module: str, inputs: dict[str, Any], named: str) -> None:
    message, code = stage.ask(module, **inputs)
    error = find_error(message)
    assert error is not None
    assert (str(error.code), code) == ("bad_request", 3), message
    assert named in error.message
    assert error.remedy
    assert stage.logged == []


def test_what_fits_is_answered_and_a_defect_stays_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stage.ask("network", IMAGES=np.zeros((1, 64, 32, 3), np.uint8)) is None
    from pipelines.onnx_infer import OnnxNetwork

    def broken(*given: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(OnnxNetwork, "run", broken)
    message, code = stage.ask("network", IMAGES=np.zeros((1, 64, 32, 3), np.uint8))
    assert (json.loads(message)["code"], code) == ("internal", 1)
    assert len(stage.logged) == 1
