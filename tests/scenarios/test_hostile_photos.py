"""Bad files through the real server: each gets a clear answer, and a good photo beside them is answered."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cards import ModelRepository
from deepscan_client import AsyncDeepScanClient, DeepScanClient
from deepscan_client.codes import ErrorCode, Label
from deepscan_client.errors import DeepScanError, InputError
from pipelines.image.analyze import PhotoAnalyzer, analyze_image
from pipelines.image.verdict import PhotoJudge
from pipelines.onnx_infer import OnnxInfer

pytestmark = pytest.mark.triton

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
GOOD = (SAMPLES / "astronaut.jpg").read_bytes()


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def huge_png() -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + bytes(40)


def animated_gif() -> bytes:
    frames = [Image.new("RGB", (40, 40), (shade, 0, 0)) for shade in (0, 200)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


BAD = {
    "empty": (b"", ErrorCode.EMPTY),
    "truncated": (GOOD[: len(GOOD) // 2], ErrorCode.TRUNCATED),
    "text": (b"just some words\n" * 50, ErrorCode.NOT_MEDIA),
    "huge header": (huge_png(), ErrorCode.TOO_MANY_PIXELS),
    "animated": (animated_gif(), ErrorCode.ANIMATED),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_its_own_error(triton_server: Any, name: str) -> None:
    data, code = BAD[name]
    with DeepScanClient(triton_server.grpc_url) as client, pytest.raises(InputError) as caught:
        client.detect_image(data)
    assert caught.value.code is code
    assert caught.value.remedy


def odd_but_good() -> dict[str, bytes]:
    photo = Image.open(io.BytesIO(GOOD)).convert("RGB")
    lying = Image.Exif()
    lying[0x0112] = 77
    lying[0x0100] = 999_999  # a width that is not the picture's
    deep = (np.asarray(photo.convert("L"), dtype=np.uint16) * 257).astype(np.uint16)
    return {
        "cmyk": saved(photo.convert("CMYK"), "JPEG", quality=92),
        "sixteen bits": saved(Image.fromarray(deep), "PNG"),
        "lying exif": saved(photo, "JPEG", quality=92, exif=lying),
        "progressive": saved(photo, "JPEG", quality=92, progressive=True),
        "alpha": saved(photo.convert("RGBA"), "PNG"),
        "avif": saved(photo, "AVIF"),
        "heic": saved(photo, "HEIF"),
        "twelve megapixels": saved(photo.resize((4000, 3000)), "JPEG"),
    }


@pytest.mark.parametrize("name", odd_but_good())
def test_an_odd_file_is_judged(triton_server: Any, name: str) -> None:
    with DeepScanClient(triton_server.grpc_url) as client:
        verdict = client.detect_image(odd_but_good()[name])
    assert len(verdict.faces) == 1
    assert verdict.fake_probability is not None


def test_a_photo_without_a_face_is_inconclusive(triton_server: Any) -> None:
    with DeepScanClient(triton_server.grpc_url) as client:
        verdict = client.detect_image(SAMPLES / "coffee.webp")
    assert verdict.label is Label.INCONCLUSIVE


async def test_a_good_photo_beside_bad_ones_is_answered(triton_server: Any) -> None:
    async with AsyncDeepScanClient(triton_server.grpc_url) as client:

        async def ask(data: bytes) -> object:
            try:
                return await client.detect_image(data)
            except DeepScanError as error:
                return error

        files = [data for bad, _ in BAD.values() for data in (bad, GOOD)] * 3
        answers = await asyncio.gather(*map(ask, files))
    for data, answer in zip(files, answers, strict=True):
        if data == GOOD:
            assert getattr(answer, "fake_probability", None) is not None
        else:
            assert isinstance(answer, InputError)


@pytest.mark.parametrize("file", ["astronaut.jpg", "group.jpg", "coffee.webp", "astronaut_turned.png"])
def test_triton_and_one_process_agree(triton_server: Any, file: str) -> None:
    data = (SAMPLES / file).read_bytes()
    repository = ModelRepository()
    analyzer = PhotoAnalyzer(repository, OnnxInfer(repository))
    here = analyze_image(data, analyzer, PhotoJudge(repository))
    with DeepScanClient(triton_server.grpc_url) as client:
        there = client.detect_image(data)
    assert (here.label, here.reasons) == (there.label, there.reasons)
    assert here.fake_probability == pytest.approx(there.fake_probability, abs=1e-4)
