"""Recordings through the clients: what is sent, progress, and streams over real sockets."""

from __future__ import annotations

import asyncio
import io
import threading
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepscan_client import (
    AsyncDeepScanClient,
    AsyncFakeTransport,
    Cancellation,
    CancelledError,
    DeadlineError,
    DeepScanClient,
    FakeTransport,
    InstallationError,
    InternalError,
    LimitError,
    MediaError,
    Medium,
    OverloadedError,
    Progress,
    RequestError,
    RetryPolicy,
    UnavailableError,
    Verdict,
    make_verdict,
)
from deepscan_client._media import MOST_BYTES, encode_wav

QUICK = RetryPolicy(attempts=3, backoff=0.001)
SAID = make_verdict(
    "fake", 0.9, medium=Medium.AUDIO, timeline=((0.0, 1.5, 0.2), (1.5, 3.0, 0.97)), suspicious=((1.5, 3.0),)
)


def test_a_path_bytes_and_samples_are_sent(tmp_path: Path) -> None:
    file = tmp_path / "voice.wav"
    file.write_bytes(b"file")
    fake = FakeTransport([SAID])
    client = DeepScanClient(transport=fake)
    verdict = client.detect_audio(file, request_id="me", confidence_threshold=0.7)
    client.detect_audio(bytearray(b"bytes"))
    client.detect_audio((np.zeros(8, np.float32), 16_000))
    assert [call.audio[:5] for call in fake.calls] == [b"file", b"bytes", b"RIFFR"]
    assert {call.model for call in fake.calls} == {"deepfake_audio"}
    assert fake.calls[0].asked == {"request_id": "me", "confidence_threshold": 0.7}
    assert verdict.suspicious == ((1.5, 3.0),)
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_integers_lose_nothing_on_their_way() -> None:
    samples = np.random.default_rng(1).integers(-(2**15), 2**15, (100, 3), dtype=np.int16)
    for view in (samples, samples[::-1], np.asfortranarray(samples), samples[:, 0]):
        with wave.open(io.BytesIO(encode_wav(view, 22_050))) as read:
            assert (read.getframerate(), read.getsampwidth()) == (22_050, 2)
            told = np.frombuffer(read.readframes(1000), np.int16).reshape(-1, read.getnchannels())
        assert np.array_equal(told, view.reshape(len(view), -1))


def test_floats_lose_nothing_on_their_way() -> None:
    samples = np.random.default_rng(2).standard_normal((50, 2)).astype(np.float32)
    data = encode_wav(samples, 48_000)
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert int.from_bytes(data[20:22], "little") == 3  # IEEE float
    assert np.array_equal(np.frombuffer(data[-samples.nbytes :], np.float32).reshape(-1, 2), samples)


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros(4), 16_000),
        (np.zeros(0, np.float32), 16_000),
        (np.zeros((2, 2, 2), np.float32), 16_000),
        (np.zeros((1, 5000), np.float32), 16_000),
        ([0.0, 1.0], 16_000),
        (np.zeros(4, np.float32), 0),
        (np.zeros(4, np.float32), 16_000.5),
        (np.zeros(4, np.float32), True),
    ],
)
def test_what_is_no_recording_is_refused(samples: Any, rate: Any) -> None:
    fake = FakeTransport()
    with pytest.raises(RequestError):
        DeepScanClient(transport=fake).detect_audio((samples, rate))
    assert fake.calls == []


def test_a_file_that_no_message_carries_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "long.wav"
    with file.open("wb") as stream:
        stream.truncate(MOST_BYTES + 1)  # takes no room on the disk
    with pytest.raises(LimitError):
        DeepScanClient(transport=FakeTransport()).detect_audio(file)
    with pytest.raises(FileNotFoundError):
        DeepScanClient(transport=FakeTransport()).detect_audio(tmp_path / "lost.wav")
    with pytest.raises(TypeError):
        DeepScanClient(transport=FakeTransport()).detect_audio((1, 2, 3))  # type: ignore[arg-type]


def test_progress_knows_its_share_and_crosses_as_json() -> None:
    progress = Progress(30.0, 120.0, 0.25)
    assert (progress.share, Progress(5.0).share, Progress(9.0, 8.0).share) == (0.25, None, 1.0)
    assert Progress.from_json(progress.to_json()) == progress
    for other in ("[]", '{"seconds": "3"}', "{}", "words"):
        with pytest.raises(ValueError, match=r".*"):
            Progress.from_json(other)


def test_progress_is_told_before_the_verdict() -> None:
    told: list[Progress] = []
    said = (Progress(30.0, 70.0), Progress(60.0, 70.0, 0.4))
    fake = FakeTransport([OverloadedError("full"), MediaError("cut off"), SAID], progress=said)
    client = DeepScanClient(transport=fake, retry=QUICK)
    with pytest.raises(MediaError):  # after one retry
        client.detect_audio(b"x", on_progress=told.append)
    told.clear()
    assert client.detect_audio(b"x", on_progress=told.append).fake_probability == 0.9
    assert tuple(told) == said
    assert {call.model for call in fake.calls} == {"deepfake_audio_stream"}


def test_an_error_of_the_listener_ends_the_call() -> None:
    def refuse(progress: Progress) -> None:
        raise ZeroDivisionError

    fake = FakeTransport([SAID], progress=[Progress(1.0)])
    with pytest.raises(ZeroDivisionError):
        DeepScanClient(transport=fake).detect_audio(b"x", on_progress=refuse)
    assert fake.calls == []  # the verdict was not asked for any more


