"""What ``deepscan doctor`` looks at. Each check returns findings; none raises and none changes anything."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

from cards import ModelRepository
from deepscan_client.errors import DeepScanError
from serving import backends

Status = Literal["ok", "warning", "error"]
ROOT = Path(__file__).resolve().parents[1]
_NEEDED_BY_STUBS = ("numpy", "cv2", "onnxruntime", "PIL", "pydantic", "yaml", "pipelines", "cards", "deepscan_client")
GIB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    check: str
    status: Status
    detail: str
    fix: str = ""
    """What to run or do; empty where nothing is wrong."""

    def to_dict(self) -> dict[str, str]:
        """The finding as plain JSON types."""
        return asdict(self)


def interpreter() -> Iterator[Finding]:
    """Python 3.11 or 3.12 with the shared libpython that Triton's stub loads."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] in ((3, 11), (3, 12)):
        yield Finding("interpreter", "ok", f"Python {version} at {sys.prefix}")
    else:
        yield Finding("interpreter", "error", f"Python {version}", "use 3.11 or 3.12: make setup PYTHON=python3.11")
    name = str(sysconfig.get_config_var("INSTSONAME"))
    folders = [backends.library_folder(), backends.library_folder() / str(sysconfig.get_config_var("MULTIARCH"))]
    python = "python{}.{}".format(*sys.version_info[:2])
    if ".so" in name and any((folder / name).exists() for folder in folders):
        yield Finding("libpython", "ok", f"{name} is shared")
    else:
        fix = f"apt-get install -y lib{python}, or build Python with --enable-shared"
        yield Finding("libpython", "error", "the shared library of this interpreter is missing", fix)


def stub_environment() -> Iterator[Finding]:
    """What a Python stub of Triton would import, seen by an interpreter with the stub's environment."""
    code = (
        "import importlib, importlib.metadata as m, json, sys; bad = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: importlib.import_module(name)\n"
        "    except Exception as error: bad[name] = str(error)\n"
        "print(json.dumps([m.version('numpy'), bad]))"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *_NEEDED_BY_STUBS],
            env=backends.server_environment(),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        numpy, bad = json.loads(done.stdout.strip().splitlines()[-1])
    except DeepScanError as error:
        yield Finding("models' imports", "error", error.message, error.remedy)
        return
    except (subprocess.SubprocessError, ValueError) as error:
        yield Finding("models' imports", "error", f"the stub's environment does not start: {error}", "make setup")
        return
    if int(numpy.split(".")[0]) < 2:
        yield Finding("NumPy in the stub", "ok", numpy)
    else:
        detail = f"{numpy}: with 2 and newer Triton's tensors come back empty"
        yield Finding("NumPy in the stub", "error", detail, "pip install 'numpy==1.26.4'")
    broken = "; ".join(f"{name}: {reason}" for name, reason in bad.items())
    if broken:
        yield Finding(
            "models' imports", "error", broken, "make setup, or pip install -c constraints.txt -e ./client -e ."
        )
    else:
        yield Finding("models' imports", "ok", ", ".join(_NEEDED_BY_STUBS))


def triton() -> Iterator[Finding]:
    """The server inside the wheel: that its libraries are found, and that the backend folder can be made."""
    try:
        folder = backends.backends_folder()
        done = subprocess.run(
            ["ldd", str(backends.server_binary())],
            env=backends.server_environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except DeepScanError as error:
        yield Finding("Triton", "error", error.message, error.remedy)
        return
    except (OSError, subprocess.SubprocessError) as error:
        yield Finding(
            "Triton", "warning", f"its libraries could not be looked at: {error}", "apt-get install -y libc-bin"
        )
        return
    lost = re.findall(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE)
    if lost:
        yield Finding(
            "Triton",
            "error",
            f"libraries not found: {', '.join(lost)}",
            "pip install --force-reinstall nvidia-pytriton==0.7.0",
        )
    else:
        version = importlib.metadata.version("nvidia-pytriton")
        yield Finding("Triton", "ok", f"tritonserver of nvidia-pytriton {version}, Python backend in {folder}")


def versions() -> Iterator[Finding]:
    """Installed packages against constraints.txt, where this is a checkout."""
    path = ROOT / "constraints.txt"
    if not path.is_file():
        yield Finding("versions", "ok", "no constraints.txt here: an installed wheel, nothing to compare")
        return
    differing = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            pin = Requirement(line)
            installed = importlib.metadata.version(pin.name)
        except (InvalidRequirement, importlib.metadata.PackageNotFoundError):
            continue  # a comment, or a package of an extra that is not installed
        if (pin.marker is None or pin.marker.evaluate()) and not pin.specifier.contains(installed, prereleases=True):
            differing.append(f"{pin.name} {installed} ({pin.specifier})")
    if differing:
        yield Finding("versions", "warning", ", ".join(differing), "pip install -c constraints.txt -e ./client -e .")
    else:
        yield Finding("versions", "ok", "everything installed is as constraints.txt pins it")


def installed(module: str) -> bool:
    """Whether a module could be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def codecs() -> Iterator[Finding]:
    """Picture formats that this Pillow reads."""
    from PIL import features

    lost = [name for name in ("jpg", "webp", "avif", "zlib", "libtiff") if not features.check(name)]
    if not installed("pillow_heif"):
        lost.append("heic")
    if lost:
        yield Finding(
            "codecs",
            "error",
            f"not readable: {', '.join(lost)}",
            "pip install -c constraints.txt --force-reinstall pillow pillow-heif",
        )
    else:
        yield Finding("codecs", "ok", "JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP")


def models(folder: str | None) -> Iterator[Finding]:
    """Each network's files against the hashes in its record."""
    try:
        repository = ModelRepository(folder)
        names = repository.names()
        networks = [name for name in names if repository.card(name).kind == "network"]
    except DeepScanError as error:
        yield Finding("models", "error", error.message, error.remedy)
        return
    for name in networks:
        try:
            repository.verify(name)
            yield Finding(f"model {name}", "ok", f"version {repository.latest(name)}, hashes match")
        except DeepScanError as error:
            yield Finding(f"model {name}", "error", error.message, error.remedy)
    if not names:
        yield Finding("models", "error", f"no model in {repository.root}", "name a repository with --models")
