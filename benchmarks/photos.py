"""Photos to measure with: different crops, sizes and lights of the sample portrait, each with one face."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

PORTRAIT = Path(__file__).resolve().parent.parent / "samples" / "astronaut.jpg"
SEED = 11


def make_photos(count: int, width: int, height: int) -> list[bytes]:
    """JPEG files of ``width`` x ``height`` with one face each, all different, the same in every run."""
    portrait = np.asarray(cv2.imread(str(PORTRAIT)), dtype=np.uint8)
    rng = np.random.default_rng(SEED)
    return [_photo(portrait, rng, width, height) for _ in range(count)]


def _photo(portrait: NDArray[np.uint8], rng: np.random.Generator, width: int, height: int) -> bytes:
    zoom = rng.uniform(1.3, 2.2)
    around_face = (224.0, 115.0)
    matrix = np.asarray(cv2.getRotationMatrix2D(around_face, rng.uniform(-10, 10), zoom), dtype=np.float64)
    matrix[:, 2] += np.array([rng.uniform(0.35, 0.65) * width - 224.0, rng.uniform(0.3, 0.5) * height - 115.0])
    picture = cv2.warpAffine(portrait, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    lit = np.clip(picture.astype(np.float32) * rng.uniform(0.8, 1.15), 0, 255).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", lit, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(80, 96))])
    return bytes(encoded)


def perf_analyzer_input(photos: list[bytes]) -> str:
    """perf_analyzer's JSON for BYTES: each element is a little-endian length and the bytes, in base64."""
    rows = []
    for photo in photos:
        content = base64.b64encode(struct.pack("<I", len(photo)) + photo).decode()
        rows.append({"IMAGE": {"content": {"b64": content}, "shape": [1]}})
    return json.dumps({"data": rows})
