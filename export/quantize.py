"""INT8 versions of the repository's networks for the CPU, and whether they are worth serving.

Static quantisation by ONNX Runtime: symmetric int8, per channel, Q/DQ around weights too, biases left in float. ONNX
Runtime, TensorRT-RTX and TensorRT all take this form (recipes, section 3).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

Pixels = npt.NDArray[np.uint8]


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: Iterable[Pixels]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Pixels] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"IMAGES": batch}


def quantize(model: Path, target: Path, batches: Sequence[Pixels], excluded: Sequence[str] = ()) -> None:
    """Write the INT8 version of a network.

    Args:
        model: the FP32 network; target: where the INT8 one goes.
        batches: UINT8 [n, h, w, 3] of training pictures for the ranges of activations.
        excluded: names of nodes that stay in float.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv", "ConvTranspose", "Add", "Relu", "Clip"],
            nodes_to_exclude=list(excluded),
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "AddQDQPairToWeight": True,
                "CalibMovingAverage": True,
            },
        )
    onnx.checker.check_model(str(target))


def session(path: Path) -> onnxruntime.InferenceSession:
    """A session on one thread, without spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def time_ratio(first: Path, second: Path, batch: Pixels, rounds: int = 30) -> float:
    """Median time of ``first`` divided by that of ``second``, taken in turns so that other load hits both."""
    sessions = [session(first), session(second)]
    times: list[list[float]] = [[], []]
    for turn in range(rounds + 3):
        for place, one in enumerate(sessions):
            began = time.perf_counter()
            one.run(None, {"IMAGES": batch})
            if turn >= 3:
                times[place].append(time.perf_counter() - began)
    return float(np.median(times[0]) / np.median(times[1]))
