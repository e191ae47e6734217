"""The sample portrait on a head of round shape, turned by known angles and photographed by a camera.

The shape is an ellipsoid with a nose, made of common proportions of heads and of nothing that the analyzers know: not
the mean head that poses are fitted to, and not the depths of the face mesh.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.pipelines.analyzers.portraits import LANDMARKS, PHOTO

Floats = NDArray[np.float64]
SIZE = (640, 480)
ZOOM = 2.0
EYES = 62.0
"""Pixels of the photo between the outer corners of her eyes: 89 mm of a grown woman's 140 mm wide head."""
CENTRE = (224.5, 118.0)
HALF = (0.80 * EYES, 1.22 * EYES, 1.05 * EYES)
"""Half axes of the head in pixels of the photo: to the side, upwards, and to the front from between the ears."""
NOSE = ((222.5, 126.0), 0.17 * EYES, 0.24 * EYES, 0.30 * EYES)
"""Its tip, how broad and high it is (standard deviations), and how far it stands out."""
_FINE = 2.5


@lru_cache(maxsize=1)
def _solid() -> tuple[Floats, NDArray[np.uint8]]:
    """Points [n, 3] right, down and away from the camera, from the middle between the ears, in pixels of the photo;
    and their colours [n, 3]."""
    photo = cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)[:330, 60:400]
    photo = cv2.resize(photo, None, fx=_FINE, fy=_FINE, interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[: photo.shape[0], : photo.shape[1]]
    x, y = (columns + 0.5) / _FINE - 0.5 + 60, (rows + 0.5) / _FINE - 0.5
    return np.stack([x - CENTRE[0], y - CENTRE[1], depths(x, y)], axis=-1).reshape(-1, 3), photo.reshape(-1, 3)


def depths(x: Floats, y: Floats) -> Floats:
    """How far points of the photo lie behind the plane of the ears; negative before it."""
    inside = 1 - ((x - CENTRE[0]) / HALF[0]) ** 2 - ((y - CENTRE[1]) / HALF[1]) ** 2
    (nose_x, nose_y), broad, high, out = NOSE
    # Above its tip the bridge of a nose falls slowly, below it ends at once.
    along = np.where(y < nose_y, (y - nose_y) / (1.6 * high), (y - nose_y) / (0.6 * high))
    nose = out * np.exp(-0.5 * (((x - nose_x) / broad) ** 2 + along**2))
    return np.asarray(-HALF[2] * np.sqrt(np.maximum(inside, 0.0)) - np.where(inside > 0, nose, 0.0))


def turned(points: Floats, pitch: float, yaw: float, roll: float) -> Floats:
    """Points of the head after it looked up by ``pitch``, to the right of the picture by ``yaw``, and was tilted
    clockwise by ``roll``, degrees. Written out by hand, so that nobody's convention is taken over."""
    x, y, z = points.T
    up, aside, tilt = np.radians([pitch, yaw, roll])
    # Looking up: what is in front (negative z) goes up (negative y).
    y, z = y * np.cos(up) + z * np.sin(up), z * np.cos(up) - y * np.sin(up)
    # Looking to the right: what is in front goes to positive x.
    x, z = x * np.cos(aside) - z * np.sin(aside), z * np.cos(aside) + x * np.sin(aside)
    # Clockwise as seen: what is above goes to the right.
    x, y = x * np.cos(tilt) - y * np.sin(tilt), y * np.cos(tilt) + x * np.sin(tilt)
    return np.stack([x, y, z], axis=1)


def seen(points: Floats) -> Floats:
    """Pixels [n, 2] of the picture, through a lens whose focal length is the picture's width."""
    far = SIZE[0] / ZOOM
    return ((points[:, :2] * SIZE[0]) / (points[:, 2:] + far)) + np.array(SIZE) / 2 - 0.5


def photograph(pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0) -> tuple[NDArray[np.uint8], Floats]:
    """A picture of the head, UINT8 [480, 640, 3], and the five landmarks of a detector in it, [5, 2]."""
    solid, colours = _solid()
    points = turned(solid, pitch, yaw, roll)
    places = np.rint(seen(points)).astype(np.int64)
    order = np.argsort(-points[:, 2])  # what is near is drawn last
    order = order[((places[order] >= 0) & (places[order] < SIZE)).all(axis=1)]
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    drawn = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    picture[places[order, 1], places[order, 0]] = colours[order]
    drawn[places[order, 1], places[order, 0]] = 1
    closed = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    picture = np.where(drawn[..., None] > 0, picture, cv2.dilate(picture, np.ones((3, 3), np.uint8)))
    picture[closed == 0] = (90, 95, 100)
    marks = np.concatenate([LANDMARKS - CENTRE, depths(*LANDMARKS.T)[:, None]], axis=1)
    return np.asarray(picture, dtype=np.uint8), seen(turned(marks, pitch, yaw, roll))
