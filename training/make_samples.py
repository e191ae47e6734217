"""Makes the sample photos of ``samples/``: ``python -m training.make_samples`` (needs scikit-image).

The only person in them is in a public-domain NASA portrait that scikit-image carries. The fakes and the
group are made from it by our own code, with a fixed seed, so that nothing of anybody else is published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cards.repository import ModelRepository
from pipelines.image.faces import find_faces
from pipelines.infer import run_in_batches
from pipelines.onnx_infer import OnnxInfer
from training.pseudofakes import self_blended

FOLDER = Path(__file__).resolve().parent.parent / "samples"
SEED = 7
_OUTPUTS = ("HEATMAP", "SCALE", "OFFSET", "LANDMARKS")


def _landmarks(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    infer = OnnxInfer(ModelRepository())
    faces = find_faces(pixels, lambda batch: run_in_batches(infer, "face_detector", "IMAGES", batch, _OUTPUTS, 8))
    return np.asarray(faces.landmarks[0], dtype=np.float32)


def _variant(portrait: NDArray[np.uint8], rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """The portrait as another guest of the group: mirrored or not, other proportions, light and turn."""
    size = portrait.shape[0]
    stretch = rng.uniform(0.9, 1.1)
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-12, 12), 1.0)
    matrix = np.asarray(turn, dtype=np.float64)
    matrix[0, :2] *= stretch
    turned = cv2.warpAffine(portrait, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
    if rng.random() < 0.5:
        turned = turned[:, ::-1]
    small = cv2.resize(turned, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    lit = 255.0 * (small / 255.0) ** rng.uniform(0.8, 1.25) * rng.uniform(0.93, 1.07, 3)
    return np.asarray(np.clip(lit, 0, 255), dtype=np.uint8)


def make_samples(folder: Path = FOLDER) -> list[Path]:
    """Write every sample photo and return the paths."""
    import skimage.data

    carried: Any = skimage.data  # its functions have no types

    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(SEED)
    portrait: NDArray[np.uint8] = carried.astronaut()
    head = portrait[0:256, 96:352]
    group = np.vstack([np.hstack([_variant(head, rng, 200) for _ in range(4)]) for _ in range(3)])
    edited = self_blended(portrait, _landmarks(portrait), rng)
    pictures = {
        "astronaut.jpg": portrait,
        "astronaut_edited.jpg": edited,
        "astronaut_turned.png": np.rot90(cv2.resize(portrait, (384, 384), interpolation=cv2.INTER_AREA)),
        "coffee.webp": carried.coffee(),
        "group.jpg": group,
    }
    # A folder in the layout that `deepscan evaluate` reads: variants, and self-blended copies of them.
    for number in range(4):
        variant = _variant(portrait, rng, 480)
        pictures[f"evaluation/nasa/real/{number}.jpg"] = variant
        pictures[f"evaluation/nasa/fake/{number}.jpg"] = self_blended(variant, _landmarks(variant), rng)
    paths = []
    for name, pixels in pictures.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(path, quality=92)
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in make_samples():
        print(f"{written.name}: {written.stat().st_size:,} bytes")
