"""Head pose from the points of the face mesh, of the whole face and of its inner part alone.

After Yang, Li and Lyu, Exposing Deep Fakes Using Inconsistent Head Poses (ICASSP 2019): a swap replaces the inner face,
so the direction that its points tell may differ from that of all points. Each set is fitted to one mean head shape
(:mod:`pipelines.analyzers.head_shape`) by OpenCV's ``solvePnP`` for a camera whose focal length is the longer side of
the frame. The shape is not the person's own: a difference of some degrees is there for real faces too, and what is
read from it is how large it is and how much it moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.analyzers.head_shape import HEAD
from pipelines.analyzers.landmarks import FACE_OVAL, INNER_FACE

Floats = NDArray[np.float64]

POSE_POINTS = tuple(HEAD)
"""Numbers of the mesh points, in the order that :func:`head_poses` wants."""
_SHAPE = np.array([HEAD[point] for point in POSE_POINTS])
_INNER = np.array([POSE_POINTS.index(point) for point in INNER_FACE])
_ALL = np.array([POSE_POINTS.index(point) for point in (*INNER_FACE, *FACE_OVAL)])


@dataclass(frozen=True)
class HeadPoses:
    """Rotation of the head in each frame, from the head's axes to the camera's; NaN where it was not found."""

    whole: Floats
    """[n, 3, 3] from all points."""
    inner: Floats
    """[n, 3, 3] from the inner face."""

    @property
    def gaps(self) -> Floats:
        """Angle between the two directions that the face looks in, degrees [n]."""
        dots = (self.whole[:, :, 2] * self.inner[:, :, 2]).sum(axis=1)
        return np.asarray(np.degrees(np.arccos(np.clip(dots, -1.0, 1.0))))

    @property
    def angles(self) -> Floats:
        """Pitch (up), yaw (to the right of the picture) and roll (clockwise) from all points, degrees [n, 3]."""
        return euler_angles(self.whole)


def head_poses(points: Floats, size: tuple[int, int]) -> HeadPoses:
    """The pose of each frame.

    Args:
        points: [n, len(POSE_POINTS), 2], x y in pixels of the frame.
        size: width and height of the frame in pixels.
    """
    whole = np.stack([_pose(row, _ALL, size) for row in points]) if len(points) else np.zeros((0, 3, 3))
    inner = np.stack([_pose(row, _INNER, size) for row in points]) if len(points) else np.zeros((0, 3, 3))
    return HeadPoses(whole, inner)


def _pose(points: Floats, chosen: NDArray[np.int64], size: tuple[int, int]) -> Floats:
    lost = np.full((3, 3), np.nan)
    if not np.isfinite(points).all():
        return lost
    focal = float(max(size))
    camera = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])
    eyes = [POSE_POINTS.index(33), POSE_POINTS.index(263)]
    width = max(1.0, float(np.linalg.norm(points[eyes[1]] - points[eyes[0]])))
    middle = points[eyes].mean(axis=0)
    far = focal / width
    start = np.array([(middle[0] - camera[0, 2]) / width, (middle[1] - camera[1, 2]) / width, far])
    # From a frontal face at the distance that its eyes tell, so that the mirrored solution is never found.
    found, turn, _ = cv2.solvePnP(
        _SHAPE[chosen],
        np.ascontiguousarray(points[chosen]),
        camera,
        np.zeros(4),
        np.zeros(3),
        start,
        useExtrinsicGuess=True,
        flags=cv2.SOLVEPNP_ITERATIVE,
    )
    if not found or not np.isfinite(turn).all():
        return lost
    return np.asarray(cv2.Rodrigues(turn)[0], dtype=np.float64)


def euler_angles(rotations: Floats) -> Floats:
    """Pitch, yaw and roll of rotations, degrees [n, 3]; the rotation is roll after pitch after yaw.

    Args:
        rotations: [n, 3, 3], axes right, down and away from the camera.
    """
    forward = -rotations[:, :, 2]  # the face looks towards the camera: against its third axis
    yaw = np.arctan2(forward[:, 0], -forward[:, 2])
    pitch = np.arcsin(np.clip(-forward[:, 1], -1.0, 1.0))
    roll = np.arctan2(rotations[:, 1, 0], rotations[:, 1, 1])
    return np.asarray(np.degrees(np.stack([pitch, yaw, roll], axis=1)))
