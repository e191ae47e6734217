"""The INT8 version of a network answers nearly as it does in full precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from skimage import data as pictures

from cards import ModelRepository
from export.quantize import logits_of_file, quantize, time_ratio
from training.augment import apply_damage, draw_damage


def test_int8_of_the_shipped_network_is_close(tmp_path: Path) -> None:
    """On sixteen ways to damage one face: far from the accuracy gate, near enough to see a broken conversion."""
    path, small = ModelRepository().folder("frame_cnn") / "model.onnx", tmp_path / "small.onnx"
    photo = pictures.astronaut()  # type: ignore[no-untyped-call]
    points = np.array([[203, 106], [246, 104], [228, 131], [210, 155], [243, 153]], dtype=np.float32)
    rng = np.random.default_rng(2)
    images = np.stack([apply_damage(photo, points, draw_damage(rng), 160, 1.3) for _ in range(16)])
    quantize(path, small, [images[:8], images[8:]])
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(small).graph.node)
    full, rough = logits_of_file(path, images), logits_of_file(small, images)
    assert np.abs(full - rough).mean() < 0.5 * full.std()
    assert time_ratio(path, small, images[:1], rounds=3) > 0
