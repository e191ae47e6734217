"""Engines built for this GPU answer as FP32 does in ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from cards.repository import ModelRepository
from deepscan_client.errors import InstallationError
from export import engines
from export.engine_run import EngineRunner
from export.precision import pictures_for
from export.quantize import session
from export.tensorrt_build import find_gpu, find_tensorrt, targets

REPOSITORY = ModelRepository()
SHARES = {"fp16": 0.02, "int8": 0.6}
"""Largest difference of the main output, as a share of its largest value: the same as in the CPU twin."""


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("model", ["face_detector", "frame_cnn"])
def test_an_engine_answers_as_onnx_runtime_does(model: str, precision: str, tmp_path: Path) -> None:
    try:
        tensorrt = find_tensorrt()
    except InstallationError as error:
        pytest.skip(f"{error.message}: {error.remedy}")
    gpu = find_gpu()
    assert gpu is not None
    if gpu.capability not in targets(tensorrt):
        pytest.skip(f"{tensorrt.flavour} builds nothing for {gpu.name} ({gpu.capability})")
    pictures = pictures_for(REPOSITORY, model, [data.astronaut()])
    engines.build(REPOSITORY, model, precision, tmp_path, tensorrt, pictures)  # type: ignore[arg-type]
    runner = EngineRunner(engines.engine_path(tmp_path, model, precision), REPOSITORY, tensorrt)  # type: ignore[arg-type]
    names = [tensor.name for tensor in REPOSITORY.card(model).outputs]
    batch = np.repeat(pictures[0], 3, axis=0)
    answers = runner.run({"IMAGES": batch})
    full = session(REPOSITORY.folder(model) / "model.onnx")
    expected = dict(zip(names, full.run(names, {"IMAGES": batch})))
    assert np.array_equal(answers["RECORD"], expected["RECORD"])
    main = "LOGIT" if model == "frame_cnn" else "HEATMAP"
    gap = float(np.abs(answers[main] - expected[main]).max())
    assert gap < SHARES[precision] * max(1.0, float(np.abs(expected[main]).max()))
