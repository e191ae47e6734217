"""Videos through the real server: pieces, crowds, broken neighbours, callers who go away. Nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client import (
    AsyncDeepScanClient,
    Cancellation,
    CancelledError,
    DeadlineError,
    DeepScanClient,
    DeepScanError,
    ErrorCode,
    InputError,
    LimitError,
    Medium,
    Progress,
    RequestError,
    Verdict,
    _video,
)
from deepscan_client._transport import bytes_tensor
from ml_backend.inference.app import create_app
from ml_backend.inference.settings import read_settings
from pipelines.onnx_infer import OnnxInfer
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.verdict import VideoJudge

pytestmark = pytest.mark.triton

PHOTO = Path(__file__).resolve().parents[2] / "samples" / "astronaut.jpg"


def swaying(count: int, width: int = 320, height: int = 240) -> list[Any]:
    """Frames in which a face sways slowly."""
    picture = cv2.imread(str(PHOTO))[:, :, ::-1]
    frames = []
    for place in range(count):
        matrix = np.asarray(cv2.getRotationMatrix2D((224, 117), 4 * np.sin(place / 7), 1.0), dtype=np.float64)
        matrix[:, 2] += (width / 2 - 224 + 20 * np.sin(place / 6), height / 2 - 117)
        frames.append(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT))
    return frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """Two seconds with a face, some 30 kB."""
    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", swaying(50))


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """A minute of the same."""
    frames = swaying(60)
    many = [frames[place % 60] for place in range(600)]
    times = [place / 10 for place in range(600)]
    return write_video(tmp_path_factory.mktemp("clips") / "long.mp4", many, times)


@pytest.fixture
def spool(triton_server: Any) -> Iterator[Path]:
    """The folder where the server keeps videos; it is empty before and after."""
    folder = triton_server.folder / "uploads"
    emptied(folder)
    yield folder
    emptied(folder)


def emptied(folder: Path, seconds: float = 2.0) -> float:
    """Wait until nothing is left; returns the seconds that it took."""
    start = time.monotonic()
    while any(folder.iterdir()):
        assert time.monotonic() - start < seconds, list(folder.rglob("*"))
        time.sleep(0.02)
    return time.monotonic() - start


def soon(client: DeepScanClient, clip: Path) -> float:
    """A second of a machine that has nothing else to do: longer where four frames of a small clip, which take a fifth
    of a second there, take longer just now."""
    start = time.monotonic()
    client.detect_video(clip, num_frames=4)
    return max(1.0, 5.0 * (time.monotonic() - start))


def test_whole_in_pieces_and_in_one_process_agree(
    triton_server: Any, spool: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = ModelRepository(triton_server.repository.root)
    here = analyze_video(clip, VideoAnalyzer(repository, OnnxInfer(repository)), VideoJudge(repository))
    told: list[Progress] = []
    with DeepScanClient(triton_server.grpc_url) as client:
        assert client.is_ready(medium=Medium.VIDEO)
        whole = client.detect_video(clip, on_progress=told.append, request_id="whole")
        monkeypatch.setattr(_video, "CHUNK_BYTES", 5_000)
        pieces = client.detect_video(clip.read_bytes())
        few = client.detect_video(clip, num_frames=4, confidence_threshold=0.9)
    assert (whole.medium, whole.request_id) == (Medium.VIDEO, "whole")
    assert whole.tracks
    assert whole.timeline
    assert (pieces.input, pieces.label, pieces.reasons, pieces.models) == (
        whole.input,
        whole.label,
        whole.reasons,
        whole.models,
    )
    # The two halves of the crops may or may not share a batch of the networks, which moves the last digits.
    assert pieces.fake_probability == pytest.approx(whole.fake_probability, abs=1e-4)
    assert told
    assert told[-1].share == pytest.approx(1.0)
    assert told[-1].tracks
    assert few.tracks[0].frames == 4
    assert few.operating_point.threshold == 0.9
    assert (here.label, here.reasons, here.models) == (whole.label, whole.reasons, whole.models)
    assert here.fake_probability == pytest.approx(whole.fake_probability, abs=1e-4)


async def test_twenty_clips_at_once_lose_none_beside_broken_and_cancelled_ones(
    triton_server: Any, spool: Path, clip: Path, long_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = clip.read_bytes()
    broken = [b"", b"words " * 5_000, good[: len(good) // 2], good[:40] + bytes(30_000), PHOTO.read_bytes()]
    async with AsyncDeepScanClient(triton_server.grpc_url) as client:

        async def ask(data: bytes | Path) -> object:
            try:
                return await client.detect_video(data, num_frames=6, deadline=240)
            except DeepScanError as error:
                return error

        leaving = [asyncio.create_task(client.detect_video(long_clip)) for _ in range(3)]
        await asyncio.sleep(0.5)  # they have been sent whole; the others come in pieces
        monkeypatch.setattr(_video, "CHUNK_BYTES", 20_000)
        asked = [asyncio.create_task(ask(good)) for _ in range(20)]
        wrong = [asyncio.create_task(ask(each)) for each in broken]
        await asyncio.sleep(0.5)
        for task in leaving:
            task.cancel()
        answers = await asyncio.gather(*asked)
        errors = await asyncio.gather(*wrong)
        assert all(
            isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*leaving, return_exceptions=True)
        )
    assert all(isinstance(answer, Verdict) for answer in answers), answers
    said = [answer for answer in answers if isinstance(answer, Verdict)]
    assert len({(each.label, each.reasons, each.models, len(each.tracks)) for each in said}) == 1
    # Crops of several clips share a batch of the networks: the last digits depend on the company.
    assert all(each.fake_probability == pytest.approx(said[0].fake_probability, abs=1e-3) for each in said)
    assert all(isinstance(error, InputError) and error.remedy for error in errors), errors


async def test_a_few_frames_do_not_wait_behind_long_videos(
    triton_server: Any, spool: Path, clip: Path, long_clip: Path
) -> None:
    """The canary is such a request: a crowd is no reason to repair the server."""
    async with AsyncDeepScanClient(triton_server.grpc_url) as client:
        started = asyncio.Event()
        crowd = [
            asyncio.create_task(client.detect_video(long_clip, on_progress=lambda told: started.set()))
            for _ in range(6)
        ]
        await started.wait()
        assert (await client.detect_video(clip, num_frames=2)).tracks
        assert not all(task.done() for task in crowd[4:])  # those that wait for a worker
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)


async def test_who_leaves_the_line_leaves_no_file_behind(triton_server: Any, spool: Path, long_clip: Path) -> None:
    """Four are at work; the others wait, and their files must not wait with a worker's next hour."""
    begun: set[int] = set()

    async with AsyncDeepScanClient(triton_server.grpc_url) as client:

        async def ask(number: int) -> Verdict:
            return await client.detect_video(long_clip, on_progress=lambda told: begun.add(number))

        crowd = [asyncio.create_task(ask(number)) for number in range(8)]
        while len(begun) < 4:
            await asyncio.sleep(0.02)
        waiting = [task for number, task in enumerate(crowd) if number not in begun and not task.done()]
        before = len(list(spool.iterdir()))
        assert len(waiting) >= 3
        for task in waiting:
            task.cancel()
        while len(list(spool.iterdir())) > before - len(waiting):
            assert sum(task.done() and not task.cancelled() for task in crowd) == 0, "the line moved on by itself"
            await asyncio.sleep(0.02)
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)


