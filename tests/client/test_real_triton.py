"""The client against the real server."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deepscan_client import (
    AsyncDeepScanClient,
    DeadlineError,
    DeepScanClient,
    InstallationError,
    MediaError,
    Medium,
    Progress,
    RequestError,
    Verdict,
)

pytestmark = pytest.mark.triton

PHOTO = Path(__file__).resolve().parents[2] / "samples" / "astronaut.jpg"
VOICE = PHOTO.parent / "audio" / "thanks.wav"


@pytest.fixture(params=["grpc", "http"])
def url(request: pytest.FixtureRequest, triton_server: Any) -> str:
    return str(triton_server.grpc_url if request.param == "grpc" else triton_server.http_url)


def test_pixels_and_file_get_the_same_verdict(url: str) -> None:
    pixels = np.asarray(Image.open(PHOTO).convert("RGB"))
    with DeepScanClient(url) as client:
        assert client.is_ready()
        from_file = client.detect_image(PHOTO, request_id="a-file")
        from_pixels = client.detect_image(pixels)
    assert from_file.request_id == "a-file"
    assert len(from_file.faces) == len(from_pixels.faces) == 1
    assert from_pixels.input.format == "BMP"
    # Two JPEG decoders may differ by a grey level.
    assert from_pixels.fake_probability == pytest.approx(from_file.fake_probability, abs=0.05)


def test_the_same_photo_gives_the_same_bytes(url: str) -> None:
    with DeepScanClient(url) as client:
        said = {client.detect_image(PHOTO, heatmaps=True).canonical_json() for _ in range(2)}
    assert len(said) == 1


async def test_many_at_once(url: str) -> None:
    async with AsyncDeepScanClient(url) as client:
        requests = [client.detect_image(PHOTO, request_id=f"r{i}") for i in range(6)]
        *verdicts, error = await asyncio.gather(*requests, client.detect_image(b"words"), return_exceptions=True)
    assert [verdict.request_id for verdict in verdicts if isinstance(verdict, Verdict)] == [f"r{i}" for i in range(6)]
    assert isinstance(error, MediaError)


def test_errors_are_typed(url: str) -> None:
    with DeepScanClient(url) as client:
        with pytest.raises(MediaError) as caught:
            client.detect_image(PHOTO.read_bytes()[:5000], request_id="cut")
        assert caught.value.request_id == "cut"
        with pytest.raises(DeadlineError):
            client.detect_image(PHOTO, deadline=0.001)
        with pytest.raises(InstallationError):
            client.transport.infer("no_such_model", {"X": np.zeros(1, np.float32)}, ["Y"])
        with pytest.raises(RequestError):
            client.transport.infer("deepfake_image", {"IMAGE": np.zeros(1, np.float32)}, ["VERDICT"])


async def test_a_cancelled_task_leaves_the_server_well(url: str) -> None:
    async with AsyncDeepScanClient(url) as client:
        task = asyncio.create_task(client.detect_image(PHOTO))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.detect_image(PHOTO)).faces


def test_a_recording_as_file_and_as_samples_gets_the_same_verdict(url: str) -> None:
    with wave.open(str(VOICE)) as sound:
        rate = sound.getframerate()
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
    with DeepScanClient(url) as client:
        assert client.is_ready(medium=Medium.AUDIO)
        from_file = client.detect_audio(VOICE, request_id="a-file")
        from_samples = client.detect_audio((samples, rate))
        with pytest.raises(MediaError):
            client.detect_audio(b"words")
        with pytest.raises(DeadlineError):
            client.detect_audio(VOICE, deadline=0.001)
    assert from_file.request_id == "a-file"
    assert from_file.timeline == from_samples.timeline
    assert from_file.fake_probability == from_samples.fake_probability


async def test_progress_comes_over_grpc_and_a_cancelled_stream_leaves_the_server_well(triton_server: Any) -> None:
    told: list[Progress] = []
    longer = np.tile(np.random.default_rng(1).standard_normal(16_000).astype(np.float32) * 0.05, 100)
    async with AsyncDeepScanClient(triton_server.grpc_url) as client:
        verdict = await client.detect_audio((longer, 16_000), on_progress=told.append)
        assert [progress.seconds for progress in told] == [30.0, 60.0, 90.0, 100.0]
        assert verdict.input.duration_s == 100.0
        task = asyncio.create_task(client.detect_audio((longer, 16_000), on_progress=told.append))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(MediaError):
            await client.detect_audio(b"words", on_progress=told.append)
        assert (await client.detect_audio(VOICE)).timeline


def test_a_stream_ends_by_itself_after_the_verdict(triton_server: Any) -> None:
    inputs = {name: np.array([value], object) for name, value in (("AUDIO", VOICE.read_bytes()), ("OPTIONS", b"{}"))}
    with DeepScanClient(triton_server.grpc_url) as client:
        messages = list(client.transport.stream("deepfake_audio_stream", inputs, ("PROGRESS", "VERDICT")))
    assert messages[-1]["VERDICT"].size == 1
