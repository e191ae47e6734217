"""Describes the machine that a number was measured on; every result carries it."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path


def describe() -> dict[str, object]:
    """Processor, cores, memory, load and the versions that matter."""
    processor = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
            break
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "onnxruntime": metadata.version("onnxruntime"),
        "nvidia_pytriton": metadata.version("nvidia-pytriton"),
        "measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
