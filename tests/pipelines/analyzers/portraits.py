"""A talking head whose truth is known: the sample portrait, moved, its lids painted shut, its skin tinted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

PHOTO = Path(__file__).resolve().parents[3] / "samples" / "astronaut.jpg"
SIZE = (640, 480)
ZOOM = 2.0
#: In pixels of the photo: left eye, right eye, nose, corners of the mouth, as the face detector finds them.
LANDMARKS = np.array([[203.4, 100.4], [246.7, 103.3], [221.9, 126.1], [204.2, 145.0], [240.3, 147.3]])
#: Middle, half width and half height of both eyes, in pixels of the photo.
EYES = (((203.7, 101.3), 13.0, 5.5), ((246.5, 103.0), 13.0, 5.5))
#: Top left and bottom right of what the frame shows of the photo.
_CORNER = (60, 10)
BLOOD = np.array([0.33, 0.77, 0.53])


@dataclass(frozen=True)
class Picture:
    """A frame as the analyzers want it."""

    time: float
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """Frames with what is true of them."""

    frames: list[Picture]
    times: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    """[n, 5, 2] in pixels of the frames."""
    angles: NDArray[np.float64]
    """Degrees by which the portrait was turned in the picture, clockwise, [n]."""


def make_clip(
    times: Sequence[float] | NDArray[np.float64],
    blinks: Sequence[float] = (),
    beats: float = 0.0,
    tint: float = 1.2,
    speaks: float = 0.0,
    looks: Sequence[tuple[float, float]] = (),
    sway: float = 1.0,
    noise: float = 0.8,
    seed: int = 0,
) -> Clip:
    """A clip.

    Args:
        times: of the frames, seconds.
        blinks: seconds at which the lids are shut; they fall in 0.1 s and rise in 0.2 s.
        beats: of the pulse a minute; its tint has ``tint`` grey levels in green.
        speaks: hertz at which the lower face moves.
        looks: seconds, and where the painted eyes look from then on, in widths of an eye to the right.
        sway: 1 for some pixels and degrees of slow movement.
        noise: standard deviation in grey levels.
    """
    rng = np.random.default_rng(seed)
    photo = cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)
    photo = cv2.resize(photo, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    face = np.zeros(photo.shape[:2], np.float32)
    centre = tuple((ZOOM * LANDMARKS.mean(axis=0)).astype(int).tolist())
    cv2.ellipse(face, centre, (int(42 * ZOOM), int(58 * ZOOM)), 0, 0, 360, 1.0, -1)
    face = cv2.GaussianBlur(face, (0, 0), 9)[..., None]
    frames, landmarks, angles = [], [], []
    for time in np.asarray(times, dtype=np.float64).tolist():
        drawn = photo.copy()
        if looks:
            _paint_eyes(drawn, [aside for since, aside in looks if since <= time][-1])
        shut = max((_shut(time - moment) for moment in blinks), default=0.0)
        if shut > 0:
            _paint_lids(drawn, shut)
        if speaks:
            drawn = _open_mouth(drawn, 0.5 - 0.5 * np.cos(2 * np.pi * speaks * time))
        drawn = drawn.astype(np.float32)
        if beats:
            drawn += face * (tint * np.sin(2 * np.pi * beats / 60 * time) * BLOOD).astype(np.float32)
        angle = sway * 4.0 * np.sin(2 * np.pi * 0.23 * time)
        matrix = cv2.getRotationMatrix2D((ZOOM * 225.0, ZOOM * 120.0), -angle, 1 + 0.03 * sway * np.sin(0.9 * time))
        matrix[:, 2] += [-ZOOM * _CORNER[0] + sway * 9 * np.sin(1.1 * time), -ZOOM * _CORNER[1]]
        moved = cv2.warpAffine(drawn, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        moved += rng.normal(0, noise, moved.shape).astype(np.float32)
        frames.append(Picture(time, np.clip(np.rint(moved), 0, 255).astype(np.uint8)))
        landmarks.append(ZOOM * LANDMARKS @ matrix[:, :2].T + matrix[:, 2])
        angles.append(angle)
    return Clip(frames, np.asarray(times, dtype=np.float64), np.array(landmarks, dtype=np.float32), np.array(angles))


def _shut(since: float) -> float:
    """How far the lid is down, 0 to 1, so many seconds after it was shut."""
    return float(np.clip(1 + since / 0.1 if since < 0 else 1 - since / 0.2, 0, 1))


def _paint_eyes(pixels: NDArray[np.uint8], aside: float) -> None:
    """Eyes with a brown iris that stands beside the middle by so many widths of the eye."""
    for (x, y), width, height in EYES:
        x, y, width, height = ZOOM * x, ZOOM * y, ZOOM * width, ZOOM * height
        white = np.zeros(pixels.shape[:2], np.float32)
        axes = (round(8 * 0.95 * width), round(8 * 0.8 * height))
        cv2.ellipse(white, (round(8 * x), round(8 * y)), axes, 0, 0, 360, 1.0, -1, cv2.LINE_AA, 3)
        eye = np.full_like(pixels, (205, 195, 188))
        place = (round(8 * (x + aside * 2 * width)), round(8 * y))
        for radius, colour in ((5.2, (70, 45, 30)), (4.6, (105, 70, 45)), (2.2, (15, 10, 10))):
            cv2.circle(eye, place, round(8 * ZOOM * radius), colour, -1, cv2.LINE_AA, 3)
        white = cv2.GaussianBlur(white, (0, 0), 1.0)[..., None]
        pixels[...] = np.rint(white * eye + (1 - white) * pixels).astype(np.uint8)


def _paint_lids(pixels: NDArray[np.uint8], shut: float) -> None:
    """Draw the upper lid further down, in the skin's colour above the eye, with a line of lashes."""
    for (x, y), width, height in EYES:
        x, y, width, height = ZOOM * x, ZOOM * y, ZOOM * width, ZOOM * height
        skin = np.median(pixels[int(y - 2.2 * height) : int(y - 1.4 * height), int(x - 8) : int(x + 8)], axis=(0, 1))
        angles = np.linspace(np.pi, 2 * np.pi, 40)
        top = np.stack([x + width * np.cos(angles), y + 1.3 * height * np.sin(angles)], axis=1)
        # The edge of the lid goes from the upper arc (-1) to the lower (+0.8).
        edge = y - height * np.sin(-angles) * (1 - 1.8 * shut)
        bottom = np.stack([top[::-1, 0], edge[::-1]], axis=1)
        shape = np.rint(np.concatenate([top, bottom]) * 8).astype(np.int32)
        cv2.fillPoly(pixels, [shape], skin.tolist(), cv2.LINE_AA, 3)
        cv2.polylines(pixels, [np.rint(bottom * 8).astype(np.int32)], False, (60, 40, 35), 2, cv2.LINE_AA, 3)


def _open_mouth(pixels: NDArray[np.uint8], opening: float) -> NDArray[np.uint8]:
    """Move what lies below the lips' line down by up to 7 pixels of the photo, dark between."""
    line = int(ZOOM * 147)
    down = round(ZOOM * 7 * opening)
    if down:
        part = pixels.copy()
        part[line + down :] = pixels[line : len(pixels) - down]
        x0, x1 = int(ZOOM * 208), int(ZOOM * 237)
        part[line : line + down] = pixels[line : line + 1]
        part[line : line + down, x0:x1] = (50, 20, 20)
        return part
    return pixels