def test_a_caller_who_goes_away_frees_the_work_within_a_second(
    triton_server: Any, spool: Path, clip: Path, long_clip: Path
) -> None:
    cancellation = Cancellation()
    with DeepScanClient(triton_server.grpc_url) as client:
        with pytest.raises(CancelledError):
            client.detect_video(long_clip, on_progress=lambda told: cancellation.cancel(), cancellation=cancellation)
        assert emptied(spool, 60.0) < soon(client, clip)

        def leave(progress: Progress) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            client.detect_video(long_clip, on_progress=leave)
        assert emptied(spool, 60.0) < soon(client, clip)
        with pytest.raises(DeadlineError):
            client.detect_video(long_clip, deadline=1.0)
        assert emptied(spool, 60.0) < soon(client, clip)
        assert client.detect_video(clip, num_frames=4).tracks


def test_uploads_that_break_the_rules_get_typed_errors(triton_server: Any, spool: Path, clip: Path) -> None:
    data = clip.read_bytes()
    with DeepScanClient(triton_server.grpc_url) as client:

        def send(name: str, offset: int, chunk: bytes, last: bool = False) -> int:
            piece = {
                "UPLOAD": bytes_tensor(name.encode()),
                "OFFSET": np.array([offset], dtype=np.int64),
                "LAST": np.array([last], dtype=np.int32),
                "CHUNK": bytes_tensor(chunk),
            }
            return int(client.transport.infer("video_upload", piece, ["RECEIVED"])["RECEIVED"][0])

        def judge(**inputs: bytes) -> Verdict:
            tensors = {name: bytes_tensor(value) for name, value in inputs.items()}
            with contextlib.closing(client.transport.stream("deepfake_video", tensors, ["VERDICT"])) as stream:
                return Verdict.from_json(next(said for message in stream if (said := message["VERDICT"][0])))

        name = uuid.uuid4().hex
        assert send(name, 0, data[:100]) == 100
        for offset in (0, 50, 200):
            with pytest.raises(RequestError):
                send(name, offset, data[:100])
        with pytest.raises(RequestError, match="not whole"):
            judge(UPLOAD=name.encode())
        with pytest.raises(LimitError):
            send(name, 100, bytes(_video.CHUNK_BYTES + 1))
        assert send(name, 100, data[100:], last=True) == len(data)
        for wrong in ({"UPLOAD": b"never sent"}, {"UPLOAD": b""}, {}, {"VIDEO": data, "UPLOAD": name.encode()}):
            with pytest.raises(RequestError):
                judge(**wrong)
        with pytest.raises(RequestError, match="num_frames"):
            judge(VIDEO=data, OPTIONS=b'{"num_frames": 0}')
        assert judge(UPLOAD=name.encode()).tracks
        with pytest.raises(RequestError) as caught:
            judge(UPLOAD=name.encode())
        assert caught.value.code is ErrorCode.NOT_FOUND


