"""Twenty different photos of 640 px with one face, made from a sample by a committed seed, and perf_analyzer's file.

Each is another window of the portrait at another scale, brightness, mirror and JPEG quality: no two share bytes, so
that no cache of any layer can help.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

SEED = 20_261_124
SIDE = 640
SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "astronaut.jpg"
FACE = (0.50, 0.28)
"""Middle of the face in the sample, as shares of width and height."""


def make_photos(count: int = 20, seed: int = SEED, sample: Path = SAMPLE) -> list[bytes]:
    """JPEG files whose longer side is 640 px.

    Args:
        count: how many; equal counts and seeds give equal pixels.
        sample: a portrait with one face at :data:`FACE`.

    Raises:
        FileNotFoundError: the sample is missing.
    """
    if not sample.is_file():
        raise FileNotFoundError(f"{sample} is missing: restore samples/ from version control")
    portrait = cv2.imdecode(np.fromfile(sample, np.uint8), cv2.IMREAD_COLOR)
    height, width = portrait.shape[:2]
    rng = np.random.default_rng(seed)
    photos: list[bytes] = []
    for _ in range(count):
        share, ratio = rng.uniform(0.55, 0.95), rng.uniform(0.7, 1.0)
        wide, high = int(share * width), int(share * height * ratio)
        left = int(np.clip(FACE[0] * width - wide * rng.uniform(0.4, 0.6), 0, width - wide))
        top = int(np.clip(FACE[1] * height - high * rng.uniform(0.35, 0.5), 0, height - high))
        window = portrait[top : top + high, left : left + wide]
        if rng.random() < 0.5:
            window = window[:, ::-1]
        picture = cv2.resize(window, (SIDE, round(SIDE * high / wide)), interpolation=cv2.INTER_CUBIC)
        if picture.shape[0] > SIDE:
            picture = cv2.resize(picture, (round(SIDE * wide / high), SIDE), interpolation=cv2.INTER_AREA)
        picture = cv2.convertScaleAbs(picture, alpha=rng.uniform(0.85, 1.1), beta=rng.uniform(-10, 10))
        done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 96))])
        assert done  # a JPEG of 640 px always encodes
        photos.append(encoded.tobytes())
    return photos


def write_perf_input(items: Sequence[bytes], path: Path, tensor: str = "IMAGE") -> None:
    """Write perf_analyzer's ``--input-data``: one step for each photo or recording.

    A BYTES element is its length as uint32, little-endian, and then its bytes (Triton's binary data extension).
    """
    steps = [
        {tensor: {"content": {"b64": base64.b64encode(struct.pack("<I", len(p)) + p).decode()}, "shape": [1]}}
        for p in items
    ]
    path.write_text(json.dumps({"data": steps}), encoding="utf-8")
