"""Augmentation: one random choice of damage, applied alike to the two photos of a pair.

A real photo and the fake beside it go through the same crop, resampling and compression, so that none of these can
become a cue. Photos are damaged first and aligned afterwards by the function that serving uses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipelines.image.align import face_sizes, similarities, warp_crop
from training.data.recapture import Screenshot, draw_screenshot, draw_video, screenshot, video_frame

Pixels = npt.NDArray[np.uint8]
INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
MIN_FACE = 48.0


@dataclass(frozen=True)
class Damage:
    """One choice of everything that happens to a photo and its crop; the same value gives the same result.

    Attributes:
        turn (degrees), scale (factor), shift (share of the crop): movement of the crop.
        resolution: face size after shrinking, as a share of the smaller face of the pair.
        interpolation: OpenCV's code for that shrinking.
        gains, gamma: colour factors of R, G, B, and the exponent of brightness.
        retouch: strength (grey levels) of an edge-keeping smoothing, as beauty filters and cameras' portrait modes do.
        blur (sigma in pixels), noise (sigma in grey levels), noise_seed.
        codecs: up to two passes of (".jpg" or ".webp", quality).
        box: occluded part of the crop as x0, y0, x1, y1 in shares, empty for none; box_grey: its grey level.
        video: codec and quality of a video that the photo was a frame of; screenshot: how it was taken from a screen
            (both ``training.data.recapture``).
    """

    flip: bool = False
    turn: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    resolution: float = 1.0
    interpolation: int = cv2.INTER_AREA
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    grey: bool = False
    retouch: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    codecs: tuple[tuple[str, int], ...] = ()
    box: tuple[float, ...] = ()
    box_grey: int = 0
    video: tuple[str, int] | None = None
    screenshot: Screenshot | None = None


def _movement(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "turn": float(rng.normal(0, 4)),
        "scale": float(np.exp(rng.normal(0, 0.06))),
        "shift": (float(rng.normal(0, 0.02)), float(rng.normal(0, 0.02))),
    }


def draw_damage(
    rng: np.random.Generator, clean: float = 0.0, video_frames: float = 0.0, screenshots: float = 0.0
) -> Damage:
    """Draw one damage; a share of ``clean`` only moves and mirrors the crop.

    Ranges follow what photos meet on their way: JPEG 30 to 95, twofold shrinking, messengers.

    Args:
        video_frames, screenshots: shares of what is not clean that becomes a frame of a compressed video, and that is
            seen on a screen afterwards. Where both are 0 nothing is drawn for them: a seed keeps its damages.
    """
    if rng.random() < clean:
        return Damage(flip=bool(rng.random() < 0.5), **_movement(rng))
    coloured = rng.random() < 0.5
    codecs: list[tuple[str, int]] = []
    if rng.random() < 0.65:
        codecs.append((".jpg", int(rng.integers(30, 96))))
    if rng.random() < 0.2:
        kind = ".webp" if rng.random() < 0.4 else ".jpg"
        codecs.append((kind, int(rng.integers(40, 96))))
    box: tuple[float, ...] = ()
    if rng.random() < 0.1:
        x, y = rng.uniform(0, 0.8, 2)
        w, h = rng.uniform(0.1, 0.4, 2)
        box = (float(x), float(y), float(min(1.0, x + w)), float(min(1.0, y + h)))
    damage = Damage(
        flip=bool(rng.random() < 0.5),
        **_movement(rng),
        resolution=float(rng.uniform(0.45, 1.0)) if rng.random() < 0.5 else 1.0,
        interpolation=int(rng.choice(INTERPOLATIONS)),
        gains=tuple(float(g) for g in rng.normal(1, 0.06, 3)) if coloured else (1.0, 1.0, 1.0),  # type: ignore[arg-type]
        gamma=float(np.exp(rng.normal(0, 0.2))) if coloured else 1.0,
        grey=bool(rng.random() < 0.03),
        retouch=float(rng.uniform(12, 40)) if rng.random() < 0.12 else 0.0,
        blur=float(rng.uniform(0.3, 1.4)) if rng.random() < 0.15 else 0.0,
        noise=float(rng.uniform(1, 9)) if rng.random() < 0.2 else 0.0,
        noise_seed=int(rng.integers(2**31)),
        codecs=tuple(codecs),
        box=box,
        box_grey=int(rng.integers(256)),
    )
    if video_frames and rng.random() < video_frames:
        damage = replace(damage, video=draw_video(rng))
    if screenshots and rng.random() < screenshots:
        damage = replace(damage, screenshot=draw_screenshot(rng))
    return damage


def recode(pixels: Pixels, kind: str, quality: int) -> Pixels:
    """Encode and decode once; ``kind`` is ".jpg" or ".webp", quality 1 to 100."""
    flag = cv2.IMWRITE_WEBP_QUALITY if kind == ".webp" else cv2.IMWRITE_JPEG_QUALITY
    done, coded = cv2.imencode(kind, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [flag, quality])
    if not done:
        raise ValueError(f"OpenCV cannot encode {kind}")
    return np.asarray(cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _coloured(pixels: Pixels, damage: Damage) -> Pixels:
    if damage.gains == (1.0, 1.0, 1.0) and damage.gamma == 1.0:
        return pixels
    levels = np.linspace(0, 1, 256) ** damage.gamma * 255
    table = np.stack([np.clip(levels * gain, 0, 255) for gain in damage.gains], axis=1).round().astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table[None]), dtype=np.uint8)


def apply_damage(
    pixels: Pixels,
    landmarks: npt.NDArray[np.float32],
    damage: Damage,
    size: int,
    margin: float,
    face_size: float | None = None,
) -> Pixels:
    """Damage a photo and cut its aligned crop.

    Args:
        pixels: uint8 [h, w, 3]; landmarks: float32 [5, 2].
        face_size: face size in photo pixels to which ``damage.resolution`` refers (the smaller of a pair's two);
            the photo's own where it is left out. A face is never enlarged.

    Returns:
        uint8 [size, size, 3].
    """
    own = float(face_sizes(landmarks[None])[0])
    wanted = max(min(face_size or own, own) * damage.resolution, min(MIN_FACE, own))
    ratio = wanted / own
    photo, points = pixels, landmarks.astype(np.float64)
    if ratio < 0.98:
        target = (max(8, round(pixels.shape[1] * ratio)), max(8, round(pixels.shape[0] * ratio)))
        factors = np.array([target[0] / pixels.shape[1], target[1] / pixels.shape[0]])
        photo = np.asarray(cv2.resize(pixels, target, interpolation=damage.interpolation), dtype=np.uint8)
        points = (points + 0.5) * factors - 0.5
    photo = _coloured(photo, damage)
    if damage.grey:
        photo = np.repeat(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8)
    if damage.retouch:
        photo = np.asarray(cv2.bilateralFilter(photo, 5, damage.retouch, 3.0), dtype=np.uint8)
    if damage.blur:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), damage.blur), dtype=np.uint8)
    if damage.noise:
        grain = np.random.default_rng(damage.noise_seed).standard_normal(photo.shape, dtype=np.float32) * damage.noise
        photo = np.clip(photo + grain, 0, 255).round().astype(np.uint8)
    for kind, quality in damage.codecs:
        photo = recode(photo, kind, quality)
    if damage.video:
        photo = video_frame(photo, *damage.video)
    if damage.screenshot:
        face = float(face_sizes(points[None])[0])
        zoom = max(damage.screenshot.zoom, min(1.0, MIN_FACE / face))
        photo, points = screenshot(photo, points, replace(damage.screenshot, zoom=zoom))
    matrix = similarities(points[None], size, margin)[0]
    centre = (size - 1) / 2
    move = np.asarray(cv2.getRotationMatrix2D((centre, centre), damage.turn, damage.scale), dtype=np.float64)
    move[:, 2] += np.array(damage.shift) * size
    matrix = move[:, :2] @ matrix + np.column_stack([np.zeros((2, 2)), move[:, 2]])
    crop = warp_crop(photo, matrix, size).copy()
    if damage.box:
        x0, y0, x1, y1 = (round(share * size) for share in damage.box)
        crop[y0:y1, x0:x1] = damage.box_grey
    return np.ascontiguousarray(crop[:, ::-1]) if damage.flip else crop
