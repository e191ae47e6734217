"""Writes the version folder of a network that was converted from a package's weights."""

from __future__ import annotations

from pathlib import Path

import onnx

from cards.record import VersionRecord
from export.graph import compacted, write_bytes
from export.record import WEIGHTS, git_revision, hashes, now, write_record


def write_converted(target: Path, model: onnx.ModelProto, weights: bytes, *, origin: str, licence: str) -> None:
    """Write ``model.onnx``, ``weights.safetensors`` and ``record.json`` into ``target``, ``<model>/<version>``.

    The ONNX file keeps what half precision holds exactly in it (:func:`export.graph.compacted`).

    Args:
        origin: package, version and how it was converted; licence: of the package, which allows commercial use.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name, content in (
        (WEIGHTS, weights),
        ("model.onnx", compacted(model).SerializeToString(deterministic=True)),
    ):
        print(f"{target / name}: {len(content)} bytes, sha256 {write_bytes(target / name, content)}")
    files = hashes(target)
    record = VersionRecord(
        model=model.graph.name,
        version=int(target.name),
        created=now(),
        git_revision=git_revision(),
        files=files,
        weights_sha256=files[WEIGHTS],
        origin=origin,
        licence=licence,
        commercial=True,
    )
    write_record(target, record)
