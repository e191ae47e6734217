"""Triton out of the ``nvidia-pytriton`` wheel: where its files are, its command line, and the environment it needs.

The wheel carries the real tritonserver and its Python backend. The backend's stub links the shared libpython of
the interpreter, and Debian's own must not be found first, because it has another standard library.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from cards import Profile
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from serving.ports import LOOPBACK, Ports

STUB = "triton_python_backend_stub"


def wheel_folder() -> Path:
    """The folder of the server inside the installed wheel.

    Raises:
        InstallationError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise InstallationError(
            "the nvidia-pytriton wheel, which carries tritonserver, is not installed in this environment",
            code=ErrorCode.ENVIRONMENT,
            remedy="run: make setup",
        )
    return Path(spec.origin).parent / "tritonserver"


def server_binary() -> Path:
    """The tritonserver binary."""
    return wheel_folder() / "bin" / "tritonserver"


def library_folder() -> Path:
    """The folder of the shared libpython of the interpreter that this environment was made from."""
    return Path(str(sysconfig.get_config_var("LIBDIR")))


def backends_folder(target: Path | None = None) -> Path:
    """The folder for ``--backend-directory``, built inside this environment where it is missing.

    Raises:
        InstallationError: the wheel has no stub for this interpreter.
    """
    folder = target or Path(sys.prefix) / "share" / "deepscan" / "backends"
    python = folder / "python"
    wheel = wheel_folder()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    sources = [
        wheel / "backends" / "python" / "libtriton_python.so",
        wheel / "backends" / "python" / "triton_python_backend_utils.py",
        wheel / "python_backend_stubs" / version / STUB,
    ]
    for source in sources:
        if not source.is_file():
            raise InstallationError(
                f"the nvidia-pytriton wheel has no {source.name} for Python {version}",
                code=ErrorCode.ENVIRONMENT,
                remedy="use Python 3.11 or 3.12: make clean, then make setup PYTHON=python3.11",
            )
        copy = python / source.name
        if not copy.is_file() or copy.stat().st_size != source.stat().st_size:
            python.mkdir(parents=True, exist_ok=True)
            partial = copy.with_name(f"{copy.name}.{os.getpid()}")
            shutil.copy2(source, partial)
            partial.replace(copy)
    return folder


_LARGE_BYTES = 2 * 1024 * 1024
"""More than a photo of 640 px takes, and less than a frame of 720p."""


def server_environment() -> dict[str, str]:
    """Environment variables of the server and its stubs.

    The stub finds this environment's site-packages through ``PATH`` and reads the ``.pth`` files of editable
    installs there. One thread for each library: instances, not threads, share the cores (a card may give a
    network more: that of ``face_detector``). What is freed of pictures
    and files goes back to the system at once: with its moving threshold the C library keeps it in the pools of many
    threads, some 350 MB after two long videos.
    """
    packages = wheel_folder().parent.parent
    bin_folder = Path(sys.prefix) / "bin"
    inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "VIRTUAL_ENV")}
    return {
        "MALLOC_MMAP_THRESHOLD_": str(_LARGE_BYTES),
        **inherited,
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{bin_folder}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "PYTHONPATH": str(packages),
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{library_folder()}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def server_command(
    models: Path, names: Sequence[str], ports: Ports, profile: Profile, regions: str, exit_seconds: float
) -> list[str]:
    """The command line of a server on loopback.

    Args:
        models: the model repository; names: the models that are loaded.
        profile: which configuration of each.
        regions: start of the names of its shared memory.
        exit_seconds: what requests that are at work have when it is told to end.

    Raises:
        InstallationError: as :func:`backends_folder`.
    """
    chosen = [] if profile == "cpu" else [f"--model-config-name={profile}"]
    return [
        str(server_binary()),
        f"--model-repository={models}",
        f"--backend-directory={backends_folder()}",
        f"--cache-directory={wheel_folder() / 'caches'}",
        f"--backend-config=python,shm-region-prefix-name={regions}",
        f"--http-address={LOOPBACK}",
        f"--grpc-address={LOOPBACK}",
        f"--metrics-address={LOOPBACK}",
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
        "--model-control-mode=explicit",
        *[f"--load-model={name}" for name in names],
        "--exit-on-error=true",
        # The generated configurations are complete; asking every model for its own would start each stub twice.
        "--disable-auto-complete-config",
        f"--exit-timeout-secs={int(exit_seconds)}",
        "--metrics-config=summary_latencies=true",
        *chosen,
    ]