async def test_the_asyncio_client_says_the_same(tmp_path: Path) -> None:
    told: list[Progress] = []
    file = tmp_path / "voice.wav"
    file.write_bytes(b"file")
    fake = AsyncFakeTransport([SAID], progress=[Progress(30.0)])
    async with AsyncDeepScanClient(transport=fake) as client:
        assert (await client.detect_audio(file, on_progress=told.append)).label == "fake"
        assert (await client.detect_audio((np.zeros(8, np.int16), 8000))).label == "fake"
        assert await client.is_ready(medium=Medium.AUDIO)
    assert told == [Progress(30.0)]
    assert fake.calls[0].audio == b"file"
    assert [call.model for call in fake.calls] == ["deepfake_audio_stream", "deepfake_audio"]


def test_a_stream_over_grpc(grpc_server: Any) -> None:
    told: list[Progress] = []
    with DeepScanClient(grpc_server.url) as client:
        for name in ("first", "second"):  # each has a channel of its own
            verdict = client.detect_audio(b"x", on_progress=told.append, request_id=name, headers={"TraceParent": "t"})
            assert verdict.request_id == name
    assert [progress.seconds for progress in told] == [30.0, 60.0] * 2
    assert grpc_server.seen[0]["inputs"]["AUDIO"] == b"x"
    assert grpc_server.seen[0]["headers"]["traceparent"] == "t"
    assert grpc_server.seen[0]["headers"]["x-request-id"] == "first"


async def test_streams_of_one_asyncio_client_run_side_by_side(grpc_server: Any) -> None:
    told: list[Progress] = []
    grpc_server.delay = 0.2
    async with AsyncDeepScanClient(grpc_server.url) as client:
        ask = [client.detect_audio(b"x", on_progress=told.append, request_id=f"r{i}") for i in range(3)]
        verdicts = await asyncio.gather(*ask)
    assert [verdict.request_id for verdict in verdicts] == ["r0", "r1", "r2"]
    assert len(told) == 6


async def test_an_error_inside_a_stream_crosses_whole(grpc_server: Any) -> None:
    import grpc

    sent = MediaError("the recording is cut off – früh", remedy="send the whole file")
    grpc_server.error = (grpc.StatusCode.INVALID_ARGUMENT, f"in model, {sent.to_json()}")
    with DeepScanClient(grpc_server.url) as client, pytest.raises(MediaError) as caught:
        client.detect_audio(b"x", on_progress=print, request_id="r-2")
    assert caught.value.to_dict() == {**sent.to_dict(), "request_id": "r-2"}
    async with AsyncDeepScanClient(grpc_server.url) as other:
        with pytest.raises(MediaError):
            await other.detect_audio(b"x", on_progress=print)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (f"in model, {MediaError('cut off').to_json()}", MediaError),
        ("Stub process 'deepfake_audio_stream_0_0' is not healthy.", UnavailableError),
        ("Request for unknown model: 'deepfake_audio_stream' is not found", InstallationError),
        ("anything else", InternalError),
    ],
)
async def test_an_error_that_is_a_message_of_the_stream_is_typed(grpc_server: Any, words: str, kind: type) -> None:
    grpc_server.message = words  # as Triton sends it
    with DeepScanClient(grpc_server.url) as client, pytest.raises(kind) as caught:
        client.detect_audio(b"x", on_progress=print, request_id="r-3")
    assert caught.value.request_id == "r-3"
    async with AsyncDeepScanClient(grpc_server.url) as other:
        with pytest.raises(kind):
            await other.detect_audio(b"x", on_progress=print)


async def test_a_stream_keeps_its_deadline_and_can_be_cancelled(grpc_server: Any) -> None:
    grpc_server.delay = 5.0
    with DeepScanClient(grpc_server.url) as client:
        with pytest.raises(DeadlineError):
            client.detect_audio(b"x", on_progress=print, deadline=0.3)
        grpc_server.cancelled.clear()
        cancellation = Cancellation()
        threading.Timer(0.2, cancellation.cancel).start()
        with pytest.raises(CancelledError):
            client.detect_audio(b"x", on_progress=print, cancellation=cancellation)
        assert grpc_server.cancelled.wait(3.0)
        for early in (0.0, 0.0005, 0.001, 0.002):
            cancellation = Cancellation()
            threading.Timer(early, cancellation.cancel).start()
            with pytest.raises(CancelledError):
                client.detect_audio(b"x", on_progress=print, cancellation=cancellation)
    async with AsyncDeepScanClient(grpc_server.url) as other:
        with pytest.raises(DeadlineError):
            await other.detect_audio(b"x", on_progress=print, deadline=0.3)
        grpc_server.cancelled.clear()
        task = asyncio.create_task(other.detect_audio(b"x", on_progress=print))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(grpc_server.cancelled.wait, 3.0)


async def test_a_stream_without_a_verdict_is_a_bad_answer(grpc_server: Any) -> None:
    grpc_server.ends_early = True
    with DeepScanClient(grpc_server.url) as threads, pytest.raises(InternalError, match="without a verdict"):
        await asyncio.wait_for(asyncio.to_thread(threads.detect_audio, b"x", on_progress=print), 20.0)
    async with AsyncDeepScanClient(grpc_server.url) as client:
        with pytest.raises(InternalError, match="without a verdict"):
            await client.detect_audio(b"x", on_progress=print)


async def test_progress_over_http_is_refused_with_the_remedy(http_server: Any) -> None:
    with DeepScanClient(http_server.url) as client, pytest.raises(RequestError) as caught:
        client.detect_audio(b"x", on_progress=print)
    assert "gRPC" in str(caught.value)
    async with AsyncDeepScanClient(http_server.url) as other:
        with pytest.raises(RequestError):
            await other.detect_audio(b"x", on_progress=print)
    assert http_server.seen == []
    with DeepScanClient(http_server.url) as client:
        assert client.detect_audio(b"x").label == "fake"
