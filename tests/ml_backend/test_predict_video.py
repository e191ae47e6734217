"""Videos through the gateway: verdicts, events, limits, batches, callers who go away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from cards.limits import MAX_VIDEO_BYTES
from deepscan_client import (
    ErrorCode,
    FakeCall,
    InputInfo,
    MediaError,
    Medium,
    OverloadedError,
    Progress,
    Timeout,
    Verdict,
    _video,
    make_verdict,
)
from ml_backend.inference import events

Start = Callable[..., Any]
MP4 = b"\0\0\0\x18ftypisom and frames"
SEEN = make_verdict(
    "fake",
    0.93,
    medium=Medium.VIDEO,
    input=InputInfo("0" * 64, 10, "mp4", 640, 480, duration_s=4.0),
    timeline=((0.0, 2.0, 0.1), (2.0, 4.0, 0.99)),
)
TOLD = (Progress(2.0, 4.0, 0.5), Progress(4.0, 4.0, 0.9))
EVENTS = {"accept": "text/event-stream"}


def by_model(call: FakeCall) -> Verdict:
    return SEEN if call.model == "deepfake_video" else make_verdict("real", 0.2)


async def clip(running: Any, content: bytes = MP4, headers: dict[str, str] | None = None, **form: Any) -> Any:
    files = {"file": ("video.mp4", content)}
    return await running.http.post("/api/predict/video", files=files, data=form, headers=headers)


def parsed(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Events of a stream, as a browser reads them."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def test_a_video_gets_a_verdict_and_its_options_are_handed_on(start: Start) -> None:
    running = await start(by_model)
    response = await clip(running, num_frames="30", confidence_threshold="0.5")
    assert response.status_code == 200, response.text
    verdict = Verdict.from_dict(response.json())
    assert (verdict.medium, verdict.label, verdict.timeline) == (Medium.VIDEO, "fake", SEEN.timeline)
    assert running.transport.calls[-1].video == MP4
    assert running.asked[-1] == {
        "request_id": response.headers["x-request-id"],
        "num_frames": 30,
        "confidence_threshold": 0.5,
    }
    stats = (await running.http.get("/api/stats")).json()
    assert stats["verdicts"]["by_medium"] == {"video": {"fake": 1}}


async def test_the_cache_knows_the_number_of_frames_and_what_else_was_asked(start: Start) -> None:
    running = await start(by_model)
    forms: list[dict[str, str]] = [
        {},
        {},
        {"num_frames": "9"},
        {"fps": "9"},
        {"analyzers": "true"},
        {"heatmaps": "true"},
    ]
    answers = [await clip(running, **form) for form in forms]
    assert [answer.json()["cached"] for answer in answers] == [False, True, False, False, False, False]
    assert len(running.asked) == 5
    asked = [{name: value for name, value in each.items() if name != "request_id"} for each in running.asked]
    assert asked == [{}, {"num_frames": 9}, {"fps": 9.0}, {"analyzers": True}, {"heatmaps": True}]


WRONG = [
    {"num_frames": "0"},
    {"num_frames": "many"},
    {"heatmaps": "no way"},
    {"fps": "0"},
    {"fps": "nan"},
    {"fps": "241"},
    {"fps": "3", "num_frames": "9"},
]


@pytest.mark.parametrize("form", WRONG, ids=str)
async def test_a_wrong_option_is_400(start: Start, form: dict[str, str]) -> None:
    running = await start(by_model)
    assert running.error(await clip(running, **form), 400)["code"] == "bad_request"
    assert running.error(await clip(running, headers=EVENTS, **form), 400)["code"] == "bad_request"
    assert running.asked == []


async def test_two_rates_are_told_as_such(start: Start) -> None:
    running = await start(by_model)
    wrong = running.error(await clip(running, fps="3", num_frames="9"), 400)
    assert wrong["message"] == "form: give num_frames or fps, not both"
    assert "fps a number above 0" in wrong["remedy"]


async def test_an_oversize_video_is_refused_from_its_length_alone(start: Start) -> None:
    running = await start()
    head = {"content-type": "multipart/form-data; boundary=x", "content-length": str(MAX_VIDEO_BYTES * 2)}
    for more in ({}, EVENTS):
        response = await running.http.post("/api/predict/video", content=b"", headers=head | more)
        assert running.error(response, 413)["code"] == "too_large"


async def test_who_asks_for_a_fresh_verdict_is_told_its_progress_too(start: Start) -> None:
    running = await start(by_model)
    running.transport.fake.progress = TOLD
    for fresh in ("false", "true"):
        told = parsed((await clip(running, headers=EVENTS, fresh=fresh)).text)
        assert [name for name, _ in told] == ["progress", "progress", "verdict"], fresh


async def test_progress_comes_as_events_and_then_the_verdict(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_ALIVE_SECONDS", 0.05)
    running = await start(by_model, delay=0.12)
    running.transport.fake.progress = TOLD
    response = await clip(running, headers=EVENTS)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-request-id"]
    assert "content-length" not in response.headers
    assert ": at work" in response.text or response.text.startswith("event: progress")
    told = parsed(response.text)
    assert [name for name, _ in told] == ["progress", "progress", "verdict"]
    assert [Progress.from_json(json.dumps(data)) for _, data in told[:2]] == list(TOLD)
    verdict = Verdict.from_dict(told[-1][1])
    assert (verdict.label, verdict.request_id) == ("fake", response.headers["x-request-id"])
    assert [name for name, _ in parsed((await clip(running, headers=EVENTS)).text)] == ["verdict"]  # from the cache


async def test_an_error_has_a_status_of_its_own_where_nothing_was_told_yet(start: Start) -> None:
    running = await start([MediaError("this is not a video", remedy="send MP4")])
    for headers in (None, EVENTS):
        assert running.error(await clip(running, headers=headers), 422)["message"] == "this is not a video"
    full = await start(lambda call: OverloadedError("full", remedy="wait"))
    assert full.error(await clip(full, headers=EVENTS), 429)["code"] == "overloaded"
    assert full.gateway.door.open == 0


async def test_a_late_error_is_an_event(start: Start) -> None:
    running = await start([MediaError("nothing decodes", remedy="send MP4")])
    running.transport.fake.progress = TOLD
    response = await clip(running, headers=EVENTS)
    told = parsed(response.text)
    assert (response.status_code, [name for name, _ in told]) == (200, ["progress", "progress", "error"])
    assert told[-1][1]["error"]["request_id"] == response.headers["x-request-id"]
    assert told[-1][1]["error"]["code"] == "corrupt"
    assert running.gateway.stats.errors["corrupt"] == 1
    assert running.gateway.door.open == 0


async def test_a_model_that_was_killed_is_told_in_the_stream_and_by_a_status(start: Start) -> None:
    running = await start(by_model, delay=0.2, timeout=Timeout(silence=0.1), video_deadline=600.0)
    running.transport.fake.progress = TOLD
    response = await clip(running, headers=EVENTS)
    told = parsed(response.text)
    assert (response.status_code, [name for name, _ in told]) == (200, ["progress", "progress", "error"])
    assert (told[-1][1]["error"]["code"], bool(told[-1][1]["error"]["remedy"])) == ("unavailable", True)
    assert running.error(await clip(running), 503)["code"] == "unavailable"
    sound = {"file": ("video.mp4", MP4)}
    answer = await running.http.post("/api/predict/multimodal", files=sound)
    assert running.error(answer, 503)["code"] == "unavailable"
    assert running.gateway.door.open == 0


async def test_a_defect_is_told_as_an_internal_error(start: Start) -> None:
    running = await start([ZeroDivisionError()])
    running.transport.fake.progress = TOLD
    (*_, last) = parsed((await clip(running, headers=EVENTS)).text)
    assert (last[0], last[1]["error"]["code"]) == ("error", "internal")


@pytest.mark.parametrize("headers", [None, EVENTS], ids=["plain", "events"])
async def test_a_caller_who_goes_away_ends_the_work(start: Start, headers: dict[str, str] | None) -> None:
    running = await start(by_model, delay=60.0, video_deadline=120.0)
    body, kind = _form(MP4)
    came = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    left, sent = asyncio.Event(), []

    async def receive() -> dict[str, Any]:
        if len(came) == 1:
            await left.wait()
        return came.pop(0) if len(came) > 1 else came[0]

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    lines = {"content-type": kind, **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/api/predict/video",
        "raw_path": b"/api/predict/video",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in lines.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 5000),
    }
    task = asyncio.create_task(running.app(scope, receive, send))
    while not running.asked:
        await asyncio.sleep(0.01)
    assert running.gateway.verdicts.at_work == 1
    left.set()
    await asyncio.wait_for(task, 3.0)
    assert running.transport.cancelled == 1
    assert (running.gateway.verdicts.at_work, running.gateway.door.open) == (0, 0)


def _form(content: bytes) -> tuple[bytes, str]:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    return head + content + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


async def test_a_picture_of_a_batch_that_turns_out_to_move_is_judged_as_a_video(start: Start) -> None:
    def moving(call: FakeCall) -> Verdict | Exception:
        if call.model == "deepfake_video":
            return SEEN
        return MediaError("it is animated", code=ErrorCode.ANIMATED, remedy="judge it as a video")

    running = await start(moving)
    picture = b"\x89PNG\r\n\x1a\n and pictures"
    response = await running.http.post("/api/batch-predict", files=[("files", ("a.png", picture))])
    assert response.json()["failed"] == 0, response.text
    assert response.json()["results"][0]["verdict"]["medium"] == "video"
    assert running.transport.calls[-1].video == picture
    answer = await running.http.post("/api/predict/image", files={"file": ("a.png", picture)})
    assert answer.json()["error"]["code"] == "animated_image"  # who names the medium is told


async def test_videos_in_a_batch_are_judged_beside_photos(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_video, "CHUNK_BYTES", 40)

    def answer(call: FakeCall) -> Verdict | Exception:
        return MediaError("cut off", remedy="send it whole") if b"bad" in call.media else by_model(call)

    running = await start(answer)
    large = MP4 + bytes(100)
    files = [
        ("files", ("a.jpg", b"\xff\xd8\xff good")),
        ("files", ("b.mp4", large)),
        ("files", ("c.mp4", MP4 + b"bad")),
        ("files", ("d.mp4", MP4)),
    ]
    response = await running.http.post("/api/batch-predict", files=files, data={"fps": "8"})
    body = response.json()
    assert (body["count"], body["failed"]) == (4, 1)
    assert [item.get("verdict", {}).get("medium") for item in body["results"]] == ["image", "video", None, "video"]
    seen = {call.video: call.asked.get("fps") for call in running.transport.calls if "VIDEO" in call.inputs}
    assert seen == {large: 8, MP4 + b"bad": 8, MP4: 8}


async def test_videos_have_places_and_a_deadline_of_their_own(start: Start) -> None:
    running = await start(by_model, delay=0.15, videos=1, queue=0)
    answers = await asyncio.gather(clip(running, MP4 + b"1"), clip(running, MP4 + b"2"), running.photo(b"a"))
    assert sorted(answer.status_code for answer in answers[:2]) == [200, 429]
    assert answers[2].status_code == 200
    late = await start(by_model, delay=0.5, video_deadline=0.1)
    assert late.error(await clip(late), 504)["code"] == "deadline_exceeded"


async def test_openapi_tells_of_videos_and_events(start: Start) -> None:
    running = await start()
    paths = (await running.http.get("/openapi.json")).json()["paths"]
    answer = paths["/api/predict/video"]["post"]["responses"]["200"]["content"]
    assert set(answer) == {"application/json", "text/event-stream"}
    form = paths["/api/predict/video"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert set(form) == {"file", "confidence_threshold", "num_frames", "fps", "heatmaps", "analyzers", "fresh"}
    assert (form["fps"]["exclusiveMinimum"], form["fps"]["maximum"]) == (0, 240)
