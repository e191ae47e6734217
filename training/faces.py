"""Faces of a user's photos, read as serving reads them and cached once: ``collect_faces``.

A photo goes through the probe and the decoder of the server (orientation, limits, formats), its largest face is found,
and a square of 2.2 face sides around it is kept, so that a face in a large photo keeps its resolution.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deepscan_client.errors import DeepScanError
from pipelines.image.align import align_faces, face_sizes
from pipelines.image.decode import decode_image
from pipelines.image.faces import Detect, find_faces
from pipelines.image.probe import probe_image
from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.near_duplicates import cluster, perceptual_hash

SIDE = 384
REACH = 2.2
_LOG = logging.getLogger(__name__)


def around_face(
    pixels: npt.NDArray[np.uint8], landmarks: npt.NDArray[np.float32], side: int = SIDE
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """The part of a photo around a face, at most ``side`` px, and the landmarks in it.

    Args:
        pixels: uint8 [h, w, 3]; landmarks: float32 [5, 2] in its pixels.
    """
    half = 0.5 * REACH * float(face_sizes(landmarks[None])[0])
    middle = landmarks.mean(axis=0)
    x0, y0 = np.maximum(np.floor(middle - half), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(middle + half).astype(int) + 1, pixels.shape[1::-1])
    part = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    points = landmarks.astype(np.float64) - (x0, y0)
    excess = max(part.shape[:2]) / side
    if excess > 1:
        size = (max(1, round(part.shape[1] / excess)), max(1, round(part.shape[0] / excess)))
        factors = np.array([size[0] / part.shape[1], size[1] / part.shape[0]])
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        points = (points + 0.5) * factors - 0.5
    return part, points.astype(np.float32)


def collect_faces(
    root: Path,
    rows: Sequence[Row],
    folder: Path,
    detect: Detect,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> PhotoCache:
    """Read photos, find their faces, and cache both; what was cached for the same files is used again.

    Photos that cannot be read or show no face are left out, each with a line in the log.

    Args:
        root: folder that the rows' paths are relative to.
        folder: where the cache lies.
        told: called with the photos done and their number.
    """
    key = _key(root, rows)
    if (folder / "faces.json").is_file():
        kept = json.loads((folder / "faces.json").read_text(encoding="utf-8"))
        if kept["key"] == key:
            return _opened(folder, kept)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faces.json").unlink(missing_ok=True)
    photos = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        str(folder / "faces.npy"), mode="w+", dtype=np.uint8, shape=(max(1, len(rows)), SIDE, SIDE, 3)
    )
    used: list[Row] = []
    hashes: list[int] = []
    entries = []
    for number, row in enumerate(rows):
        told(number, len(rows))
        try:
            pixels = decode_image(probe_image((root / row.path).read_bytes()).picture)
        except (DeepScanError, OSError) as error:
            _LOG.warning("%s left out: %s", row.path, error)
            continue
        faces = find_faces(pixels, detect)
        if not len(faces):
            _LOG.warning("%s left out: no face was found", row.path)
            continue
        part, points = around_face(pixels, faces.landmarks[0])
        photos[len(used), : part.shape[0], : part.shape[1]] = part
        hashes.append(perceptual_hash(align_faces(part, points[None], 64, 1.3)[0]))
        entries.append({**asdict(row), "shape": part.shape[:2], "landmarks": points.tolist()})
        used.append(row)
    told(len(rows), len(rows))
    photos.flush()
    groups = cluster(hashes, [row.identities for row in used]) if used else np.zeros(0, np.int32)
    told_all = {"key": key, "clusters": groups.tolist(), "faces": entries}
    partial = folder / "faces.partial"
    partial.write_text(json.dumps(told_all) + "\n", encoding="utf-8")
    partial.replace(folder / "faces.json")
    return _opened(folder, told_all)


def _key(root: Path, rows: Sequence[Row]) -> str:
    """Changes with the files, their labels and splits."""
    digest = hashlib.sha256(f"{SIDE} {REACH}".encode())
    for row in rows:
        state = (root / row.path).stat() if (root / row.path).exists() else None
        size, changed = (state.st_size, state.st_mtime_ns) if state else (0, 0)
        digest.update(f"{row.path} {row.label} {row.split} {row.commercial} {size} {changed}\n".encode())
    return digest.hexdigest()


def _opened(folder: Path, kept: dict[str, object]) -> PhotoCache:
    faces: list[dict[str, object]] = kept["faces"]  # type: ignore[assignment]
    names = list(Row.__dataclass_fields__)
    rows = []
    for face in faces:
        told = {name: face[name] for name in names}
        rows.append(Row(**{**told, "identities": tuple(told["identities"])}))  # type: ignore[arg-type]
    return PhotoCache(
        pixels=np.load(folder / "faces.npy", mmap_mode="r")[: len(rows)],
        shapes=np.array([face["shape"] for face in faces], np.int32).reshape(-1, 2),
        landmarks=np.array([face["landmarks"] for face in faces], np.float32).reshape(-1, 5, 2),
        clusters=np.array(kept["clusters"], np.int32),
        rows=rows,
    )
