"""Writes the golden crop: run on purpose only, when the preprocessing is meant to change."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from cards import ModelRepository
from pipelines.image.align import align_faces
from pipelines.image.decode import decode_image
from pipelines.image.probe import probe_image

LANDMARKS = [[[205.0, 99.0], [241.0, 97.0], [224.0, 115.0], [209.0, 133.0], [242.0, 131.0]]]

if __name__ == "__main__":
    folder = Path(__file__).parent
    preprocessing = ModelRepository().card("frame_cnn").preprocessing
    assert preprocessing is not None
    data = (folder.parents[2] / "samples" / "astronaut.jpg").read_bytes()
    pixels = decode_image(probe_image(data).picture)
    size, margin = preprocessing.size, preprocessing.margin
    crop = align_faces(pixels, np.array(LANDMARKS, dtype=np.float32), size, margin)[0]
    Image.fromarray(crop).save(folder / "astronaut.png")
    (folder / "astronaut.json").write_text(json.dumps({"size": size, "margin": margin, "landmarks": LANDMARKS}) + "\n")
