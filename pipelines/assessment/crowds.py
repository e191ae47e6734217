"""Many faces in one photo: mosaics of real faces, and one fake among nine real faces.

The chance that one of n real faces looks like a fake rises with n; these mosaics measure what is left of that after the
correction (``pipelines.fusion.combine_faces``), and what the correction costs where one face is a fake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from deepscan_client.codes import Label
from deepscan_client.verdict import Face, Verdict
from pipelines.assessment.curves import Share, wilson

Pixels = NDArray[np.uint8]
TILE = 224
SIZES = (1, 2, 10, 30)
AMONG = 9
#: Side of the square around a face, in sides of its box.
_ROOM = 1.7
#: Faces smaller than this are not put into a mosaic: enlarged, they would be another kind of photo.
LEAST_FACE = 56.0


class CrowdRow(BaseModel):
    """Mosaics of one make. A face may stand in several mosaics, so the limits are a little too narrow."""

    model_config = ConfigDict(frozen=True)

    real: int
    fake: int
    """Faces of each class in a mosaic."""
    faces_found: float
    """Mean number of faces that were found in a mosaic."""
    flagged: Share
    """Mosaics with the label ``fake``."""
    pointed: Share | None = None
    """Mosaics in which the face with the highest probability is the fake one."""


def face_tile(pixels: Pixels, box: Sequence[float], tile: int = TILE) -> Pixels | None:
    """A square of a photo around a face, uint8 [tile, tile, 3]; None where the face is small."""
    x0, y0, x1, y1 = box
    side = max(x1 - x0, y1 - y0)
    if side < LEAST_FACE:
        return None
    height, width = pixels.shape[:2]
    reach = min(side * _ROOM, height, width) / 2
    middle_x = float(np.clip((x0 + x1) / 2, reach, width - reach))
    middle_y = float(np.clip((y0 + y1) / 2, reach, height - reach))
    left, top, span = round(middle_x - reach), round(middle_y - reach), max(1, round(2 * reach))
    cut = pixels[max(0, top) : top + span, max(0, left) : left + span]
    how = cv2.INTER_AREA if span > tile else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cut, (tile, tile), interpolation=how), dtype=np.uint8)


def mosaic(tiles: Sequence[Pixels]) -> Pixels:
    """Tiles of one size in rows on a nearly square sheet; places that stay free are grey."""
    columns = int(np.ceil(np.sqrt(len(tiles))))
    rows = -(-len(tiles) // columns)
    side = tiles[0].shape[0]
    sheet = np.full((rows * side, columns * side, 3), 127, np.uint8)
    for place, picture in enumerate(tiles):
        top, left = place // columns * side, place % columns * side
        sheet[top : top + side, left : left + side] = picture
    return sheet


def tile_of(face: Face, columns: int, tile: int = TILE) -> int:
    """Which place of a mosaic a face lies in."""
    x0, y0, x1, y1 = face.box
    return int((y0 + y1) / 2 // tile) * columns + int((x0 + x1) / 2 // tile)


def measure_crowds(
    reals: Sequence[Pixels],
    fakes: Sequence[Pixels],
    judge: Callable[[Pixels], Verdict],
    mosaics: int = 40,
    sizes: Sequence[int] = SIZES,
    seed: int = 7,
    seen: Callable[[], object] = lambda: None,
) -> list[CrowdRow]:
    """Make and judge mosaics; a size for which there are too few faces is left out.

    Args:
        reals, fakes: tiles of :func:`face_tile`.
        judge: pixels to a verdict.
        mosaics: of each make.
        seen: told of each mosaic.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for real, fake in [*((size, 0) for size in sizes), (AMONG, 1)]:
        if real > len(reals) or fake > len(fakes):
            continue
        found, flagged, pointed = 0, 0, 0
        for _ in range(mosaics):
            tiles = [reals[place] for place in rng.choice(len(reals), real, replace=False)]
            where = int(rng.integers(real + 1)) if fake else -1
            if fake:
                tiles.insert(where, fakes[int(rng.integers(len(fakes)))])
            verdict = judge(mosaic(tiles))
            found += len(verdict.faces)
            flagged += verdict.label is Label.FAKE
            if fake and verdict.faces:
                first = max(verdict.faces, key=lambda face: face.fake_probability or 0.0)
                pointed += tile_of(first, int(np.ceil(np.sqrt(len(tiles))))) == where
            seen()
        rows.append(
            CrowdRow(
                real=real,
                fake=fake,
                faces_found=found / mosaics,
                flagged=wilson(flagged, mosaics),
                pointed=wilson(pointed, mosaics) if fake else None,
            )
        )
    return rows
