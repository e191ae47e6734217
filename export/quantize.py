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

from cards.card import Preprocessing
from cards.record import PrecisionResult
from pipelines.metrics import auc
from training.crops import crops_of
from training.data.cache import PhotoCache
from training.data.photo_split import held_out_photos

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


def logits_of_file(path: Path, crops: npt.NDArray[np.uint8], batch: int = 16) -> npt.NDArray[np.float32]:
    """Raw logits of an ONNX file, float32 [n]."""
    network = session(path)
    parts = [network.run(["LOGIT"], {"IMAGES": crops[s : s + batch]})[0][:, 0] for s in range(0, len(crops), batch)]
    return np.concatenate(parts)


def int8_result(
    folder: Path, cache: PhotoCache, preprocessing: Preprocessing, max_auc_drop: float, slope: float, intercept: float
) -> PrecisionResult:
    """Make ``model.int8.onnx`` and compare it with FP32 on held-out photos; the file is removed where it fails.

    It passes where it is at least a tenth faster and its AUC falls by at most ``max_auc_drop``. A flip is an item
    whose calibrated probability crosses one half.
    """
    full, small = folder / "model.onnx", folder / "model.int8.onnx"
    held_out = np.flatnonzero(held_out_photos(cache))
    rest = np.setdiff1d(np.arange(len(cache)), held_out)
    rng = np.random.default_rng(3)
    ranges = crops_of(cache, rng.choice(rest, 192, replace=False), preprocessing.size, preprocessing.margin)
    head = [n.name for n in onnx.load(full, load_external_data=False).graph.node if n.op_type == "Conv"][-1:]
    quantize(full, small, [ranges[start : start + 16] for start in range(0, len(ranges), 16)], excluded=head)
    crops = crops_of(cache, held_out, preprocessing.size, preprocessing.margin)
    labels = np.array([cache.rows[item].label for item in held_out])
    before, after = logits_of_file(full, crops), logits_of_file(small, crops)
    drop = auc(before, labels) - auc(after, labels)
    flips = float(((slope * before + intercept >= 0) != (slope * after + intercept >= 0)).mean())
    ratio = time_ratio(full, small, crops[:1])
    passed = ratio >= 1.1 and drop <= max_auc_drop
    if not passed:
        small.unlink()
    return PrecisionResult(
        max_abs_error=float(np.abs(before - after).max()),
        auc_drop=round(float(drop), 5),
        flip_rate=round(flips, 5),
        speed_ratio=round(ratio, 3),
        passed=passed,
        note=f"{len(held_out)} held-out training photos; one thread, batch 1, ONNX Runtime on the CPU",
    )
