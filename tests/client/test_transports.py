"""The real transports against small servers that speak Triton's protocol."""

from __future__ import annotations

import asyncio
import math
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from deepscan_client import (
    AsyncDeepScanClient,
    Cancellation,
    CancelledError,
    DeadlineError,
    DeepScanClient,
    DeepScanError,
    InstallationError,
    InternalError,
    MediaError,
    RequestError,
    RetryPolicy,
    UnavailableError,
)
from deepscan_client.errors import MediaError as ServerSideMediaError

PHOTO = b"\xff\xd8 a photo \x00\x00"  # ends with zeros: BYTES tensors must not lose them
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


@pytest.fixture(params=["grpc", "http"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_server")


def error_of(server: Any, name: str, words: str) -> tuple[Any, str]:
    http = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503, "INTERNAL": 500}
    return (http[name], words) if server.url.startswith("http") else (getattr(grpc.StatusCode, name), words)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_photo_comes_back_as_a_verdict_and_its_headers_go_through(server: Any) -> None:
    with DeepScanClient(server.url) as client:
        verdict = client.detect_image(PHOTO, request_id="r-1", headers=TRACE, heatmaps=True)
    assert verdict.label == "fake"
    assert verdict.fake_probability == 0.75
    assert verdict.request_id == "r-1"
    (seen,) = server.seen
    assert seen["inputs"]["IMAGE"] == PHOTO
    assert b'"heatmaps": true' in seen["inputs"]["OPTIONS"]
    assert seen["id"] == "r-1"
    assert seen["headers"]["x-request-id"] == "r-1"
    assert seen["headers"]["traceparent"] == TRACE["traceparent"]


async def test_the_asyncio_client_says_the_same(server: Any) -> None:
    async with AsyncDeepScanClient(server.url) as client:
        verdicts = await asyncio.gather(*(client.detect_image(PHOTO, request_id=f"r{i}") for i in range(4)))
        assert await client.is_ready()
    assert [verdict.request_id for verdict in verdicts] == ["r0", "r1", "r2", "r3"]
    assert {call["headers"]["x-request-id"] for call in server.seen} == {"r0", "r1", "r2", "r3"}


def test_health_tells_a_server_from_a_model(server: Any) -> None:
    with DeepScanClient(server.url) as client:
        assert client.health().ready
        server.model_ready = False
        health = client.health()
    assert health.live
    assert not health
    assert "deepfake_image" in health.detail


async def test_a_server_that_is_away_is_an_answer_and_not_an_error() -> None:
    for url in (f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"):
        with DeepScanClient(url) as client:
            health = client.health(deadline=1.0)
        assert not health.live
        assert health.detail
        async with AsyncDeepScanClient(url) as other:
            assert not (await other.health(deadline=1.0)).live


async def test_a_refused_connection_is_tried_again_and_then_named() -> None:
    quick = RetryPolicy(attempts=3, backoff=0.01)
    for url in (f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"):
        with DeepScanClient(url, retry=quick) as client, pytest.raises(UnavailableError) as caught:
            client.detect_image(PHOTO, request_id="away")
        assert not caught.value.sent
        assert "deepscan serve" in caught.value.remedy
        assert caught.value.request_id == "away"
        assert client._budget.tokens == quick.budget - 2
        async with AsyncDeepScanClient(url, retry=quick) as other:
            with pytest.raises(UnavailableError):
                await other.detect_image(PHOTO)
            assert other._budget.tokens == quick.budget - 2


def test_an_error_of_the_pipeline_crosses_the_wire_whole(server: Any) -> None:
    sent = ServerSideMediaError("the JPEG file is cut off – früh", remedy="send the whole file")
    server.error = error_of(server, "INVALID_ARGUMENT", f"in ensemble 'deepfake_image', {sent.to_json()}")
    with DeepScanClient(server.url) as client, pytest.raises(MediaError) as caught:
        client.detect_image(PHOTO, request_id="r-2")
    assert caught.value.to_dict() == {**sent.to_dict(), "request_id": "r-2"}


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        ("NOT_FOUND", "Request for unknown model: 'deepfake_image' is not found", InstallationError),
        ("UNAVAILABLE", "Socket closed", UnavailableError),
        ("INTERNAL", "Stub process 'image_probe_0_0' is not healthy.", UnavailableError),
    ],
)
def test_a_request_that_reached_the_server_is_sent_once(server: Any, status: str, words: str, kind: type) -> None:
    server.error = error_of(server, status, words)
    with DeepScanClient(server.url) as client, pytest.raises(kind):
        client.detect_image(PHOTO)
    assert len(server.seen) == 1


async def test_a_late_answer_is_a_deadline_error(server: Any) -> None:
    server.delay = 0.6
    with DeepScanClient(server.url) as client, pytest.raises(DeadlineError) as caught:
        client.detect_image(PHOTO, deadline=0.1, request_id="late")
    assert caught.value.request_id == "late"
    async with AsyncDeepScanClient(server.url) as other:
        with pytest.raises(DeadlineError):
            await other.detect_image(PHOTO, deadline=0.1)


@pytest.mark.parametrize("seconds", [1e10, math.inf])
async def test_a_deadline_that_never_comes_is_no_error(server: Any, seconds: float) -> None:
    with DeepScanClient(server.url) as client:
        assert client.detect_image(PHOTO, deadline=seconds).label == "fake"
    async with AsyncDeepScanClient(server.url) as other:
        assert (await other.detect_image(PHOTO, deadline=seconds)).label == "fake"


@pytest.mark.parametrize(
    "headers",
    [{"x-a": "two\nlines"}, {"x-a": "früh"}, {"x a": "b"}, {"": "b"}, {"x-bin": "b"}, {"x-a": 3}, {"x-a": "a" * 9000}],
    ids=["lines", "umlaut", "space", "no name", "bytes", "number", "long"],
)
async def test_a_header_that_cannot_be_sent_is_told_before_anything_is(server: Any, headers: Any) -> None:
    with DeepScanClient(server.url) as client, pytest.raises(RequestError, match="header") as caught:
        client.detect_image(PHOTO, headers=headers)
    assert caught.value.remedy
    async with AsyncDeepScanClient(server.url) as other:
        with pytest.raises(RequestError, match="header"):
            await other.detect_image(PHOTO, headers=headers)
    assert server.seen == []
    with DeepScanClient(server.url) as client:
        assert client.detect_image(PHOTO, headers={"x-a": "a" * 7990}).label == "fake"


def test_another_thread_cancels(server: Any) -> None:
    server.delay = 3.0
    cancellation = Cancellation()
    threading.Timer(0.1, cancellation.cancel).start()
    with DeepScanClient(server.url) as client, pytest.raises(CancelledError):
        client.detect_image(PHOTO, cancellation=cancellation)
    with DeepScanClient(server.url) as client, pytest.raises(CancelledError):
        client.detect_image(PHOTO, cancellation=cancellation)
    assert len(server.seen) == 1


async def test_a_cancelled_task_cancels_the_call_on_the_server(grpc_server: Any) -> None:
    grpc_server.delay = 5.0
    async with AsyncDeepScanClient(grpc_server.url) as client:
        task = asyncio.create_task(client.detect_image(PHOTO))
        while not grpc_server.seen:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(grpc_server.cancelled.wait, 3.0)


def test_http_connections_are_kept_and_a_closed_one_is_not_used(http_server: Any) -> None:
    with DeepScanClient(http_server.url) as client:
        client.detect_image(PHOTO)
        client.detect_image(PHOTO)
        assert http_server.connections == 1
        http_server.error = (0, "")
        with pytest.raises(UnavailableError) as caught:
            client.detect_image(PHOTO)
        assert caught.value.sent
        assert len(http_server.seen) == 3
        http_server.error = None
        assert client.detect_image(PHOTO).label == "fake"


def test_any_model_can_be_asked(grpc_server: Any) -> None:
    with DeepScanClient(grpc_server.url) as client:
        values = np.arange(6, dtype=np.float32).reshape(2, 3)
        answer = client.transport.infer("some_network", {"X": values}, ["Y"])
    assert np.array_equal(answer["Y"], values * 2)


@pytest.fixture
def strange_server() -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers every request with the same bytes and hangs up: its URL, and the bytes in a list."""
    says = [b""]

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            self.rfile.read(length)
            self.wfile.write(says[0])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", says
        server.shutdown()
        thread.join()


OF_GATEWAY = b'{"error": {"code": "not_found", "message": "nothing here", "remedy": "GET /docs", "request_id": "r"}}'


@pytest.mark.parametrize(
    ("says", "kind", "words"),
    [
        (b"", UnavailableError, "broke"),
        (b"SSH-2.0-OpenSSH_9\r\n", UnavailableError, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", UnavailableError, "broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", InternalError, "not Triton"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", InternalError, "not Triton"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", UnavailableError, "unavailable"),
        (b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n%s" % (len(OF_GATEWAY), OF_GATEWAY), RequestError, "GET /docs"),
    ],
    ids=["hangs up", "no HTTP", "half an answer", "nothing", "a page", "a proxy", "the gateway"],
)
async def test_whatever_answers_over_http_is_a_typed_error(
    strange_server: tuple[str, list[bytes]], says: bytes, kind: type[DeepScanError], words: str
) -> None:
    url, answers = strange_server
    answers[0] = says
    with DeepScanClient(url) as client:
        with pytest.raises(kind, match=words) as caught:
            await asyncio.to_thread(client.detect_image, PHOTO)
        assert caught.value.remedy
        await asyncio.to_thread(client.health)  # never an error
    async with AsyncDeepScanClient(url) as other:
        with pytest.raises(kind, match=words):
            await other.detect_image(PHOTO)
        await other.health()


async def test_a_client_that_is_closed_under_a_call_says_so(server: Any) -> None:
    server.delay = 3.0
    client = AsyncDeepScanClient(server.url)
    tasks = [asyncio.create_task(client.detect_image(PHOTO))]
    if server.url.startswith("127."):
        tasks.append(asyncio.create_task(client.detect_video(b"clip")))
    while len(server.seen) < len(tasks):
        await asyncio.sleep(0.01)
    await client.close()
    for task in tasks:
        with pytest.raises((CancelledError, UnavailableError)):
            await task
        assert not task.cancelled()


def test_a_closed_client_that_is_asked_again_connects_again(server: Any) -> None:
    client = DeepScanClient(server.url)
    first = client.detect_image(PHOTO)
    client.close()
    client.close()
    assert client.health().ready
    assert client.detect_image(PHOTO).fake_probability == first.fake_probability
    client.close()
