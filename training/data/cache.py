"""The cache of training photos: pixels in one memory map, with the landmarks of the face that is judged.

Photos are kept as they are (at most 256 px a side), not as aligned crops, so that training degrades a photo first and
aligns it afterwards with the very function that serving uses.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cards.card import FaceDetection
from pipelines.image.align import align_faces
from pipelines.image.faces import Detect, find_faces
from training.data.manifest import Row
from training.data.near_duplicates import cluster, perceptual_hash

SIDE = 256
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoCache:
    """Photos with a face, as columns.

    Attributes:
        pixels: uint8 [n, 256, 256, 3]; a photo fills the upper left corner.
        shapes: int32 [n, 2], height and width of each photo.
        landmarks: float32 [n, 5, 2] in photo pixels.
        clusters: int32 [n]; near-duplicates and photos of one clip share a number.
        rows: the manifest's rows.
    """

    pixels: npt.NDArray[np.uint8]
    shapes: npt.NDArray[np.int32]
    landmarks: npt.NDArray[np.float32]
    clusters: npt.NDArray[np.int32]
    rows: Sequence[Row]

    def photo(self, index: int) -> npt.NDArray[np.uint8]:
        """The photo without its padding, uint8 [h, w, 3]."""
        height, width = self.shapes[index]
        return np.asarray(self.pixels[index, :height, :width])

    def __len__(self) -> int:
        return len(self.rows)


def build_cache(
    data: Path, rows: Sequence[Row], target: Path, detect: Detect, policy: FaceDetection | None = None
) -> None:
    """Detect the largest face of each photo and write ``photos.npy`` and ``index.csv`` into ``target``.

    Photos in which no face is found are left out and counted in the log.
    """
    target.mkdir(parents=True, exist_ok=True)
    photos = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        str(target / "photos.npy"), mode="w+", dtype=np.uint8, shape=(len(rows), SIDE, SIDE, 3)
    )
    kept: list[Row] = []
    columns: list[list[float]] = []
    hashes: list[int] = []
    for row in rows:
        image = cv2.imread(str(data / row.path), cv2.IMREAD_COLOR)
        if image is None:
            _LOG.warning("%s cannot be read", row.path)
            continue
        pixels = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
        excess = max(pixels.shape[:2]) / SIDE
        if excess > 1:
            size = (round(pixels.shape[1] / excess), round(pixels.shape[0] / excess))
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        faces = find_faces(pixels, detect, policy)
        if not len(faces):
            _LOG.warning("%s: no face", row.path)
            continue
        photos[len(kept), : pixels.shape[0], : pixels.shape[1]] = pixels
        hashes.append(perceptual_hash(align_faces(pixels, faces.landmarks[:1], 64, 1.3)[0]))
        columns.append([*pixels.shape[:2], *faces.landmarks[0].reshape(-1).tolist()])
        kept.append(row)
    clusters = cluster(hashes, [row.identities for row in kept])
    write_index(target, kept, clusters, columns)
    _LOG.info("%d of %d photos have a face; %d clusters", len(kept), len(rows), clusters.max(initial=-1) + 1)


def write_index(
    target: Path, rows: Sequence[Row], clusters: npt.NDArray[np.int32], columns: Sequence[Sequence[float]]
) -> None:
    """Write ``index.csv``; ``columns`` holds height, width and the ten coordinates of each row's landmarks."""
    with (target / "index.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(
            ["path", "label", "source", "identities", "licence", "commercial", "cluster", "height", "width"]
            + [f"{axis}{point}" for point in range(5) for axis in "xy"]
        )
        for row, group, values in zip(rows, clusters, columns, strict=True):
            writer.writerow(
                [row.path, row.label, row.source, " ".join(row.identities), row.licence, row.commercial, group]
                + [f"{value:.3f}" if place > 1 else int(value) for place, value in enumerate(values)]
            )


def load_cache(folder: Path) -> PhotoCache:
    """Open a cache that ``build_cache`` wrote (the pixels stay on disk and are mapped read-only)."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as handle:
        table = list(csv.DictReader(handle))
    rows = [
        Row(r["path"], int(r["label"]), r["source"], tuple(r["identities"].split()), r["licence"], r["commercial"])
        for r in table
    ]
    points = [[float(r[f"{axis}{point}"]) for point in range(5) for axis in "xy"] for r in table]
    return PhotoCache(
        pixels=np.load(folder / "photos.npy", mmap_mode="r")[: len(rows)],
        shapes=np.array([[int(r["height"]), int(r["width"])] for r in table], dtype=np.int32),
        landmarks=np.array(points, dtype=np.float32).reshape(-1, 5, 2),
        clusters=np.array([int(r["cluster"]) for r in table], dtype=np.int32),
        rows=rows,
    )
