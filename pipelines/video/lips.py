"""Lips of one face through a video: fourteen measures of the mesh, seen from the front, at 25 a second.

The mesh network has learnt from many faces what a mouth is; what is left to learn for lip-sync is how it moves. The
head's turns are taken out by a frame of reference that eyes and nose span, in three dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from pipelines.analyzers.landmarks import MARGIN, MESH, SIDE, mesh_pictures, mesh_points
from pipelines.image.align import align_faces
from pipelines.infer import Call, Infer, digest_hex
from pipelines.video.frame import Frame
from pipelines.video.steady import MOST_GAP_S, landmarks_at

FloatArray = npt.NDArray[np.float64]

RATE = 25
"""Measures a second."""

LOWER_OUTER, UPPER_OUTER = 17, 0
OUTER_CORNERS, INNER_CORNERS = (61, 291), (78, 308)
HEIGHTS = (((14, 13),), ((87, 82), (317, 312)), ((178, 81), (402, 311)), ((88, 80), (318, 310)))
"""Lower and upper inner lip in pairs from the middle outwards, those of both sides together."""
CHIN = 152
ANCHORS = (33, 263, 168, 2)
"""Outer corners of the eyes, bridge and base of the nose: speech hardly moves them."""
POINTS = tuple(
    dict.fromkeys(
        (
            *(LOWER_OUTER, UPPER_OUTER, *OUTER_CORNERS, *INNER_CORNERS, CHIN),
            *(point for group in HEIGHTS for pair in group for point in pair),
            *ANCHORS,
        )
    )
)
"""Numbers of the mesh points that are kept."""
MEASURES = 14
UNIT = 0.03
"""Movement of lips is counted in this share of the distance between the eyes' outer corners,"""
MOST = 6.0
"""and cut at so many."""
STEADY_S = 0.1
"""Standard deviation, in seconds, with which the head's frame of reference is smoothed."""
LEAST_PRESENCE = 0.0
"""Log-odds of the mesh that a face is there."""
BATCH = 16


@dataclass(frozen=True)
class Lips:
    """Lips at 25 a second.

    Attributes:
        start: seconds from the video's first frame.
        measures: float32 [n, 14], movement around each measure's median: four heights of the opening from the middle
            outwards, height and two widths of the lips, height of upper lip, lower lip, chin and corners, and depth of
            upper lip, lower lip and corners. Mirrored faces have the same.
        seen: bool [n]; False where no face was followed.
        record: sha256 of the mesh's weights.
    """

    start: float
    measures: npt.NDArray[np.float32]
    seen: npt.NDArray[np.bool_]
    record: str = ""

    def __len__(self) -> int:
        return len(self.measures)


def no_lips() -> Lips:
    """Of a video without a face."""
    return Lips(0.0, np.zeros((0, MEASURES), np.float32), np.zeros(0, bool))


def read_lips(
    frames: Iterable[Frame],
    times: npt.NDArray[np.floating[Any]],
    landmarks: npt.NDArray[np.floating[Any]],
    infer: Infer,
    scale: float = 1.0,
) -> Lips:
    """Follow the lips of one face.

    Args:
        frames: at the video's own rate, in the order of time; sixteen crops are in memory at a time.
        times, landmarks: of a look at the face, five a second are enough: seconds, rising, [k], and [k, 5, 2] in pixels
            of full frames.
        infer: runs ``face_mesh``.
        scale: pixels of ``frames`` over pixels of full frames.

    Raises:
        deepscan_client.errors.DeepScanError: the network did not answer.
    """
    stamps: list[float] = []
    seen: list[bool] = []
    points: list[npt.NDArray[np.float32]] = []
    there: list[npt.NDArray[np.float32]] = []
    waiting: list[npt.NDArray[np.uint8]] = []
    record = ""
    if not len(times):
        return no_lips()

    def ask() -> str:
        inputs = {"IMAGES": mesh_pictures(np.concatenate(waiting))}
        (answer,) = infer.run([Call(MESH, inputs, ("POINTS", "PRESENCE", "RECORD"))])
        points.append(mesh_points(answer["POINTS"])[:, POINTS].astype(np.float32))
        there.append(answer["PRESENCE"][:, 0])
        waiting.clear()
        return digest_hex(answer["RECORD"][0])

    for frame in frames:
        places, (followed,) = landmarks_at(times, landmarks, np.array([frame.time]))
        waiting.append(align_faces(frame.pixels, (places + 0.5) * scale - 0.5, SIDE, MARGIN))
        stamps.append(frame.time)
        seen.append(bool(followed))
        if len(waiting) == BATCH:
            record = ask()
    if waiting:
        record = ask()
    if len(stamps) < 2:
        return no_lips()
    present = np.array(seen) & (np.concatenate(there) > LEAST_PRESENCE)
    return lips_of(np.array(stamps), np.concatenate(points), present, record)


