"""The committed DALI pipeline on a GPU decodes as OpenCV does, down to the label of each face."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from cards.repository import ModelRepository
from export.dali import FILE, PIN
from pipelines.image.analyze import PhotoAnalyzer
from pipelines.image.decode import decode_image
from pipelines.image.probe import probe_image
from pipelines.onnx_infer import OnnxInfer

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
REPOSITORY = ModelRepository()


def gpu_pipeline() -> Any:
    """The file that Triton's DALI backend loads, on the first GPU."""
    dali = pytest.importorskip("nvidia.dali", reason=f"DALI is not installed: pip install {PIN}")
    content = (REPOSITORY.folder("image_decode") / FILE).read_bytes()
    pipeline = dali.Pipeline.deserialize(content, device_id=0)
    pipeline.build()
    return pipeline


def decode(pipeline: Any, pictures: list[np.ndarray]) -> list[np.ndarray]:
    pipeline.feed_input("PICTURE", pictures)
    (answer,) = pipeline.run()
    on_host = answer.as_cpu()
    return [np.array(on_host[place]) for place in range(len(pictures))]


def jpeg(orientation: int) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(data.astronaut()[:401, :303]).save(buffer, "JPEG", exif=exif, quality=90)
    return buffer.getvalue()


@pytest.mark.gpu
def test_every_orientation_comes_out_upright() -> None:
    pictures = [probe_image(jpeg(turn)).picture for turn in range(1, 9)]
    for turn, pixels, picture in zip(range(1, 9), decode(gpu_pipeline(), pictures), pictures):
        expected = decode_image(picture)
        assert pixels.shape == expected.shape, turn
        # nvJPEG rounds its inverse transform and its colours in another way than libjpeg-turbo.
        assert np.abs(pixels.astype(int) - expected).mean() < 1.0, turn


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["astronaut.jpg", "group.jpg", "astronaut_turned.png"])
def test_no_face_changes_its_label(name: str) -> None:
    probed = probe_image((SAMPLES / name).read_bytes())
    (pixels,) = decode(gpu_pipeline(), [probed.picture])
    analyzer = PhotoAnalyzer(REPOSITORY, OnnxInfer(REPOSITORY))
    ours = analyzer.evidence(pixels, probed.info).faces
    expected = analyzer.evidence(decode_image(probed.picture), probed.info).faces
    assert len(ours) == len(expected) > 0
    signs = [[face.logits["photo_cnn"] >= 0 for face in faces] for faces in (ours, expected)]
    assert signs[0] == signs[1]
