"""What the DALI pipelines of a model repository share: loading DALI, serialising, writing and comparing ``model.dali``.

``export/dali_{audio,image,video}.py`` define one pipeline each. Triton's DALI backend loads the file on the profiles
``onnx`` and ``tensorrt``; the ``cpu`` profile loads ``model.py`` from the same folder and does not look at it. What
runs on a GPU is only defined and serialised here, which needs no GPU.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cards.repository import ModelRepository
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import DeepScanError, InstallationError

FILE = "model.dali"
PIN = "nvidia-dali-cuda130==2.4.0"
Serialised = Callable[[ModelRepository], bytes]


def load_dali() -> Any:
    """The package ``nvidia.dali``.

    Raises:
        InstallationError: it is not installed.
    """
    try:
        return importlib.import_module("nvidia.dali")
    except (ImportError, OSError) as error:
        raise InstallationError(
            f"DALI is not installed: {error}",
            code=ErrorCode.ENVIRONMENT,
            remedy=f"on a GPU host: pip install -e '.[gpu]'; anywhere: pip install {PIN}",
        ) from error


def pipeline(batch: int, threads: int) -> Any:
    """DALI's decorator of a function that defines a pipeline, which is not built.

    No device is named: a serialised pipeline takes the one of the Triton instance. One batch is under way at a time.

    Args:
        batch: most items of one run; threads: host threads.

    Raises:
        InstallationError: DALI is not installed.
    """
    return load_dali().pipeline_def(batch_size=batch, num_threads=threads, device_id=None, prefetch_queue_depth=1)


def serialise(define: Callable[[], Any]) -> bytes:
    """The pipeline that ``define`` makes, as bytes that are the same on every machine.

    DALI writes the path of the defining file into a pipeline, which is nobody's business, unless it is told not to.
    """
    load_dali()
    trace = importlib.import_module("nvidia.dali._utils.dali_trace")
    before = trace.is_tracing_enabled()
    trace.set_tracing(enabled=False)
    try:
        return bytes(define().serialize())
    finally:
        trace.set_tracing(enabled=before)


def write(repository: ModelRepository, model: str, content: bytes) -> Path:
    """Write ``model.dali`` into the latest version folder, whole or not at all."""
    target = repository.folder(model) / FILE
    partial = target.with_name(f".{FILE}.partial")
    partial.write_bytes(content)
    partial.replace(target)
    return target


def command(module: str, model: str, serialised: Serialised, arguments: list[str] | None = None) -> int:
    """``python -m MODULE``: write the serialised pipeline, or with ``--check`` only compare (1 where it differs)."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=f"write the DALI pipeline of {model}")
    parser.add_argument("--models", type=Path, help="model repository")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args(arguments)
    try:
        repository = ModelRepository(options.models)
        content = serialised(repository)
        if options.check:
            path = repository.folder(model) / FILE
            same = path.is_file() and path.read_bytes() == content
            print(f"{path}: {'up to date' if same else f'missing or differs: run python -m {module}'}")
            return int(not same)
        print(f"written: {write(repository, model, content)}")
    except DeepScanError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    return 0