def lips_of(
    times: FloatArray, points: npt.NDArray[np.floating[Any]], seen: npt.NDArray[np.bool_], record: str = ""
) -> Lips:
    """Lips from mesh points of two or more frames.

    Args:
        times: seconds, rising, [k]; points: [k, len(POINTS), 3], any unit; seen: [k].
    """
    rate = (len(times) - 1) / max(float(times[-1] - times[0]), 1e-6)
    raw = measures_of(from_the_front(np.asarray(points, np.float64), STEADY_S * rate))
    count = int(np.floor((times[-1] - times[0]) * RATE + 1e-6)) + 1
    moments = times[0] + np.arange(count) / RATE
    after = np.clip(np.searchsorted(times, moments - 1e-6), 1, len(times) - 1)
    followed = seen[after - 1] & seen[after] & (times[after] - times[after - 1] < MOST_GAP_S)
    even = np.stack([np.interp(moments, times, column) for column in raw.T], axis=1)
    usual = np.median(even[followed] if followed.any() else even, axis=0)
    moved = np.clip((even - usual) / UNIT, -MOST, MOST)
    return Lips(float(times[0]), np.nan_to_num(moved).astype(np.float32), followed, record)


def from_the_front(points: FloatArray, steady: float) -> FloatArray:
    """Points in the head's own frame, in distances between the eyes: x to the right, y down, z in depth.

    Args:
        points: [k, len(POINTS), 3] of the mesh; steady: standard deviation of the smoothing, in frames.
    """
    anchors = points[:, [POINTS.index(number) for number in ANCHORS]]
    anchors = gaussian_filter1d(anchors, max(steady, 1e-3), axis=0, mode="nearest")
    across = anchors[:, 1] - anchors[:, 0]
    length = np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    x = across / length
    z = np.cross(x, anchors[:, 3] - anchors[:, 2])
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-6)
    axes = np.stack([x, np.cross(z, x), z], axis=1)
    return np.asarray(np.einsum("kij,kpj->kpi", axes, points - anchors[:, 3:4]) / length[:, None])


def measures_of(points: FloatArray) -> FloatArray:
    """The fourteen measures of :class:`Lips`, [k, 14], as they are."""

    def at(number: int, axis: int) -> FloatArray:
        return np.asarray(points[:, POINTS.index(number), axis])

    def middle(pair: tuple[int, int], axis: int) -> FloatArray:
        return np.asarray((at(pair[0], axis) + at(pair[1], axis)) / 2)

    heights = [np.mean([at(low, 1) - at(high, 1) for low, high in group], axis=0) for group in HEIGHTS]
    widths = [at(right, 0) - at(left, 0) for left, right in (INNER_CORNERS, OUTER_CORNERS)]
    return np.stack(
        [
            *heights,
            at(LOWER_OUTER, 1) - at(UPPER_OUTER, 1),
            *widths,
            at(UPPER_OUTER, 1),
            at(LOWER_OUTER, 1),
            at(CHIN, 1),
            middle(OUTER_CORNERS, 1),
            at(UPPER_OUTER, 2),
            at(LOWER_OUTER, 2),
            middle(OUTER_CORNERS, 2),
        ],
        axis=1,
    )
