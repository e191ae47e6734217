"""Runs an engine on this machine's GPU, for comparing it with ONNX Runtime. Serving does not use it: Triton does.

Memory goes through the CUDA driver alone (``libcuda.so.1``), so that neither pycuda nor a CUDA build of PyTorch is
needed. The engine's manifest is checked first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cards.repository import ModelRepository
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from export.engine_manifest import Host, check_manifest
from export.tensorrt_build import TensorRT, find_gpu, logger_of
from pipelines.infer import Array, Arrays

TENSORRT_NAMES = {
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "create_execution_context",
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_mode",
        "get_tensor_dtype",
    ),
    "IExecutionContext": (
        "set_input_shape",
        "get_tensor_shape",
        "set_tensor_address",
        "execute_async_v3",
        "infer_shapes",
    ),
}
"""What is used of TensorRT here: class to members. A test without a GPU looks that they exist."""


class _Driver:
    """The few calls of the CUDA driver that are needed, on the first GPU's own context."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self._do("cuInit", ctypes.c_uint(0))
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._do("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._do("cuCtxSetCurrent", context)

    def _do(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise InstallationError(f"{name} failed with CUDA error {status}", code=ErrorCode.ENVIRONMENT)

    def allocate(self, size: int) -> int:
        pointer = ctypes.c_uint64()
        self._do("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(1, size)))
        return int(pointer.value)

    def free(self, pointer: int) -> None:
        self._do("cuMemFree_v2", ctypes.c_uint64(pointer))

    def to_device(self, pointer: int, values: Array) -> None:
        self._do(
            "cuMemcpyHtoD_v2", ctypes.c_uint64(pointer), values.ctypes.data_as(ctypes.c_void_p), _size(values.nbytes)
        )

    def to_host(self, values: Array, pointer: int) -> None:
        self._do(
            "cuMemcpyDtoH_v2", values.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(pointer), _size(values.nbytes)
        )

    def wait(self) -> None:
        self._do("cuCtxSynchronize")


def _size(count: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(count)


class EngineRunner:
    """One engine on the first GPU.

    Args:
        engine: the file, with its manifest beside it.
        repository: what the manifest is compared with.
        tensorrt: the installed runtime.

    Raises:
        InstallationError: there is no GPU, the manifest does not fit, or the runtime refuses the engine.
    """

    def __init__(self, engine: Path, repository: ModelRepository, tensorrt: TensorRT) -> None:
        gpu = find_gpu()
        if gpu is None:
            raise InstallationError("this machine has no GPU", code=ErrorCode.ENVIRONMENT)
        self.manifest = check_manifest(engine, repository, Host(tensorrt.flavour, tensorrt.version, gpu))
        self._driver = _Driver()
        trt = tensorrt.module
        self._trt = trt
        self._runtime = trt.Runtime(logger_of(trt))
        self._engine = self._runtime.deserialize_cuda_engine(engine.read_bytes())
        if self._engine is None:
            raise InstallationError(f"{tensorrt.flavour} refuses {engine.name}", code=ErrorCode.ENVIRONMENT)
        self._context = self._engine.create_execution_context()

    def run(self, inputs: Mapping[str, Array]) -> Arrays:
        """Run one batch; every output by name.

        Raises:
            InstallationError: the run failed.
        """
        engine, context = self._engine, self._context
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        pointers: dict[str, int] = {}
        outputs: Arrays = {}
        try:
            for name in names:
                if engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT:
                    values = np.ascontiguousarray(inputs[name])
                    context.set_input_shape(name, values.shape)
                    pointers[name] = self._driver.allocate(values.nbytes)
                    self._driver.to_device(pointers[name], values)
            context.infer_shapes()
            for name in names:
                if name not in pointers:
                    dtype = self._trt.nptype(engine.get_tensor_dtype(name))
                    outputs[name] = np.empty(tuple(context.get_tensor_shape(name)), dtype)
                    pointers[name] = self._driver.allocate(outputs[name].nbytes)
                context.set_tensor_address(name, pointers[name])
            if not context.execute_async_v3(0):
                raise InstallationError("the engine did not run", code=ErrorCode.ENVIRONMENT)
            self._driver.wait()
            for name, values in outputs.items():
                self._driver.to_host(values, pointers[name])
        finally:
            for pointer in pointers.values():
                self._driver.free(pointer)
        return outputs
