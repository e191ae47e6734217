"""A repository with one small model that answers like the public one, so that a real server starts in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepscan_client import Face, make_verdict

CARD = """\
name: deepfake_image
kind: stage
title: Stand-in
description: Gives the same verdict to every photo.
inputs:
  - {name: IMAGE, dtype: BYTES, shape: [1]}
  - {name: OPTIONS, dtype: BYTES, shape: [1], optional: true}
outputs:
  - {name: VERDICT, dtype: BYTES, shape: [1]}
  - {name: FAKE_PROBABILITY, dtype: FP32, shape: [1]}
  - {name: LABEL, dtype: BYTES, shape: [1]}
"""
CONFIG = """\
name: "deepfake_image"
backend: "python"
input { name: "IMAGE" data_type: TYPE_STRING dims: 1 }
input { name: "OPTIONS" data_type: TYPE_STRING dims: 1 optional: true }
output { name: "VERDICT" data_type: TYPE_STRING dims: 1 }
output { name: "FAKE_PROBABILITY" data_type: TYPE_FP32 dims: 1 }
output { name: "LABEL" data_type: TYPE_STRING dims: 1 }
instance_group { count: 2 kind: KIND_CPU }
"""
MODEL = """\
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

VERDICT = Path(__file__).with_name("verdict.json").read_bytes()


class TritonPythonModel:
    def execute(self, requests):
        tensors = [
            pb_utils.Tensor("VERDICT", np.array([VERDICT], dtype=np.object_)),
            pb_utils.Tensor("FAKE_PROBABILITY", np.array([0.25], dtype=np.float32)),
            pb_utils.Tensor("LABEL", np.array([b"real"], dtype=np.object_)),
        ]
        return [pb_utils.InferenceResponse(tensors) for _ in requests]
"""


@pytest.fixture
def tiny_repository(tmp_path: Path) -> Path:
    """The folder of a repository whose only model is a stand-in for ``deepfake_image``."""
    folder = tmp_path / "models"
    version = folder / "deepfake_image" / "1"
    version.mkdir(parents=True)
    (version.parent / "card.yaml").write_text(CARD)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(MODEL)
    landmarks = ((2.0, 3.0), (6.0, 3.0), (4.0, 5.0), (2.0, 7.0), (6.0, 7.0))
    face = Face(box=(0.0, 0.0, 9.0, 9.0), score=1.0, landmarks=landmarks, fake_probability=0.25)
    (version / "verdict.json").write_text(make_verdict("real", 0.25, faces=(face,)).to_json())
    return folder
