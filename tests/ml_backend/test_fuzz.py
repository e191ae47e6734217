"""No input, however odd, may make the gateway fail: never a 500, always the standard body."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepscan_client import AsyncDeepScanClient, AsyncFakeTransport, Medium
from ml_backend.inference.app import create_app
from ml_backend.inference.settings import read_settings

FORMS = ["/api/predict/image", "/api/predict/audio", "/api/batch-predict"]
PATHS = [*FORMS, "/api/predict/video", "/api/health", "/api/models", "/", "/docs"]
FRAGMENTS = [
    b"--x",
    b"--x--",
    b"\r\n",
    b"\r\n\r\n",
    b"Content-Disposition: form-data; ",
    b'name="file"; ',
    b'name="files"; ',
    b'name="confidence_threshold"\r\n\r\n',
    b'filename="a.jpg"',
    b"filename*=utf-8''%ff",
    b'filename="',
    b"Content-Type: image/jpeg",
    b"Content-Transfer-Encoding: base64",
    b"\x00\xff\xd8\xff",
    b"0.5",
    b"1e999",
    b"true",
]
bodies = st.one_of(
    st.binary(max_size=300),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=8)), max_size=24).map(b"".join),
)
kinds = st.one_of(
    st.just(b"multipart/form-data; boundary=x"),
    st.sampled_from([b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=\xff"]),
    st.binary(max_size=60).filter(lambda value: b"\n" not in value and b"\r" not in value and b"\0" not in value),
)


def ask(method: str, path: str, head: dict[bytes, bytes], body: bytes) -> httpx.Response:
    """One request to a new gateway; an exception of the application is raised here."""

    async def run() -> httpx.Response:
        client = AsyncDeepScanClient(transport=AsyncFakeTransport())
        app = create_app(client, read_settings({}, log="off"), canary={Medium.IMAGE: b"canary"})
        asgi = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=asgi, base_url="http://gateway") as http:
            request = http.build_request(method, path, content=body)
            request.headers = httpx.Headers([*request.headers.raw, *head.items()])
            return await http.send(request)

    return asyncio.run(run())


def check(response: httpx.Response) -> None:
    assert response.status_code < 500 or response.status_code in (501, 503), response.text
    assert response.headers["x-request-id"]
    if response.status_code >= 400:
        found: dict[str, Any] = response.json()["error"]
        assert set(found) == {"code", "message", "remedy", "request_id"}
        assert found["code"] != "internal"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=st.sampled_from(FORMS), kind=kinds, body=bodies)
def test_odd_bodies(path: str, kind: bytes, body: bytes) -> None:
    check(ask("POST", path, {b"content-type": kind}, body))


values = st.one_of(st.text(max_size=12), st.floats().map(repr), st.sampled_from(["true", "0", "NaN", "-0", "1_0"]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    path=st.sampled_from(FORMS[:2]),
    name=st.sampled_from(["confidence_threshold", "heatmaps", "analyzers", "fresh", "request_id", "\u0000"]),
    value=values,
    filename=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
def test_odd_options_and_file_names(path: str, name: str, value: str, filename: str) -> None:
    value = value.encode("utf-8", "replace").decode()
    form = httpx.Request("POST", "http://gateway", files={"file": (filename, b"x")}, data={name: value})
    head = {b"content-type": form.headers["content-type"].encode()}
    check(ask("POST", path, head, form.read()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "PATCH", "BREW"]),
    path=st.one_of(st.sampled_from(PATHS), st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)),
    header=st.sampled_from([b"x-request-id", b"traceparent", b"tracestate", b"authorization", b"content-length"]),
    value=st.binary(max_size=40).filter(lambda value: not set(value) & {0, 10, 13}),
)
def test_odd_paths_methods_and_headers(method: str, path: str, header: bytes, value: bytes) -> None:
    address = path if path.startswith("/") else "/" + path
    response = ask(method, address.replace("?", "%3F").replace("#", "%23").replace("//", "/"), {header: value}, b"")
    if method != "HEAD":
        check(response)
    assert response.status_code < 500 or response.status_code in (501, 503)
