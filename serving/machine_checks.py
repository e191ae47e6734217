"""What ``deepscan doctor`` looks at outside the environment: ports, memory, GPU, libraries of the system."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from deepscan_client import DeepScanClient
from serving.checks import GIB, Finding, Status, installed
from serving.ports import LOOPBACK, Ports, is_free
from serving.runs import SHM, dead


def load_generator() -> Iterator[Finding]:
    """perf_analyzer's library; only ``make bench`` needs it."""
    try:
        ctypes.CDLL("libb64.so.0d")
    except OSError:
        yield Finding(
            "libb64", "warning", "missing; perf_analyzer (make bench) needs it", "apt-get install -y libb64-0d"
        )
    else:
        yield Finding("libb64", "ok", "perf_analyzer can start")


def ports() -> Iterator[Finding]:
    """Who listens where DeepScan would."""
    default = Ports()
    taken = [port for port in (default.http, default.grpc, default.metrics, 5000) if not is_free(port)]
    if not taken:
        yield Finding("ports", "ok", "8000, 8001, 8002 and 5000 are free")
        return
    listed = ", ".join(map(str, taken))
    with DeepScanClient(f"{LOOPBACK}:{default.grpc}") as client:
        ours = client.is_ready(deadline=2.0)
    if ours:
        yield Finding("ports", "ok", f"a DeepScan server answers; in use: {listed}")
    else:
        others = "--http-port 8100 --grpc-port 8101 --metrics-port 8102 --port 5100"
        fix = f"stop what listens there, or deepscan serve {others}"
        yield Finding("ports", "warning", f"in use by others: {listed}", fix)


def memory() -> Iterator[Finding]:
    """Shared memory, main memory, and regions that a killed server left."""
    size = shutil.disk_usage(SHM)
    text = f"{size.free / GIB:.1f} GiB of {size.total / GIB:.1f} GiB free in {SHM}"
    if size.free < GIB // 4:
        yield Finding("shared memory", "error", text, "mount -o remount,size=2G /dev/shm, or docker run --shm-size=2g")
    elif size.free < GIB:
        yield Finding(
            "shared memory", "warning", text, "mount -o remount,size=2G /dev/shm, or docker run --shm-size=2g"
        )
    else:
        yield Finding("shared memory", "ok", text)
    left = sorted({"_".join(path.name.split("_")[:2]) + "_" for path in dead(SHM, "deepscan_")})
    if left:
        yield Finding(
            "left behind",
            "warning",
            f"regions of servers that are gone: {', '.join(left)}",
            f"rm {SHM}/{left[0]}*, or start a server, which removes them",
        )
    free = psutil.virtual_memory().available
    status: Status = "ok" if free > 4 * GIB else "warning"
    fix = "" if status == "ok" else "close other programs, or lower `instances` in the cards"
    yield Finding("memory", status, f"{free / GIB:.1f} GiB available; the server tree needs under 4", fix)


def writable() -> Iterator[Finding]:
    """Where logs and run folders go."""
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK) or free < GIB // 4:
        yield Finding("temporary folder", "error", f"{folder}: {free / GIB:.1f} GiB free", "make room, or set TMPDIR")
    else:
        yield Finding("temporary folder", "ok", f"{folder}: {free / GIB:.1f} GiB free")


def accelerators() -> Iterator[Finding]:
    """GPU, TensorRT and DALI; none of them is needed by the ``cpu`` profile."""
    gpu = ""
    if command := shutil.which("nvidia-smi"):
        query = [command, "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
        try:
            gpu = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError) as error:
            yield Finding("GPU", "warning", f"nvidia-smi fails: {error}", "reinstall the NVIDIA driver, then reboot")
    if gpu or not command:
        yield Finding("GPU", "ok", gpu.replace("\n", "; ") or "none; the cpu profile needs none")
    missing: Status = "warning" if gpu else "ok"
    for name, modules in (("TensorRT", ("tensorrt",)), ("TensorRT-RTX", ("tensorrt_rtx_libs", "tensorrt_rtx"))):
        found = any(installed(module) for module in modules)
        yield Finding(name, "ok", "installed" if found else "not installed; only make engines needs one of the two")
    if installed("nvidia.dali"):
        yield Finding("DALI", "ok", "installed")
    else:
        fix = "pip install -c constraints.txt -e ./client -e '.[gpu]'" if gpu else ""
        yield Finding("DALI", missing, "not installed; only GPU decoding and its CPU twin need it", fix)
