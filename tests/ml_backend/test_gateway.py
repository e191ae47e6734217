"""What surrounds a photo: health, errors, limits, keys, rates, ids, load, statistics, pages."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.datastructures import Headers

from cards.limits import MAX_BATCH_BYTES, MAX_IMAGE_BYTES
from deepscan_client import ErrorCode, InstallationError, UnavailableError, make_verdict
from deepscan_client.errors import OverloadedError
from ml_backend.inference.guard import Guard
from ml_backend.inference.settings import read_settings

Start = Callable[..., Any]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_health_is_what_the_canary_says(start: Start) -> None:
    state: dict[str, Any] = {"answer": make_verdict()}
    running = await start(lambda call: state["answer"])
    good = await running.http.get("/api/health")
    assert (await running.http.head("/api/health")).status_code == 200  # what many load balancers ask
    assert (good.status_code, good.json()["status"], good.json()["triton"]) == (200, "ok", "ready")
    state["answer"] = UnavailableError("gone", remedy="wait")
    await running.gateway.health.check()
    bad = await running.http.get("/api/health")
    assert running.error(bad, 503)["code"] == "unavailable"
    assert bad.json()["triton"] == "unavailable"
    assert bad.json()["canary"]["error"]["message"] == "gone"
    state["answer"] = make_verdict()
    assert (await running.http.get("/api/health")).status_code == 200


async def test_health_looks_again_after_a_photo_that_got_no_answer(start: Start) -> None:
    state: dict[str, Any] = {"answer": make_verdict()}
    running = await start(lambda call: state["answer"])
    state["answer"] = UnavailableError("a stub is gone", remedy="wait")
    assert (await running.photo()).status_code == 503
    assert (await running.http.get("/api/health")).status_code == 503  # though the last canary was good


async def test_a_draining_gateway_says_503_finishes_its_work_and_takes_no_more(start: Start) -> None:
    running = await start(delay=0.1)
    await running.gateway.health.check()
    at_work = asyncio.create_task(running.photo(b"in flight"))
    while not running.asked:
        await asyncio.sleep(0.001)
    assert running.gateway.busy
    running.gateway.health.draining = running.gateway.health.closing = True
    assert (await running.http.get("/api/health")).json()["status"] == "draining"
    assert running.error(await running.photo(b"late"), 503)["code"] == "unavailable"
    assert (await at_work).status_code == 200
    assert not running.gateway.busy


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/api/predict/image", 405, "bad_request"),
        ("DELETE", "/api/stats", 405, "bad_request"),
        ("POST", "/api/predict/video", 400, "bad_request"),
        ("GET", "/api/predict/audio", 405, "bad_request"),
        ("POST", "/api/predict/multimodal", 400, "bad_request"),
        ("GET", "/static-offline-docs/../../etc/passwd", 404, "not_found"),
    ],
)
async def test_every_error_has_the_same_body(start: Start, method: str, path: str, status: int, code: str) -> None:
    running = await start()
    assert running.error(await running.http.request(method, path), status)["code"] == code


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"nothing of the kind"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n',
        ),
        ("multipart/form-data; boundary=x; charset=nonsense", b"--x\r\nContent-Disposition: form-data; name=file\r\n"),
        ("text/plain", b"\xff" * 100),
    ],
)
async def test_a_malformed_form_is_the_callers_error(start: Start, kind: str, body: bytes) -> None:
    running = await start()
    for path in ("/api/predict/image", "/api/batch-predict"):
        response = await running.http.post(path, content=body, headers={"content-type": kind})
        assert running.error(response, 400)["code"] == "bad_request"
    assert running.asked == []


async def test_a_body_that_was_cut_off_is_told_so(start: Start) -> None:
    """Also where whole files came before: a batch would otherwise answer for fewer than were sent."""
    running = await start()
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\nphoto\r\n'
    head = {"content-type": "multipart/form-data; boundary=x"}
    for body in (part[:-9], part[:20], part + part, part + b"--x", part + b"--x-"):
        error = running.error(await running.http.post("/api/batch-predict", content=body, headers=head), 400)
        assert "cut off" in error["message"]
        assert "again" in error["remedy"]
    assert running.asked == []
    whole = await running.http.post("/api/batch-predict", content=part + b"--x--", headers=head)
    assert (whole.status_code, whole.json()["count"]) == (200, 1)


async def test_a_file_under_another_name_or_as_text_is_explained(start: Start) -> None:
    running = await start()
    wrong = await running.http.post("/api/predict/image", files={"image": ("a.jpg", b"x")})
    assert "'image'" in running.error(wrong, 400)["message"]
    text = await running.http.post("/api/predict/image", files={"file": (None, b"x")})
    assert "as text" in running.error(text, 400)["message"]
    batch = await running.http.post("/api/batch-predict", files={"file": ("a.jpg", b"x")})
    assert "-F 'files=@" in running.error(batch, 400)["remedy"]


async def test_an_option_in_the_url_is_refused_and_not_ignored(start: Start) -> None:
    running = await start()
    files = {"file": ("a.jpg", b"\xff\xd8\xff")}
    stray = await running.http.post("/api/predict/image?confidence_threshold=0.9", files=files)
    error = running.error(stray, 400)
    assert "confidence_threshold" in error["message"]
    assert "form" in error["remedy"]
    assert running.asked == []
    assert (await running.http.post("/api/predict/image?trace=1", files=files)).status_code == 200


@pytest.mark.parametrize(("path", "limit"), [("predict/image", MAX_IMAGE_BYTES), ("batch-predict", MAX_BATCH_BYTES)])
async def test_an_oversize_body_is_refused_from_its_length_alone(start: Start, path: str, limit: int) -> None:
    running = await start()
    head = {"content-type": "multipart/form-data; boundary=x", "content-length": str(limit * 2)}

    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    response = await running.http.post(f"/api/{path}", content=never(), headers=head)
    assert running.error(response, 413)["code"] == "too_large"


async def test_a_body_without_a_length_is_cut_off_while_it_streams(start: Start) -> None:
    running = await start()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while sent < 4 * MAX_IMAGE_BYTES:
            sent += 1 << 20
            yield bytes(1 << 20)

    head = {"content-type": "multipart/form-data; boundary=x"}
    response = await running.http.post("/api/predict/image", content=endless(), headers=head)
    assert running.error(response, 413)["code"] == "too_large"
    assert sent <= MAX_IMAGE_BYTES + (2 << 20)
    assert running.gateway.door.open == 0


async def test_one_large_file_of_a_batch_does_not_cost_its_neighbours(start: Start) -> None:
    running = await start()
    body = (await running.batch(b"small", bytes(MAX_IMAGE_BYTES + 1), b"also small")).json()
    assert [item.get("error", {}).get("code") for item in body["results"]] == [None, "too_large", None]


async def test_too_much_load_is_shed_with_retry_after(start: Start) -> None:
    running = await start(delay=0.1, in_flight=2, queue=1)
    answers = await asyncio.gather(*(running.photo(bytes([index])) for index in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 3
    shed = next(answer for answer in answers if answer.status_code == 429)
    assert running.error(shed, 429)["code"] == "overloaded"
    assert int(shed.headers["retry-after"]) >= 1
    assert running.transport.most_at_once == 2
    assert (await running.http.get("/api/stats")).json()["load"]["shed"] == 3


async def test_waiting_counts_against_the_deadline(start: Start) -> None:
    running = await start(delay=0.2, in_flight=1, deadline=0.3)
    answers = await asyncio.gather(*(running.photo(bytes([index])) for index in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 504, 504]
    late = next(answer for answer in answers if answer.status_code == 504)
    assert running.error(late, 504)["code"] == "deadline_exceeded"


async def test_a_request_id_goes_to_triton_and_comes_back(start: Start) -> None:
    running = await start(headers={"X-Request-Id": "trace-42", "traceparent": TRACE, "tracestate": "a=b"})
    response = await running.photo()
    assert response.headers["x-request-id"] == response.json()["request_id"] == "trace-42"
    call = running.transport.calls[-1]
    assert call.options.request_id == call.asked["request_id"] == "trace-42"
    assert call.options.headers == {"traceparent": TRACE, "tracestate": "a=b"}


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "<script>", "\u00e9"])
async def test_a_bad_request_id_is_replaced(start: Start, given: str) -> None:
    running = await start()
    head = {"X-Request-Id": given.encode("latin-1"), "traceparent": b"00-zz-1-01"}
    response = await running.http.post("/api/predict/image", files={"file": ("a", b"x")}, headers=head)
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
    assert running.transport.calls[-1].options.headers == {}


async def test_keys_are_asked_for_once_they_are_switched_on(start: Start) -> None:
    running = await start(api_keys="first-key, second-key")
    refused = await running.photo()
    assert running.error(refused, 401)["code"] == "unauthorized"
    assert "www-authenticate" in refused.headers
    for head in ({"X-API-Key": "second-key"}, {"Authorization": "Bearer first-key"}):
        running.http.headers.update(head)
        assert (await running.photo()).status_code == 200
        for name in head:
            del running.http.headers[name]
    running.http.headers["X-API-Key"] = "second-kez"
    assert running.error(await running.photo(), 401)["code"] == "unauthorized"
    assert (await running.http.get("/metrics")).status_code == 401
    assert (await running.http.get("/api/health")).status_code == 200
    assert "API key" in (await running.http.get("/")).text


def test_the_rate_is_for_each_caller_and_fills_up_again() -> None:
    now = [0.0]
    guard = Guard(read_settings({"DEEPSCAN_RATE_LIMIT": "2/minute"}), lambda: now[0])

    def ask(address: str) -> bool:
        try:
            guard.check("/api/predict/image", Headers({}), address)
        except OverloadedError as error:
            return error.code is not ErrorCode.RATE_LIMITED
        return True

    assert [ask("a"), ask("a"), ask("a"), ask("b")] == [True, True, False, True]
    now[0] = 29.0
    assert not ask("a")
    now[0] = 31.0
    assert [ask("a"), ask("a")] == [True, False]
    guard.check("/api/health", Headers({}), "a")


async def test_a_caller_over_its_rate_is_told_when_to_come_back(start: Start) -> None:
    running = await start(rate_limit="1/hour")
    await running.photo()
    refused = await running.photo()
    assert running.error(refused, 429)["code"] == "rate_limited"
    assert 3500 < int(refused.headers["retry-after"]) <= 3600


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "many"),
        ("RATE_LIMIT", "60"),
        ("DEADLINE", "nan"),
        ("IN_FLIGHT", "0"),
        ("API_KEYS", "short"),
        ("TRITON", "here:port"),
        ("TRITON", "http://127.0.0.1:8000"),
    ],
)
def test_a_wrong_setting_is_named_and_not_repeated(name: str, value: str) -> None:
    with pytest.raises(InstallationError) as caught:
        read_settings({f"DEEPSCAN_{name}": value})
    assert f"DEEPSCAN_{name}" in str(caught.value)
    assert "short" not in str(caught.value)


async def test_statistics_count_what_happened(start: Start) -> None:
    running = await start([make_verdict("fake", 0.9), make_verdict("real", 0.1), make_verdict("fake", 0.8)])
    await running.gateway.health.check()
    counts: dict[str, int] = {}
    for index in range(3):
        label = (await running.photo(bytes([index]))).json()["label"]
        counts[label] = counts.get(label, 0) + 1
    await running.photo(bytes([2]))
    await running.http.get("/nowhere")
    stats = (await running.http.get("/api/stats")).json()
    assert stats["verdicts"]["total"] == 4
    assert sum(stats["verdicts"]["by_medium"]["image"].values()) == 4
    assert stats["errors"]["by_code"] == {"not_found": 1}
    assert (stats["cache"]["hits"], stats["cache"]["entries"]) == (1, 3)
    assert (stats["latency_ms"]["asked"]["count"], stats["latency_ms"]["cached"]["count"]) == (3, 1)
    assert 0 < stats["latency_ms"]["asked"]["p50"] <= stats["latency_ms"]["asked"]["p99"]
    assert stats["memory"]["gateway_bytes"] > 1 << 20
    assert stats["uptime_s"] > 0
    metrics = (await running.http.get("/metrics")).text
    assert re.search(r'deepscan_verdicts_total\{cached="true",label="\w+",medium="image"\} 1\.0', metrics)
    assert 'deepscan_requests_total{method="POST",path="/api/predict/image",status="200"} 4.0' in metrics
    assert 'deepscan_errors_total{code="not_found"} 1.0' in metrics
    assert "deepscan_ready 1.0" in metrics


async def test_models_are_listed_from_cards_and_records(start: Start) -> None:
    running = await start()
    body = (await running.http.get("/api/models")).json()
    models = {model["name"]: model for model in body["models"]}
    assert body["count"] == len(models)
    assert models["deepfake_image"]["kind"] == "ensemble"
    detector = models["face_detector"]
    repository = running.gateway.repository
    assert detector["record_sha256"] == repository.record_hash("face_detector")
    assert detector["weights_sha256"] == repository.record("face_detector").weights_sha256
    assert detector["licence"]["name"] == repository.card("face_detector").licence.name
    assert detector["precision"] == repository.card("face_detector").serve["cpu"]
    assert not any("error" in model for model in models.values())


async def test_pages_need_nothing_from_elsewhere(start: Start) -> None:
    running = await start()
    page = (await running.http.get("/")).text
    assert 'enctype="multipart/form-data"' in page
    docs = (await running.http.get("/docs")).text
    assert "//" not in re.sub(r"(?m)^\s*//.*$", "", page + docs).replace("<!--", "")
    for address in re.findall(r'(?:src|href)="(/[^"]+)"', docs):
        assert (await running.http.get(address)).status_code == 200, address
    schema = (await running.http.get("/openapi.json")).json()
    assert {"/api/health", "/api/models", "/api/stats", "/api/predict/image", "/api/batch-predict"} < set(
        schema["paths"]
    )
    spoken = schema["paths"]["/api/predict/audio"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(spoken["properties"]) == {"file", "confidence_threshold", "analyzers", "fresh"}
    form = schema["paths"]["/api/predict/image"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    assert "Verdict" in schema["components"]["schemas"]


async def test_the_access_log_has_one_line_for_each_request(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    running = await start()
    running.app.user_middleware[0].kwargs["json_log"] = True  # before the first request builds the stack
    with caplog.at_level(logging.INFO, "deepscan.access"):
        await running.http.get("/api/nothing%0Aforged", headers={"X-Request-Id": "abc"})
    (line,) = [json.loads(record.message) for record in caplog.records if record.name == "deepscan.access"]
    assert (line["status"], line["request_id"], line["method"]) == (404, "abc", "GET")
    assert "\n" not in line["path"]


async def test_a_defect_is_a_typed_error_and_is_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    running = await start(lambda call: ZeroDivisionError("secret detail"))
    response = await running.photo()
    assert "secret detail" not in running.error(response, 500)["message"]
    assert "secret detail" in caplog.text
