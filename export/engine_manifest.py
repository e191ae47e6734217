"""The manifest beside each engine, and the check that is made before an engine is used.

An engine fits one TensorRT version, a few kinds of GPU and one ONNX file. Triton would say so late and in other
words, so that everything that can differ is compared first, and named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pydantic import ValidationError

from cards.card import EngineShapes, Precision, Strict
from cards.repository import ModelRepository, sha256_file
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from export.tensorrt_build import Flavour, Gpu


class Difference(Strict):
    """How far one output of a precision lies from FP32, over the pictures that were compared."""

    max_abs: float
    mean_abs: float
    largest_value: float
    """Largest absolute value of the FP32 output, for scale."""


class Comparison(Strict):
    """A precision against FP32, both run by ONNX Runtime on the CPU before the engine was built."""

    pictures: int
    outputs: dict[str, Difference]
    flips: int
    """Decisions that changed: pictures whose logit changes its sign, faces that appear or vanish."""
    how: str


class EngineManifest(Strict):
    """``<engine>.json``: what an engine was built from, by what and for what."""

    schema_version: int = 1
    model: str
    version: int
    precision: Precision
    flavour: Flavour
    tensorrt_version: str
    compute_capabilities: tuple[str, ...]
    onnx_sha256: str
    """Of the version's ``model.onnx`` (FP32), which every precision is derived from."""
    graph_sha256: str
    """Of the graph that TensorRT was given."""
    optimisation_profile: dict[str, EngineShapes]
    engine_sha256: str
    engine_bytes: int
    build_seconds: float
    calibration: str = ""
    """INT8: which pictures the ranges were taken from."""
    comparison: Comparison
    created: str
    built_on: str


class Reason(str, Enum):
    """Why an engine must not be used."""

    NO_ENGINE = "no_engine"
    NO_MANIFEST = "no_manifest"
    ENGINE_CHANGED = "engine_changed"
    ONNX_CHANGED = "onnx_changed"
    PROFILE_CHANGED = "profile_changed"
    FLAVOUR = "flavour"
    TENSORRT_VERSION = "tensorrt_version"
    COMPUTE_CAPABILITY = "compute_capability"


@dataclass(frozen=True)
class Mismatch:
    """One reason, with what was found and what was expected."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Host:
    """What will run the engine. None means unknown, and is not compared."""

    flavour: Flavour | None = None
    tensorrt_version: str | None = None
    gpu: Gpu | None = None


def manifest_path(engine: Path) -> Path:
    """Where the manifest of an engine lies."""
    return engine.with_name(engine.name + ".json")


def read_manifest(engine: Path) -> EngineManifest | None:
    """The manifest beside an engine; None where it is missing or unreadable."""
    try:
        return EngineManifest.model_validate_json(manifest_path(engine).read_bytes())
    except (OSError, ValidationError):
        return None


def mismatches(engine: Path, repository: ModelRepository, host: Host) -> list[Mismatch]:
    """Everything that speaks against an engine, compared with the model repository and with who will run it."""
    if not engine.is_file():
        return [Mismatch(Reason.NO_ENGINE, f"{engine} does not exist")]
    manifest = read_manifest(engine)
    if manifest is None:
        return [Mismatch(Reason.NO_MANIFEST, f"{manifest_path(engine)} is missing or damaged")]
    found: list[Mismatch] = []

    def compare(reason: Reason, what: str, now: object, built: object) -> None:
        if now != built:
            found.append(Mismatch(reason, f"{what} is {now}, the engine was built for {built}"))

    compare(Reason.ENGINE_CHANGED, "the file's sha256", sha256_file(engine)[:12], manifest.engine_sha256[:12])
    onnx = repository.folder(manifest.model, manifest.version) / "model.onnx"
    onnx_now = sha256_file(onnx)[:12] if onnx.is_file() else "missing"
    compare(Reason.ONNX_CHANGED, f"sha256 of {onnx.name}", onnx_now, manifest.onnx_sha256[:12])
    shapes = repository.card(manifest.model).engine_shapes
    compare(Reason.PROFILE_CHANGED, "the card's optimisation profile", shapes, manifest.optimisation_profile)
    if host.flavour is not None:
        compare(Reason.FLAVOUR, "the runtime", host.flavour, manifest.flavour)
    if host.tensorrt_version is not None and host.flavour == manifest.flavour:
        compare(Reason.TENSORRT_VERSION, "the runtime's version", host.tensorrt_version, manifest.tensorrt_version)
    if host.gpu is not None and host.gpu.capability not in manifest.compute_capabilities:
        built = ", ".join(manifest.compute_capabilities)
        found.append(
            Mismatch(
                Reason.COMPUTE_CAPABILITY,
                f"{host.gpu.name} is {host.gpu.capability}, the engine was built for {built}",
            )
        )
    return found


def check_manifest(engine: Path, repository: ModelRepository, host: Host) -> EngineManifest:
    """The manifest of an engine that may be used.

    Raises:
        InstallationError: it may not; the message names every difference, the remedy is the command that rebuilds it.
    """
    found = mismatches(engine, repository, host)
    manifest = read_manifest(engine)
    if manifest is not None and not found:
        return manifest
    raise InstallationError(
        f"{engine} must not be used: " + "; ".join(f"{m.reason.value}: {m.detail}" for m in found),
        code=ErrorCode.HASH_MISMATCH if _changed(found) else ErrorCode.ENVIRONMENT,
        remedy=f"build it again with: {rebuild_command(engine, manifest)}",
    )


def _changed(found: Sequence[Mismatch]) -> bool:
    return any(m.reason in (Reason.ENGINE_CHANGED, Reason.ONNX_CHANGED) for m in found)


def rebuild_command(engine: Path, manifest: EngineManifest | None) -> str:
    """The command line that builds an engine again, from its manifest or else from its name."""
    if manifest is not None:
        model, precision = manifest.model, str(manifest.precision)
    else:
        model, _, precision = engine.name.partition(".")[0].partition("-")
    return f"python -m export.engines {model}" + (f" --precision {precision}" if precision else "")
