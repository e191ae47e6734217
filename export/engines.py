"""Builds TensorRT engines: ``python -m export.engines [MODEL...] [--precision fp16 int8] [--install]``.

Engines go to ``engines/`` (which git ignores), each with a manifest. ``--install`` puts the precision that the card
serves on the ``tensorrt`` profile into ``model_repository/<model>/<version>/model.plan``, on a GPU host with TensorRT:
Triton does not load engines of TensorRT-RTX.
"""

from __future__ import annotations

import argparse
import logging
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cards.card import Precision
from cards.repository import ModelRepository, sha256_file
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import DeepScanError, InstallationError
from export.engine_manifest import EngineManifest, Host, check_manifest, manifest_path
from export.precision import Pixels, compare, make_graph, pictures_for, read_photos
from export.record import now
from export.tensorrt_build import TensorRT, build_engine, find_gpu, find_tensorrt, targets

PRECISIONS: tuple[Precision, ...] = ("fp16", "int8")
ROOT = Path(__file__).resolve().parent.parent


def engine_path(folder: Path, model: str, precision: Precision) -> Path:
    """Where an engine lies: ``<folder>/<model>-<precision>.engine``."""
    return folder / f"{model}-{precision}.engine"


def build(
    repository: ModelRepository,
    model: str,
    precision: Precision,
    out: Path,
    tensorrt: TensorRT,
    pictures: Sequence[Pixels],
) -> EngineManifest:
    """Compare a precision with FP32, build its engine, and write engine and manifest whole or not at all.

    Args:
        pictures: batches as the network sees them, UINT8 [n, h, w, 3] (:func:`export.precision.pictures_for`).

    Raises:
        InstallationError: files differ from the record, the graph loses an output, or TensorRT refuses it.
    """
    card = repository.card(model)
    version = repository.latest(model)
    repository.verify(model, version)
    full = repository.folder(model, version) / "model.onnx"
    capabilities = targets(tensorrt)
    with tempfile.TemporaryDirectory(prefix="engines-") as folder:
        graph = make_graph(repository, model, version, precision, pictures, Path(folder))
        compared = compare(card, full, graph, pictures, Path(folder))
        graph_file = Path(folder) / "graph.onnx"
        graph_file.write_bytes(graph.content)
        graph_sha256 = sha256_file(graph_file)
    began = time.monotonic()
    content = build_engine(tensorrt, graph.content, card.engine_shapes)
    seconds = time.monotonic() - began
    out.mkdir(parents=True, exist_ok=True)
    engine = engine_path(out, model, precision)
    partial = engine.with_suffix(".partial")
    partial.write_bytes(content)
    gpu = find_gpu()
    manifest = EngineManifest(
        model=model,
        version=version,
        precision=precision,
        flavour=tensorrt.flavour,
        tensorrt_version=tensorrt.version,
        compute_capabilities=capabilities,
        onnx_sha256=sha256_file(full),
        graph_sha256=graph_sha256,
        optimisation_profile=card.engine_shapes,
        engine_sha256=sha256_file(partial),
        engine_bytes=len(content),
        build_seconds=round(seconds, 2),
        calibration=graph.calibration,
        comparison=compared,
        created=now(),
        built_on=gpu.name if gpu else f"{platform.machine()} without a GPU",
    )
    # The manifest goes last: an engine without its manifest is never used.
    manifest_path(engine).unlink(missing_ok=True)
    partial.replace(engine)
    manifest_path(engine).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


def install(repository: ModelRepository, model: str, out: Path) -> Path:
    """Put the engine that the card serves on the ``tensorrt`` profile into the model repository.

    Raises:
        InstallationError: it does not fit this machine, or Triton could not load it.
    """
    precision = repository.card(model).serve.get("tensorrt", "fp16")
    engine = engine_path(out, model, precision)
    gpu = find_gpu()
    if gpu is None:
        raise InstallationError(
            "an engine is installed on the GPU host that will serve it, and this machine has no GPU",
            code=ErrorCode.ENVIRONMENT,
            remedy=f"on the GPU host: python -m export.engines {model} --precision {precision} --install",
        )
    tensorrt = find_tensorrt()
    manifest = check_manifest(engine, repository, Host("tensorrt", None, gpu))
    check_manifest(engine, repository, Host(tensorrt.flavour, tensorrt.version, gpu))
    plan = repository.folder(model, manifest.version) / "model.plan"
    for source, target in ((engine, plan), (manifest_path(engine), manifest_path(plan))):
        partial = target.with_name(target.name + ".partial")
        shutil.copyfile(source, partial)
        partial.replace(target)
    return plan


