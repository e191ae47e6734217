"""ONNX to a TensorRT engine, by TensorRT where it is installed, else by TensorRT-RTX.

Both have one Python interface. TensorRT needs a GPU to build and makes engines for that kind of GPU; TensorRT-RTX
builds on any x86-64 machine and makes engines for several kinds. Networks are strongly typed: the ONNX says the
precision, there are no flags for it (TensorRT 10 calls that a creation flag, TensorRT 11 knows nothing else).
"""

from __future__ import annotations

import ctypes
import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cards.card import EngineShapes
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError

_LOG = logging.getLogger(__name__)

Flavour = Literal["tensorrt", "tensorrt-rtx"]
RTX_PINS = "tensorrt-rtx-cu13-libs==1.7.1.116 tensorrt-rtx-cu13-bindings==1.7.1.116"
RTX_TARGETS = ("SM80", "SM86", "SM89", "SM120")
"""Compute capabilities that TensorRT-RTX engines are built for: Ampere, Ada and Blackwell of the RTX kind. It knows
no SM90 and no SM100 (H100, H200, B200): those take TensorRT."""
_HARMLESS = "cudaError 35"
"""What a machine without a driver logs while it builds."""


@dataclass(frozen=True)
class TensorRT:
    """An installed TensorRT: its Python module and what it calls itself."""

    module: Any
    flavour: Flavour
    version: str


def find_tensorrt() -> TensorRT:
    """TensorRT where it is installed, else TensorRT-RTX.

    Raises:
        InstallationError: neither is; the remedy is the pip line.
    """
    try:
        module = importlib.import_module("tensorrt")
        return TensorRT(module, "tensorrt", str(module.__version__))
    except (ImportError, OSError, AttributeError):
        pass
    try:
        importlib.import_module("tensorrt_rtx_libs")
        module = importlib.import_module("tensorrt_rtx_bindings")
        return TensorRT(module, "tensorrt-rtx", str(module.__version__))
    except (ImportError, OSError) as error:
        raise InstallationError(
            "neither TensorRT nor TensorRT-RTX is installed",
            code=ErrorCode.ENVIRONMENT,
            remedy=f"on a GPU host: pip install -e '.[gpu]'; to build without a GPU: pip install {RTX_PINS}",
        ) from error


@dataclass(frozen=True)
class Gpu:
    """The first GPU of this machine."""

    name: str
    capability: str
    """Compute capability as TensorRT writes it, such as SM90."""


def find_gpu() -> Gpu | None:
    """The first GPU, asked of the driver; None where there is no driver or no GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceGetAttribute(ctypes.byref(major), 75, device)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    driver.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
    return Gpu(name.value.decode(errors="replace"), f"SM{major.value}{minor.value}")


_loggers: dict[int, Any] = {}


def logger_of(trt: Any) -> Any:
    """One logger for each module: TensorRT keeps the first it gets."""
    if id(trt) not in _loggers:

        def log(self: Any, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                level = logging.DEBUG if _HARMLESS in message else logging.ERROR
                _LOG.log(level, "TensorRT: %s", message)
                self.errors.append(message)
            else:
                _LOG.debug("TensorRT: %s", message)

        def start(self: Any) -> None:
            trt.ILogger.__init__(self)
            self.errors = []

        _loggers[id(trt)] = type("Logger", (trt.ILogger,), {"__init__": start, "log": log})()
    return _loggers[id(trt)]


def build_engine(tensorrt: TensorRT, onnx_bytes: bytes, shapes: Mapping[str, EngineShapes]) -> bytes:
    """Build one engine.

    Args:
        tensorrt: who builds.
        onnx_bytes: a strongly typed graph.
        shapes: the optimisation profile of each input, with the batch dimension.

    Returns:
        The serialised engine.

    Raises:
        InstallationError: the graph does not parse or does not build; the message is TensorRT's own.
    """
    trt = tensorrt.module
    logger = logger_of(trt)
    logger.errors.clear()
    builder = trt.Builder(logger)
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_bytes):
        errors = "; ".join(" ".join(str(parser.get_error(i)).split())[:400] for i in range(parser.num_errors))
        raise _failed(tensorrt, f"does not read the graph: {errors}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for name, shape in shapes.items():
        profile.set_shape(name, shape.minimum, shape.optimum, shape.maximum)
    if config.add_optimization_profile(profile) < 0:
        raise _failed(tensorrt, f"refuses the optimisation profile {dict(shapes)}")
    if tensorrt.flavour == "tensorrt-rtx":
        config.num_compute_capabilities = len(RTX_TARGETS)
        for place, target in enumerate(RTX_TARGETS):
            config.set_compute_capability(trt.ComputeCapability.__members__[target], place)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise _failed(tensorrt, "builds nothing: " + "; ".join(logger.errors[-3:]))
    return bytes(engine)


def targets(tensorrt: TensorRT) -> tuple[str, ...]:
    """Compute capabilities that an engine built here and now is for.

    Raises:
        InstallationError: TensorRT is installed and there is no GPU to build for.
    """
    if tensorrt.flavour == "tensorrt-rtx":
        return RTX_TARGETS
    gpu = find_gpu()
    if gpu is None:
        raise InstallationError(
            "TensorRT builds for the GPU of its machine, and this one has none",
            code=ErrorCode.ENVIRONMENT,
            remedy=f"run it on the GPU host, or build for RTX cards here with: pip install {RTX_PINS}",
        )
    return (gpu.capability,)


def _failed(tensorrt: TensorRT, what: str) -> InstallationError:
    return InstallationError(
        f"{tensorrt.flavour} {tensorrt.version} {what}"[:1000],
        code=ErrorCode.ENVIRONMENT,
        remedy="export the network again, or try another TensorRT version",
    )