async def test_the_gateway_tells_progress_and_errors_of_the_real_server(
    triton_server: Any, spool: Path, clip: Path
) -> None:
    client = AsyncDeepScanClient(triton_server.grpc_url)
    app = create_app(client, read_settings({}, log="off"), canary={Medium.VIDEO: b""})
    asgi = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=asgi, base_url="http://gateway", timeout=120) as http, client:

        async def ask(data: bytes, **headers: str) -> httpx.Response:
            files = {"file": ("../clip.mp4", data)}
            return await http.post("/api/predict/video", files=files, data={"num_frames": "6"}, headers=headers)

        good = clip.read_bytes()
        streamed, plain, words, cut = await asyncio.gather(
            ask(good, accept="text/event-stream"), ask(good), ask(b"words"), ask(good[: len(good) // 2])
        )
    assert (streamed.status_code, plain.status_code, words.status_code, cut.status_code) == (200, 200, 422, 422)
    told = [line.removeprefix("event: ") for line in streamed.text.splitlines() if line.startswith("event: ")]
    assert (told[-1], set(told[:-1])) == ("verdict", {"progress"})
    assert plain.json()["medium"] == "video"
    assert plain.json()["tracks"][0]["frames"] == 6
    assert (words.json()["error"]["code"], cut.json()["error"]["code"]) == ("not_media", "truncated")


@pytest.mark.slow
def test_an_abandoned_upload_expires(triton_server: Any, spool: Path) -> None:
    piece = {
        "UPLOAD": bytes_tensor(uuid.uuid4().hex.encode()),
        "OFFSET": np.array([0], dtype=np.int64),
        "LAST": np.array([0], dtype=np.int32),
        "CHUNK": bytes_tensor(b"and then silence"),
    }
    with DeepScanClient(triton_server.grpc_url) as client:
        client.transport.infer("video_upload", piece, ["RECEIVED"])
    assert 58.0 < emptied(spool, 75.0) < 72.0