def main(arguments: list[str] | None = None) -> int:
    """The command. Exit status 0: everything was built; 1: something was not; 2: nothing could be."""
    parser = argparse.ArgumentParser(prog="python -m export.engines", description=__doc__)
    parser.add_argument("models", nargs="*", help="networks (default: all that have an ONNX file)")
    parser.add_argument("--precision", nargs="+", choices=("fp32", *PRECISIONS), default=list(PRECISIONS))
    parser.add_argument("--out", type=Path, default=ROOT / "engines", help="folder for engines (default: engines/)")
    parser.add_argument("--models-dir", type=Path, help="model repository (default: the one beside this code)")
    parser.add_argument("--calibration", type=Path, default=ROOT / "samples", help="photos for INT8 ranges")
    parser.add_argument("--install", action="store_true", help="put them into the model repository (GPU host)")
    parser.add_argument("--check", action="store_true", help="build nothing: check the engines that are there")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console()
    try:
        repository = ModelRepository(options.models_dir)
        names = options.models or _networks(repository)
        precisions = cast(list[Precision], options.precision)
        if options.check:
            return _check(console, repository, names, precisions, options.out)
        tensorrt = find_tensorrt()
        capabilities = targets(tensorrt)
        photos = read_photos(options.calibration)
    except DeepScanError as error:
        _print_error(console, error)
        return 2
    console.print(
        f"{tensorrt.flavour} {tensorrt.version}, building for {', '.join(capabilities)}; "
        f"{len(photos)} photos from {options.calibration.name}/",
        highlight=False,
    )
    built, failed = _build_all(console, repository, names, precisions, options.out, tensorrt, photos)
    if built:
        console.print(_table(built))
        console.print(f"engines and manifests are in {options.out}", highlight=False, soft_wrap=True)
    if options.install and not failed:
        for name in names:
            try:
                console.print(f"installed {install(repository, name, options.out)}", highlight=False)
            except DeepScanError as error:
                failed = True
                _print_error(console, error, name)
    return 1 if failed else 0


def _build_all(
    console: Console,
    repository: ModelRepository,
    names: Sequence[str],
    precisions: Sequence[Precision],
    out: Path,
    tensorrt: TensorRT,
    photos: Sequence[Pixels],
) -> tuple[list[EngineManifest], bool]:
    built: list[EngineManifest] = []
    failed = False
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for name in names:
            pictures: list[Pixels] | None = None
            for precision in precisions:
                task = progress.add_task(f"{name} {precision}: comparing and building")
                try:
                    pictures = pictures or pictures_for(repository, name, photos)
                    built.append(build(repository, name, precision, out, tensorrt, pictures))
                    progress.update(task, description=f"{name} {precision}: built", total=1, completed=1)
                except (DeepScanError, ValueError) as error:
                    failed = True
                    progress.update(task, description=f"{name} {precision}: failed", total=1, completed=1)
                    _print_error(progress.console, error, f"{name} {precision}")
    return built, failed


def _print_error(console: Console, error: Exception, what: str = "") -> None:
    """What happened and what to do, as plain text: a remedy may hold brackets."""
    message, remedy = (error.message, error.remedy) if isinstance(error, DeepScanError) else (str(error), "")
    text = f"{what}: {message}" if what else message
    console.print(f"{text}\n{remedy}".rstrip(), style="red", markup=False, highlight=False, soft_wrap=True)


def _networks(repository: ModelRepository) -> list[str]:
    return [
        name
        for name in repository.names()
        if repository.card(name).engine_shapes
        and repository.versions(name)
        and (repository.folder(name) / "model.onnx").is_file()
    ]


def _check(
    console: Console, repository: ModelRepository, names: Sequence[str], precisions: Sequence[Precision], out: Path
) -> int:
    try:
        tensorrt: TensorRT | None = find_tensorrt()
    except InstallationError:
        tensorrt = None
    host = Host(tensorrt.flavour, tensorrt.version, find_gpu()) if tensorrt else Host(gpu=find_gpu())
    status = 0
    for name in names:
        for precision in precisions:
            engine = engine_path(out, name, precision)
            try:
                check_manifest(engine, repository, host)
                console.print(f"{engine.name}: fits", highlight=False)
            except InstallationError as error:
                status = 1
                _print_error(console, error)
    return status


def _table(built: Sequence[EngineManifest]) -> Table:
    table = Table(title="Engines, compared with FP32 on the CPU before they were built")
    for heading in ("network", "precision", "MB", "seconds", "pictures", "flips", "largest difference"):
        table.add_column(heading)
    for manifest in built:
        worst = manifest.comparison.outputs["LOGIT" if "LOGIT" in manifest.comparison.outputs else "HEATMAP"]
        name = "LOGIT" if "LOGIT" in manifest.comparison.outputs else "HEATMAP"
        table.add_row(
            manifest.model,
            manifest.precision,
            f"{manifest.engine_bytes / 1e6:.1f}",
            f"{manifest.build_seconds:.1f}",
            str(manifest.comparison.pictures),
            str(manifest.comparison.flips),
            f"{name} {worst.max_abs:.2g} of {worst.largest_value:.2g}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
