"""The networks by ONNX Runtime's CUDA provider, as the profile ``onnx`` runs them, answer as on the CPU."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from skimage import data

from cards.repository import ModelRepository
from export.precision import pictures_for
from export.quantize import session

REPOSITORY = ModelRepository()


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["face_detector", "frame_cnn"])
def test_the_cuda_provider_answers_as_the_cpu_provider(model: str) -> None:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA provider: pip install onnxruntime-gpu in an environment of its own")
    path = REPOSITORY.folder(model) / "model.onnx"
    on_gpu = onnxruntime.InferenceSession(str(path), providers=["CUDAExecutionProvider"])
    assert on_gpu.get_providers()[0] == "CUDAExecutionProvider"
    batch = pictures_for(REPOSITORY, model, [data.astronaut()])[0]
    names = [tensor.name for tensor in REPOSITORY.card(model).outputs]
    answers = zip(names, on_gpu.run(names, {"IMAGES": batch}), session(path).run(names, {"IMAGES": batch}))
    for name, ours, expected in answers:
        # TF32 in convolutions: ten bits of mantissa.
        assert np.abs(ours - expected).max() <= 0.02 * max(1.0, float(np.abs(expected).max())), name
