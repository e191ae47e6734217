"""Checkpoint to version folder: ONNX, weights, INT8 where it earns its place, record.

``export_model("deepscan_cnn", checkpoint)`` writes ``model_repository/deepscan_cnn/<version>`` whole: everything is
made in a folder beside it, which is then renamed. The ONNX file and ``weights.safetensors`` hold the same values. A
model that the repository does not have yet gets its card from ``export/cards`` and its generated files.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from cards.record import VersionRecord
from cards.repository import ModelRepository
from export import face_detector, generate, speaker_embedding, voice_activity
from export.folders import replace_folder
from export.graph import add_record_output, compacted, record_words, safetensors_bytes, write_bytes
from export.networks import INPUTS, example_arrays, half, outputs_of, served_form, weights_of
from export.provenance import bases_of, settings_in, told_of
from export.quantize import int8_result
from export.record import WEIGHTS, git_revision, hashes, now, write_record
from export.templates import add_card, model_name
from export.torch_graph import SECOND_BATCH, check_outputs, parity, to_onnx
from training.crops import crops_of
from training.data.cache import load_cache
from training.models.localising import localised
from training.models.registry import NETWORKS, TRANSFER, read_checkpoint
from training.report import Fit

CONVERTED: dict[str, Callable[[Path], None]] = {
    "face_detector": face_detector.main,
    "speaker_embedding": speaker_embedding.main,
    "voice_activity": voice_activity.main,
}
"""Networks that come from a package and not from a checkpoint."""
_LOG = logging.getLogger(__name__)


def export_model(
    model: str,
    checkpoint: Path | None = None,
    repository: Path | None = None,
    cache: Path = Path(".cache"),
    version: int = 1,
    int8: bool = True,
    extra: Mapping[str, Any] | None = None,
    compact: bool = False,
) -> Path:
    """Write one version of a network and return its folder.

    Args:
        model: a name of the registry, or one of ``CONVERTED`` (from a package, without a checkpoint).
        checkpoint: ``last.pt`` or ``model.pt`` of a training run; its calibration is read from ``calibration.json``
            beside it, where ``python -m training.calibrate`` wrote one.
        repository: the model repository (default: the one beside this code). A model that it lacks gets a card.
        cache: what ``python -m training.prepare`` wrote: of crop networks, parity and INT8 are measured on its photos.
            Where there is none, parity is measured on noise and INT8 is not.
        version: number of the version folder, which is replaced whole.
        int8: measure INT8 of a crop network (and keep the file where it is worth it).
        extra: fields of the record to add or replace, such as the measured table.
        compact: let the ONNX file refer to ``weights.safetensors`` for the weights, which are rounded to half precision
            anyway, instead of holding them again.

    Raises:
        ValueError: the model is unknown, or the checkpoint is missing or another network's.
        deepscan_client.errors.InstallationError: the card does not fit the network.
    """
    if model in CONVERTED:
        target = ModelRepository(repository).root / model / str(version)
        CONVERTED[model](target)
        return target
    if model not in {*NETWORKS, *TRANSFER} and not model.startswith("timm/"):
        known = ", ".join((*CONVERTED, *NETWORKS, *TRANSFER))
        raise ValueError(f"no exporter for {model!r}: there are {known} and timm/<name>")
    if checkpoint is None:
        raise ValueError(f"{model} is exported from a checkpoint: name one with --checkpoint")
    if not checkpoint.is_file():
        raise ValueError(f"{checkpoint} is no file")
    entry, trained, state = read_checkpoint(checkpoint, model)
    trained = localised(trained, checkpoint)
    models = ModelRepository(repository)
    settings = settings_in(state)
    if add_card(models.root, entry, trained, settings.get("size"), settings.get("margin")):
        _LOG.info("%s is new in %s: its card comes from export/cards", model, models.root)
    card = models.card(model_name(entry))
    if card.preprocessing and settings.get("size", card.preprocessing.size) != card.preprocessing.size:
        _LOG.warning("%s was trained at %s px, its card says %s", model, settings["size"], card.preprocessing.size)
    target = models.root / card.name / str(version)
    partial = target.with_name(f".partial-{version}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    side = card.preprocessing.size if card.preprocessing else card.inputs[0].shape[-1]
    folded = half(trained, entry.example())
    weights = safetensors_bytes(weights_of(folded))
    weights_sha256 = write_bytes(partial / WEIGHTS, weights)
    served = served_form(entry, folded, card.preprocessing)
    names = INPUTS[entry.takes]
    arrays = example_arrays(entry, side, SECOND_BATCH)
    graph = to_onnx(served, [torch.from_numpy(arrays[name][:2]) for name in names], names, card.name, outputs_of(entry))
    add_record_output(graph, record_words(weights), names[0])
    onnx.checker.check_model(graph, full_check=True)
    if compact:
        graph = compacted(graph, weights)
    write_bytes(partial / "model.onnx", graph.SerializeToString(deterministic=True))
    photos = load_cache(cache / "photos") if entry.takes == "crop" and (cache / "photos").is_dir() else None
    if photos is not None and card.preprocessing is not None:
        some = np.random.default_rng(5).choice(len(photos), SECOND_BATCH, replace=False)
        arrays = {names[0]: crops_of(photos, some, card.preprocessing.size, card.preprocessing.margin)}
    errors = parity(served, partial / "model.onnx", arrays, outputs=outputs_of(entry))
    check_outputs(card, partial / "model.onnx", arrays)
    fit = Fit.read(checkpoint.with_name("calibration.json"))
    precisions = {}
    if int8 and photos is not None and card.preprocessing is not None:
        budget = card.precision_budgets["int8"].max_auc_drop if "int8" in card.precision_budgets else 0.005
        slope, intercept = (fit.calibration.slope, fit.calibration.intercept) if fit else (1.0, 0.0)
        precisions["int8"] = int8_result(partial, photos, card.preprocessing, budget, slope, intercept)
    fields: dict[str, Any] = {
        "model": card.name,
        "version": version,
        "created": now(),
        "git_revision": git_revision(),
        "files": hashes(partial),
        "weights_sha256": weights_sha256,
        "origin": card.licence.origin,
        "parity": errors,
        "calibration": fit.calibration if fit else None,
        "precisions": precisions,
        **told_of(checkpoint, state, cache if photos is not None else None, bases_of(entry, models)),
        **(extra or {}),
    }
    write_record(partial, VersionRecord(**fields))
    _put_in_place(partial, target)
    generate.write(models)
    return target


def _put_in_place(partial: Path, target: Path) -> None:
    """Rename the finished folder to its place; generated files of the old one (``model.py``) move over."""
    for file in target.glob("model.py"):
        shutil.copy2(file, partial / file.name)
    replace_folder(partial, target)


def main(arguments: list[str] | None = None) -> int:
    """``python -m export.onnx_export MODEL --checkpoint FILE``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help=f"{', '.join((*CONVERTED, *NETWORKS, *TRANSFER))}, or timm/<name>")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--version", type=int, default=1)
    parser.add_argument("--no-int8", action="store_true")
    parser.add_argument("--compact", action="store_true", help="the ONNX file refers to weights.safetensors")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    began = time.monotonic()
    try:
        folder = export_model(
            options.model,
            options.checkpoint,
            options.models,
            options.cache,
            options.version,
            not options.no_int8,
            compact=options.compact,
        )
    except ValueError as error:
        parser.error(str(error))
    _LOG.info("%s written in %.0f s", folder, time.monotonic() - began)
    return 0


if __name__ == "__main__":
    sys.exit(main())
