"""Videos through the clients: whole and in pieces, progress, retries, and streams over real sockets."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cards.limits import MAX_CHUNK_BYTES
from deepscan_client import (
    AsyncDeepScanClient,
    AsyncFakeTransport,
    Cancellation,
    CancelledError,
    DeadlineError,
    DeepScanClient,
    FakeTransport,
    LimitError,
    MediaError,
    Medium,
    OverloadedError,
    Progress,
    RequestError,
    RetryPolicy,
    Timeout,
    UnavailableError,
    make_verdict,
)
from deepscan_client._video import CHUNK_BYTES, Upload

QUICK = RetryPolicy(attempts=3, backoff=0.001)
SEEN = make_verdict("fake", 0.9, medium=Medium.VIDEO)
LARGE = bytes(range(256)) * (CHUNK_BYTES // 256) + b"and more"


def test_a_piece_is_as_large_as_the_server_takes() -> None:
    assert CHUNK_BYTES == MAX_CHUNK_BYTES


def test_a_path_bytes_and_an_open_file_are_sent(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"file")
    opened = io.BytesIO(b"opened")
    opened.seek(3)
    fake = FakeTransport([SEEN])
    client = DeepScanClient(transport=fake)
    verdict = client.detect_video(file, num_frames=30, confidence_threshold=0.7, request_id="me")
    client.detect_video(bytearray(b"bytes"), fps=2.5, heatmaps=True)
    client.detect_video(opened)
    assert [call.video for call in fake.calls] == [b"file", b"bytes", b"opened"]
    assert {call.model for call in fake.calls} == {"deepfake_video"}
    assert fake.calls[0].asked == {"request_id": "me", "num_frames": 30, "confidence_threshold": 0.7}
    assert (fake.calls[1].asked["fps"], fake.calls[1].asked["heatmaps"]) == (2.5, True)
    assert not opened.closed
    assert verdict.medium is Medium.VIDEO


def test_what_cannot_be_sent_is_told_before_anything_is(tmp_path: Path) -> None:
    fake = FakeTransport()
    client = DeepScanClient(transport=fake)
    with pytest.raises(FileNotFoundError):
        client.detect_video(tmp_path / "lost.mp4")
    with pytest.raises(IsADirectoryError):
        client.detect_video(tmp_path)
    with pytest.raises(TypeError):
        client.detect_video(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="binary"):
        client.detect_video(io.StringIO("text"))  # type: ignore[arg-type]
    assert fake.calls == []


def test_numbers_of_numpy_are_sent_and_what_is_no_number_is_told() -> None:
    fake = FakeTransport([SEEN])
    client = DeepScanClient(transport=fake)
    client.detect_video(b"clip", num_frames=np.int64(3), fps=np.float32(2.5))  # type: ignore[arg-type]
    assert (fake.calls[0].asked["num_frames"], fake.calls[0].asked["fps"]) == (3, 2.5)
    for wrong in (
        {"num_frames": 2.5},
        {"num_frames": "many"},
        {"fps": "fast"},
        {"fps": 10**400},
        {"confidence_threshold": "high"},
    ):
        with pytest.raises(RequestError, match="give a number"):
            client.detect_video(b"clip", **wrong)
    assert len(fake.calls) == 1


def test_pieces_follow_each_other_without_gaps() -> None:
    for size in (CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 5):
        data = (LARGE * 3)[:size]
        named, pieces = Upload.of(data).begin()
        found = list(pieces)
        offset = 0
        for piece in found:
            assert piece["UPLOAD"][0] == named["UPLOAD"][0]
            assert piece["OFFSET"][0] == offset
            assert 0 < len(piece["CHUNK"][0]) <= CHUNK_BYTES
            offset += len(piece["CHUNK"][0])
        assert [int(piece["LAST"][0]) for piece in found] == [0] * (len(found) - 1) + [1]
        assert b"".join(piece["CHUNK"][0] for piece in found) == data


def test_a_raw_file_that_hands_out_little_at_a_time_is_sent_in_whole_pieces() -> None:
    class Meagre(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size, 60_000) if size is not None and size > 0 else size)

    _, pieces = Upload.of(Meagre(LARGE)).begin()
    assert [len(piece["CHUNK"][0]) for piece in pieces] == [CHUNK_BYTES, len(LARGE) - CHUNK_BYTES]


async def test_a_large_video_is_seen_whole_by_the_fake_and_a_retry_sends_it_again(tmp_path: Path) -> None:
    file = tmp_path / "large.mp4"
    file.write_bytes(LARGE)
    fake = FakeTransport([OverloadedError("full"), MediaError("cut off"), SEEN])
    client = DeepScanClient(transport=fake, retry=QUICK)
    with pytest.raises(MediaError):
        client.detect_video(file)
    assert client.detect_video(io.BytesIO(LARGE)).fake_probability == 0.9
    assert [call.video for call in fake.calls] == [LARGE] * 3
    other = AsyncFakeTransport([SEEN])
    async with AsyncDeepScanClient(transport=other) as aio:
        assert (await aio.detect_video(file)).label == "fake"
        assert (await aio.detect_video(b"small")).label == "fake"
    assert [call.media for call in other.calls] == [LARGE, b"small"]


async def test_pictures_and_sound_go_to_the_model_that_joins_them(tmp_path: Path) -> None:
    voice = tmp_path / "voice.wav"
    voice.write_bytes(LARGE + b"?")
    samples = (np.zeros(8, np.float32), 16_000)
    fake = FakeTransport([SEEN], progress=(Progress(1.0, 2.0),))
    told: list[Progress] = []
    client = DeepScanClient(transport=fake)
    client.detect_multimodal(b"clip", on_progress=told.append, num_frames=4, confidence_threshold=0.7, request_id="me")
    client.detect_multimodal(LARGE, voice, fps=2.0)
    client.detect_multimodal(io.BytesIO(b"clip"), samples)
    assert {call.model for call in fake.calls} == {"deepfake_multimodal"}
    assert [call.video for call in fake.calls] == [b"clip", LARGE, b"clip"]
    assert "AUDIO" not in fake.calls[0].inputs
    assert fake.calls[0].asked == {"request_id": "me", "num_frames": 4, "confidence_threshold": 0.7}
    assert (fake.calls[1].audio, fake.calls[1].media) == (LARGE + b"?", LARGE)
    assert fake.calls[2].audio.startswith(b"RIFF")
    assert len(told) == 1
    with pytest.raises(FileNotFoundError):
        client.detect_multimodal(b"clip", tmp_path / "lost.wav")
    with pytest.raises(RequestError):
        client.detect_multimodal(b"clip", (np.zeros(0, np.float32), 16_000))
    assert len(fake.calls) == 3
    other = AsyncFakeTransport([OverloadedError("full"), SEEN])
    async with AsyncDeepScanClient(transport=other, retry=QUICK) as aio:
        assert (await aio.detect_multimodal(LARGE, LARGE + b"?", on_progress=told.append)).label == "fake"
        assert await aio.is_ready(medium=Medium.MULTIMODAL)
    assert [(call.model, call.video, call.audio) for call in other.calls] == [
        ("deepfake_multimodal", LARGE, LARGE + b"?")
    ] * 2


async def test_progress_is_told_before_the_verdict() -> None:
    told: list[Progress] = []
    said = (Progress(3.0, 7.0), Progress(6.0, 7.0, 0.4, timeline=((0.0, 3.0, 0.2),)))
    assert DeepScanClient(transport=FakeTransport([SEEN], progress=said)).detect_video(b"x").label == "fake"
    DeepScanClient(transport=FakeTransport([SEEN], progress=said)).detect_video(b"x", on_progress=told.append)
    async with AsyncDeepScanClient(transport=AsyncFakeTransport([SEEN], progress=said)) as client:
        await client.detect_video(LARGE, on_progress=told.append)
        assert await client.is_ready(medium=Medium.VIDEO)
    assert tuple(told) == said * 2


async def test_what_on_progress_raises_ends_the_call_whatever_it_is() -> None:
    told: list[Progress] = []

    def shed(progress: Progress) -> None:
        told.append(progress)
        raise OverloadedError("of another server, which the callback asked")

    fake = FakeTransport([SEEN] * 3, progress=(Progress(3.0, 7.0),))
    with pytest.raises(OverloadedError):
        DeepScanClient(transport=fake, retry=QUICK).detect_video(b"x", on_progress=shed)
    other = AsyncFakeTransport([SEEN] * 3, progress=(Progress(3.0, 7.0),))
    async with AsyncDeepScanClient(transport=other, retry=QUICK) as client:
        with pytest.raises(OverloadedError):
            await client.detect_audio(b"x", on_progress=shed)
    assert len(told) == 2


def test_a_video_for_a_server_that_is_down_is_unavailable_and_sent_again() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"127.0.0.1:{probe.getsockname()[1]}"
    with DeepScanClient(url, retry=QUICK) as client:
        for _ in range(5):  # whether the stream breaks before or after the question is a race
            with pytest.raises(UnavailableError, match="failed to connect") as caught:
                client.detect_video(b"clip")
            assert not caught.value.sent
        assert client._budget.tokens == QUICK.budget - 10


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["whole", "in pieces"])
async def test_a_video_over_grpc(grpc_server: Any, data: bytes) -> None:
    told: list[Progress] = []
    with DeepScanClient(grpc_server.url) as client:
        verdict = client.detect_video(data, on_progress=told.append, request_id="first")
    async with AsyncDeepScanClient(grpc_server.url) as other:
        await other.detect_video(data, request_id="second")
    assert verdict.request_id == "first"
    assert [progress.seconds for progress in told] == [30.0, 60.0]
    asked = [each["inputs"] for each in grpc_server.seen if "CHUNK" not in each["inputs"]]
    pieces = [each["inputs"] for each in grpc_server.seen if "CHUNK" in each["inputs"]]
    assert len(asked) == 2
    if data is LARGE:
        assert asked[0]["UPLOAD"] != asked[1]["UPLOAD"]
        assert [piece["UPLOAD"] for piece in pieces] == [asked[0]["UPLOAD"]] * 2 + [asked[1]["UPLOAD"]] * 2
        assert pieces[0]["CHUNK"] + pieces[1]["CHUNK"] == data
    else:
        assert [each["VIDEO"] for each in asked] == [data] * 2
        assert pieces == []


async def test_an_error_of_a_piece_ends_the_call(grpc_server: Any) -> None:
    import grpc

    grpc_server.error = (grpc.StatusCode.INVALID_ARGUMENT, f"in model, {LimitError('too large').to_json()}")
    with DeepScanClient(grpc_server.url) as client, pytest.raises(LimitError) as caught:
        client.detect_video(LARGE, request_id="r-1")
    assert caught.value.request_id == "r-1"
    async with AsyncDeepScanClient(grpc_server.url) as other:
        with pytest.raises(LimitError):
            await other.detect_video(LARGE)
    assert len(grpc_server.seen) == 2


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["whole", "in pieces"])
async def test_a_video_keeps_its_deadline_and_can_be_cancelled(grpc_server: Any, data: bytes) -> None:
    grpc_server.delay = 5.0
    with DeepScanClient(grpc_server.url) as client:
        with pytest.raises(DeadlineError):
            client.detect_video(data, deadline=0.3)
        cancellation = Cancellation()
        threading.Timer(0.2, cancellation.cancel).start()
        with pytest.raises(CancelledError):
            client.detect_video(data, cancellation=cancellation)
    async with AsyncDeepScanClient(grpc_server.url) as other:
        await asyncio.sleep(0.5)  # the calls above have ended on the server too
        before = len(grpc_server.seen)
        grpc_server.cancelled.clear()
        task = asyncio.create_task(other.detect_video(data))
        while len(grpc_server.seen) == before:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(grpc_server.cancelled.wait, 10.0)


async def test_a_server_that_falls_silent_is_unavailable_and_its_call_is_ended(grpc_server: Any) -> None:
    grpc_server.delay = 60.0
    short = Timeout(silence=0.2)
    with DeepScanClient(grpc_server.url, timeout=short) as client, pytest.raises(UnavailableError) as caught:
        client.detect_video(b"small", request_id="killed")
    assert (caught.value.request_id, caught.value.sent) == ("killed", True)
    assert "send it again" in caught.value.remedy
    assert await asyncio.to_thread(grpc_server.cancelled.wait, 10.0)
    grpc_server.cancelled.clear()
    async with AsyncDeepScanClient(grpc_server.url, timeout=short) as other:
        with pytest.raises(UnavailableError, match="silent"):
            await other.detect_multimodal(b"small", request_id="killed too")
        assert await asyncio.to_thread(grpc_server.cancelled.wait, 10.0)
    streams = [each["id"] for each in grpc_server.seen if "OPTIONS" in each["inputs"]]
    assert streams == ["killed", "killed too"]  # each was sent once


async def test_the_wait_for_the_first_message_is_no_silence(grpc_server: Any) -> None:
    grpc_server.queued = 0.6
    short = Timeout(silence=0.2)
    with DeepScanClient(grpc_server.url, timeout=short) as client:
        assert client.detect_video(b"small").label == "fake"
    async with AsyncDeepScanClient(grpc_server.url, timeout=short) as other:
        assert (await other.detect_video(b"small")).label == "fake"


async def test_a_recording_may_be_silent_because_its_model_has_no_beats(grpc_server: Any) -> None:
    grpc_server.delay = 0.6
    short, told = Timeout(silence=0.2), list[Progress]()
    with DeepScanClient(grpc_server.url, timeout=short) as client:
        assert client.detect_audio(b"RIFF", on_progress=told.append).label == "fake"
    async with AsyncDeepScanClient(grpc_server.url, timeout=short) as other:
        assert (await other.detect_audio(b"RIFF", on_progress=told.append)).label == "fake"
    assert len(told) == 4


async def test_beats_are_no_news() -> None:
    """The server says again what it said last, and that it is there before it has seen anything."""
    seen, more = Progress(3.0, 7.0, 0.5), Progress(6.0, 7.0, 0.5)
    said = (Progress(0.0), Progress(0.0), seen, seen, seen, more, more)
    told: list[Progress] = []
    DeepScanClient(transport=FakeTransport([SEEN], progress=said)).detect_video(b"x", on_progress=told.append)
    async with AsyncDeepScanClient(transport=AsyncFakeTransport([SEEN], progress=said)) as client:
        await client.detect_multimodal(b"x", on_progress=told.append)
    assert told == [seen, more] * 2


async def test_the_fakes_fall_silent_too() -> None:
    short, said = Timeout(silence=5.0), (Progress(0.0),)
    with pytest.raises(UnavailableError):
        DeepScanClient(transport=FakeTransport(progress=said, delay=9.0), timeout=short).detect_video(b"x")
    async with AsyncDeepScanClient(transport=AsyncFakeTransport(progress=said, delay=9.0), timeout=short) as client:
        with pytest.raises(UnavailableError):
            await client.detect_video(b"x")


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["whole", "in pieces"])
async def test_over_http_the_gateway_is_named_and_nothing_is_sent(http_server: Any, data: bytes) -> None:
    with DeepScanClient(http_server.url) as client, pytest.raises(RequestError) as caught:
        client.detect_video(data)
    assert "/api/predict/video" in caught.value.remedy
    with DeepScanClient(http_server.url) as client, pytest.raises(RequestError) as caught:
        client.detect_multimodal(data)
    assert "/api/predict/multimodal" in caught.value.remedy
    async with AsyncDeepScanClient(http_server.url) as other:
        with pytest.raises(RequestError, match="gateway"):
            await other.detect_video(data)
    assert http_server.seen == []
