"""What Triton's log tells a person: how many models are loaded, and what went wrong."""

from __future__ import annotations

import re
from pathlib import Path

_LOADED = re.compile(r"successfully loaded '(\w+)'")


def loaded_models(log: Path) -> int:
    """How many models it has loaded so far."""
    return len(set(_LOADED.findall(log.read_text(errors="replace"))))


def tail(log: Path) -> str:
    """The last lines that matter: errors, without those about a missing GPU; without errors the last lines of all."""
    text = log.read_text(errors="replace")
    lines = [line for line in text.splitlines() if re.match(r"E\d{4} |error:|.*UNAVAILABLE: ", line)]
    useful = [line for line in lines if "CudaDriverHelper" not in line and "CUDA driver" not in line]
    chosen = useful[-6:] or text.splitlines()[-6:]
    return "\n".join(line[:400] for line in chosen)
