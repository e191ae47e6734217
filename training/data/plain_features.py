"""Numbers that know nothing of faces: what a photo's file says, and plain statistics of its crop."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image


def file_features(path: Path) -> list[float]:
    """What a photo's file says without its pixels: 16 numbers."""
    size = path.stat().st_size
    with Image.open(path) as image:
        width, height = image.size
        tables = getattr(image, "quantization", None) or {}
        means = [float(np.mean(tables[number])) if number in tables else -1.0 for number in (0, 1)]
        firsts = [float(tables[number][0]) if number in tables else -1.0 for number in (0, 1)]
        layers = getattr(image, "layer", None) or [(0, 0, 0, 0)]
        return [
            np.log(size),
            width,
            height,
            np.log(width / height),
            size / (width * height),
            float(max(width, height) == 256),
            float(width == height),
            *means,
            *firsts,
            float(len(tables)),
            float(layers[0][1]),
            float("exif" in image.info),
            float("icc_profile" in image.info),
            float(len(getattr(image, "applist", []) or [])),
        ]


def plain_statistics(crop: npt.NDArray[np.uint8]) -> list[float]:
    """Twelve plain numbers of a crop: light, colours, sharpness, blocks. Nothing that knows what a face is."""
    values = crop.astype(np.float32)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    sharp = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    steps = np.abs(np.diff(grey, axis=1)).mean(axis=0)
    places = np.arange(len(steps)) % 8
    by_phase = np.array([steps[places == phase].mean() for phase in range(8)])
    return [
        *values.mean(axis=(0, 1)).tolist(),
        *values.std(axis=(0, 1)).tolist(),
        float(np.log(sharp + 1e-3)),
        float(np.log(steps.mean() + 1e-3)),
        float(by_phase.max() / (by_phase.mean() + 1e-6)),
        float((values.max(axis=2) - values.min(axis=2)).mean()),
        float((grey < 8).mean()),
        float((grey > 247).mean()),
    ]
