"""Bad recordings through the real server and the gateway: each gets a clear answer, and its neighbours are answered."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client import AsyncDeepScanClient, DeepScanClient, Medium, Progress, Verdict
from deepscan_client.codes import ErrorCode, Label, Reason
from deepscan_client.errors import DeepScanError, InputError
from ml_backend.inference.app import create_app
from ml_backend.inference.settings import read_settings
from pipelines.audio.analyze import VoiceAnalyzer, analyze_audio
from pipelines.audio.verdict import VoiceJudge
from pipelines.onnx_infer import OnnxInfer

pytestmark = pytest.mark.triton

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "audio"
GOOD = (SAMPLES / "thanks.wav").read_bytes()
MP3 = (SAMPLES / "voicemail.mp3").read_bytes()
RECORDINGS = ("thanks.wav", "thanks_copy.wav", "voicemail.mp3", "next_caller.ogg")


def header(samples: int) -> bytes:
    """The head of a WAV file of so many 16-bit samples."""
    form = struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + 2 * samples) + b"WAVEfmt " + form + b"data" + struct.pack("<I", 2 * samples)


BAD = {
    "empty": (b"", ErrorCode.EMPTY),
    "zero samples": (header(0), ErrorCode.EMPTY),
    "text named .wav": (b"just some words\n" * 50, ErrorCode.NOT_MEDIA),
    "a play list": (b"#EXTM3U\nhttp://127.0.0.1/secret.mp3\n", ErrorCode.UNSUPPORTED),
    "a photo": ((SAMPLES.parent / "astronaut.jpg").read_bytes(), ErrorCode.UNSUPPORTED),
}
CUT_MP3 = MP3[: len(MP3) // 2]


@pytest.fixture
async def gateway(triton_server: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway over the real server, without a process of its own."""
    client = AsyncDeepScanClient(triton_server.grpc_url)
    app = create_app(client, read_settings({}, log="off"), canary={Medium.AUDIO: GOOD})
    asgi = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=asgi, base_url="http://gateway", timeout=120) as http,
    ):
        yield http


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_its_own_error(triton_server: Any, name: str) -> None:
    data, code = BAD[name]
    with DeepScanClient(triton_server.grpc_url) as client:
        for listener in (None, print):  # in one answer, and as a stream
            with pytest.raises(InputError) as caught:
                client.detect_audio(data, on_progress=listener)
            assert caught.value.code is code
            assert caught.value.remedy


def test_an_odd_recording_gets_a_verdict(triton_server: Any, encode_sound: Callable[..., bytes]) -> None:
    noise = np.random.default_rng(1).standard_normal(80_000).astype(np.float32)
    nan = np.where(np.arange(32_000) % 7 == 0, np.nan, 0.1).astype(np.float32)
    with DeepScanClient(triton_server.grpc_url) as client:
        odd = {
            "one sample": client.detect_audio(header(1) + b"\1\0"),
            "silence": client.detect_audio((np.zeros(80_000, np.int16), 16_000)),
            "noise": client.detect_audio((0.1 * noise, 16_000)),
            "NaN": client.detect_audio((nan, 16_000)),
            "192 kHz": client.detect_audio(encode_sound(0.1 * noise, 192_000)),
            "eight channels": client.detect_audio((np.repeat(0.1 * noise[:, None], 8, axis=1), 48_000)),
        }
        cut = client.detect_audio(CUT_MP3)
    for name, verdict in odd.items():
        assert verdict.label is Label.INCONCLUSIVE, name
        assert set(verdict.reasons) & {Reason.SILENCE, Reason.NO_SPEECH, Reason.TOO_SHORT, Reason.MUSIC}, name
    assert odd["silence"].fake_probability is None
    assert odd["NaN"].decode.notes
    assert Reason.CUT_OFF in cut.reasons
    assert 2.0 < (cut.input.duration_s or 0) < 4.0


async def test_a_good_recording_beside_bad_ones_is_answered(triton_server: Any) -> None:
    async with AsyncDeepScanClient(triton_server.grpc_url) as client:

        async def ask(data: bytes, place: int) -> object:
            try:
                return await client.detect_audio(data, on_progress=(lambda told: None) if place % 3 == 0 else None)
            except DeepScanError as error:
                return error

        files = [data for bad, _ in BAD.values() for data in (bad, GOOD)] * 2
        answers = await asyncio.gather(*(ask(data, place) for place, data in enumerate(files)))
    good = [answer for data, answer in zip(files, answers, strict=True) if data == GOOD]
    assert len({answer.canonical_json() for answer in good if isinstance(answer, Verdict)}) == 1
    assert all(isinstance(answer, Verdict) for answer in good)
    assert all(isinstance(answer, InputError) for data, answer in zip(files, answers, strict=True) if data != GOOD)


@pytest.mark.slow
def test_an_hour_of_silence_is_heard_to_its_end_with_progress(
    triton_server: Any, encode_sound: Callable[..., bytes]
) -> None:
    hour = encode_sound(np.zeros(3600 * 8_000, np.float32), 8_000, "flac", "flac")
    told: list[Progress] = []
    with DeepScanClient(triton_server.grpc_url) as client:
        verdict = client.detect_audio(hour, on_progress=told.append, deadline=300)
    assert (verdict.label, verdict.reasons) == (Label.INCONCLUSIVE, (Reason.SILENCE,))
    assert verdict.fake_probability is None
    assert verdict.input.duration_s == pytest.approx(3600, abs=0.1)
    assert [progress.seconds for progress in told] == sorted(progress.seconds for progress in told)
    assert len(told) == 120
    assert told[-1].share == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("file", RECORDINGS)
def test_triton_its_stream_and_one_process_agree(triton_server: Any, file: str) -> None:
    data = (SAMPLES / file).read_bytes()
    repository = ModelRepository()
    here = analyze_audio(data, VoiceAnalyzer(repository, OnnxInfer(repository)), VoiceJudge(repository))
    with DeepScanClient(triton_server.grpc_url) as client:
        there, streamed = client.detect_audio(data), client.detect_audio(data, on_progress=print)
    assert streamed.canonical_json() == there.canonical_json()
    assert (here.label, here.reasons, here.suspicious) == (there.label, there.reasons, there.suspicious)
    assert here.fake_probability == pytest.approx(there.fake_probability, abs=1e-4)
    assert here.models == there.models


async def test_the_gateway_says_422_413_and_200_side_by_side(gateway: httpx.AsyncClient) -> None:
    async def send(data: bytes) -> httpx.Response:
        return await gateway.post("/api/predict/audio", files={"file": ("voice.wav", data)})

    files = [data for bad, _ in BAD.values() for data in (bad, GOOD, CUT_MP3)]
    answers = await asyncio.gather(*map(send, files))
    assert [answer.status_code for answer in answers] == [422, 200, 200] * len(BAD)
    for answer, (_, code) in zip(answers[::3], BAD.values(), strict=True):
        assert answer.json()["error"]["code"] == code
    assert answers[1].json()["medium"] == "audio"
    assert "cut_off" in answers[2].json()["reasons"]
    batch = [("files", (name, data)) for name, data in (("a.wav", GOOD), ("b.wav", BAD["text named .wav"][0]))]
    body = (await gateway.post("/api/batch-predict", files=[*batch, ("files", ("c.mp3", CUT_MP3))])).json()
    assert [item.get("error", {}).get("code") for item in body["results"]] == [None, "not_media", None]
    health = await gateway.get("/api/health")
    assert (health.status_code, health.json()["media"]) == (200, {"audio": "ready"})
