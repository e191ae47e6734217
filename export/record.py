"""Writes ``record.json``, the measured facts of a version. Nothing else writes it."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

from cards.record import VersionRecord
from cards.repository import sha256_file

WEIGHTS = "weights.safetensors"
HASHED = ("model.onnx", "model.int8.onnx", WEIGHTS, "novelty.npz")
"""Files of a version folder that a record vouches for, where they exist."""


def now() -> str:
    """ISO date and time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def git_revision() -> str:
    """The commit that the working tree stands on, or ``unknown`` outside a checkout."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def hashes(folder: Path) -> dict[str, str]:
    """File: sha256 of what a version folder holds."""
    return {name: sha256_file(folder / name) for name in HASHED if (folder / name).is_file()}


def write_record(folder: Path, record: VersionRecord) -> Path:
    """Write the record of a version folder; fields that say nothing are left out."""
    path = folder / "record.json"
    path.write_text(record.model_dump_json(indent=2, exclude_defaults=True) + "\n", encoding="utf-8")
    return path
