"""The CPU twin of the GPU pipeline reads what the probe hands on, as OpenCV does, down to the logits."""

from __future__ import annotations

import importlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from cards.repository import ModelRepository
from export import dali_image
from export.dali import FILE, PIN
from export.tensorrt_build import find_gpu
from pipelines.image.analyze import PhotoAnalyzer
from pipelines.image.decode import decode_image
from pipelines.image.probe import probe_image
from pipelines.onnx_infer import OnnxInfer

pytest.importorskip("nvidia.dali", reason=f"DALI is not installed: pip install {PIN}")
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
PORTRAIT = data.astronaut()


def jpeg(pixels: np.ndarray, orientation: int | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(buffer, "JPEG", exif=exif, **options)
    return buffer.getvalue()


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


ITEMS = {
    **{f"orientation {turn}": jpeg(PORTRAIT[:401, :303], turn) for turn in range(1, 9)},
    "orientation 9, a lie": jpeg(PORTRAIT[:401, :303], 9),
    "grey": jpeg(PORTRAIT[:, :, 1]),
    "grey, turned": jpeg(PORTRAIT[:200, :90, 1], 6),
    "progressive": jpeg(PORTRAIT, progressive=True, quality=85),
    "4:4:4": jpeg(PORTRAIT, subsampling=0),
    "4:2:2": jpeg(PORTRAIT, subsampling=1),
    "quality 10": jpeg(PORTRAIT, quality=10),
    "odd sides": jpeg(PORTRAIT[:77, :131]),
    "one pixel": jpeg(PORTRAIT[:1, :1]),
    "PNG, a BMP behind the probe": png(PORTRAIT[:77, :131]),
    "PNG with alpha": png(np.dstack([PORTRAIT, PORTRAIT[:, :, 0]])[:50, :51]),
}


@pytest.fixture(scope="module")
def twin() -> dali_image.CpuTwin:
    return dali_image.CpuTwin(batch=len(ITEMS))


def test_pixels_equal_opencv_in_one_batch_of_different_pictures(twin: dali_image.CpuTwin) -> None:
    pictures = [probe_image(item).picture for item in ITEMS.values()]
    for name, picture, ours in zip(ITEMS, pictures, twin.decode(pictures), strict=True):
        expected = decode_image(picture)
        assert ours.shape == expected.shape, name
        gap = np.abs(ours.astype(int) - expected)
        # Measured: 0 everywhere, both use libjpeg-turbo. Another build of it may round one step differently.
        assert gap.max() <= 1, f"{name}: {gap.max()}"
        assert gap.mean() <= 0.01, f"{name}: {gap.mean()}"


@pytest.mark.parametrize("name", ["astronaut.jpg", "group.jpg", "astronaut_turned.png"])
def test_faces_and_logits_are_those_of_opencv(twin: dali_image.CpuTwin, name: str) -> None:
    repository = ModelRepository()
    probed = probe_image((SAMPLES / name).read_bytes())
    analyzer = PhotoAnalyzer(repository, OnnxInfer(repository))
    (pixels,) = twin.decode([probed.picture])
    by_dali = analyzer.evidence(pixels, probed.info).faces
    by_opencv = analyzer.evidence(decode_image(probed.picture), probed.info).faces
    assert len(by_dali) == len(by_opencv) > 0
    for ours, expected in zip(by_dali, by_opencv):
        assert np.allclose(ours.box, expected.box, atol=0.5)
        logit, other = ours.logits["photo_cnn"], expected.logits["photo_cnn"]
        assert abs(logit - other) < 0.02
        assert (logit >= 0) == (other >= 0)


def test_a_damaged_picture_fails_its_whole_batch_so_the_probe_must_refuse_it() -> None:
    good = np.frombuffer(ITEMS["4:4:4"], np.uint8)
    bad = np.frombuffer(b"\xff\xd8\xff\xe0 not a picture" * 20, np.uint8)
    with pytest.raises(RuntimeError):
        dali_image.CpuTwin(batch=2).decode([good, bad])


def test_the_twin_names_its_limit(twin: dali_image.CpuTwin) -> None:
    with pytest.raises(ValueError, match="1 to"):
        twin.decode([])


def test_the_committed_pipeline_is_what_the_code_defines_and_names_no_folder() -> None:
    repository = ModelRepository()
    content = dali_image.serialised(repository)
    assert (repository.folder("image_decode") / FILE).read_bytes() == content
    for expected in (b"PICTURE", b"PIXELS", b"mixed", b"adjust_orientation"):
        assert expected in content
    assert b"_origin_stack" not in content
    assert str(Path(__file__).resolve().parents[2]).encode() not in content


def test_the_committed_pipeline_is_read_by_dali_and_only_wants_a_gpu() -> None:
    content = (ModelRepository().folder("image_decode") / FILE).read_bytes()
    if find_gpu() is not None:
        pytest.skip("tests/gpu runs it on this machine")
    with pytest.raises(RuntimeError, match="CUDA-capable GPU"):
        importlib.import_module("nvidia.dali").Pipeline.deserialize(content)


def test_a_bmp_that_opencv_wrote_reads_back_exactly(twin: dali_image.CpuTwin) -> None:
    _, buffer = cv2.imencode(".bmp", np.ascontiguousarray(PORTRAIT[:33, :47, ::-1]))
    (pixels,) = twin.decode([buffer.reshape(-1)])
    assert np.array_equal(pixels, PORTRAIT[:33, :47])
