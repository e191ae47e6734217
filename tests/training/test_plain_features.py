"""Plain numbers of a file and of a crop move with what they are named after."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from training.data.plain_features import file_features, plain_statistics


def test_file_features_tell_quality_sides_and_exif_apart(tmp_path: Path) -> None:
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))
    names = {"low.jpg": {"quality": 40}, "high.jpg": {"quality": 95}, "exif.jpg": {"quality": 95}, "plain.png": {}}
    for name, options in names.items():
        exif = Image.Exif()
        exif[0x0110] = "camera"
        pixels.save(tmp_path / name, **options, **({"exif": exif} if name == "exif.jpg" else {}))
    low, high, exif, plain = (np.array(file_features(tmp_path / name)) for name in names)
    assert low.shape == high.shape == plain.shape
    assert low[7] > high[7] > 0 > plain[7]
    assert exif[13] == 1 > high[13]
    assert plain[11] == 0 < low[11]


def test_plain_statistics_move_with_light_sharpness_and_blocks() -> None:
    rng = np.random.default_rng(0)
    crop = np.asarray(cv2.GaussianBlur(rng.integers(40, 200, (160, 160, 3), dtype=np.uint8), (0, 0), 2), np.uint8)
    base = np.array(plain_statistics(crop))
    bright = np.array(plain_statistics(np.clip(crop.astype(int) + 30, 0, 255).astype(np.uint8)))
    np.testing.assert_allclose(bright[:3] - base[:3], 30, atol=0.5)
    blurred = np.array(plain_statistics(np.asarray(cv2.GaussianBlur(crop, (0, 0), 2), np.uint8)))
    assert blurred[6] < base[6] - 0.4
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "JPEG", quality=8)
    blocks = np.array(plain_statistics(np.array(Image.open(buffer))))
    assert blocks[8] > base[8] + 0.2
