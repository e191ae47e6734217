"""Recordings through the gateway: verdicts, limits, batches of mixed media, places of their own, health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cards.limits import MAX_AUDIO_BYTES
from deepscan_client import FakeCall, InputInfo, MediaError, Medium, UnavailableError, Verdict, make_verdict
from ml_backend.inference import verdicts

Start = Callable[..., Any]
WAV = b"RIFF\0\0\0\0WAVEfmt "
SAID = make_verdict(
    "fake",
    0.93,
    medium=Medium.AUDIO,
    input=InputInfo("0" * 64, 10, "wav", duration_s=4.0),
    timeline=((0.0, 2.0, 0.1), (2.0, 4.0, 0.99)),
    suspicious=((2.0, 4.0),),
)


def by_model(call: FakeCall) -> Verdict:
    if call.model == "deepfake_video":
        return make_verdict("real", 0.2, medium=Medium.VIDEO)
    return SAID if call.model.startswith("deepfake_audio") else make_verdict("real", 0.2)


async def voice(running: Any, content: bytes = WAV, **form: Any) -> Any:
    return await running.http.post("/api/predict/audio", files={"file": ("audio.wav", content)}, data=form)


async def test_the_founding_documents_form_gets_a_verdict(start: Start) -> None:
    running = await start(by_model)
    response = await voice(running, confidence_threshold="0.5", analyzers="")
    assert response.status_code == 200
    verdict = Verdict.from_dict(response.json())
    assert (verdict.medium, verdict.label, verdict.suspicious) == ("audio", "fake", ((2.0, 4.0),))
    assert running.transport.calls[-1].audio == WAV
    assert running.asked[-1] == {"request_id": response.headers["x-request-id"], "confidence_threshold": 0.5}
    stats = (await running.http.get("/api/stats")).json()
    assert stats["verdicts"]["by_medium"] == {"audio": {"fake": 1}}
    assert stats["latency_ms"]["by_medium"]["audio"]["count"] == 1


async def test_an_option_of_photos_is_no_option_of_recordings(start: Start) -> None:
    running = await start(by_model)
    assert "heatmaps" in running.error(await voice(running, heatmaps="true"), 400)["message"]
    assert running.asked == []


async def test_the_cache_knows_media_apart(start: Start) -> None:
    running = await start(by_model)
    first, again = await voice(running), await voice(running)
    assert [first.json()["cached"], again.json()["cached"]] == [False, True]
    assert (await running.photo(WAV)).json()["medium"] == "image"
    assert len(running.asked) == 2
    assert not (await voice(running, fresh="true")).json()["cached"]
    assert not (await voice(running, analyzers="true")).json()["cached"]
    assert running.asked[-1]["analyzers"] is True


async def test_an_oversize_recording_is_refused_from_its_length_alone(start: Start) -> None:
    running = await start()
    head = {"content-type": "multipart/form-data; boundary=x", "content-length": str(MAX_AUDIO_BYTES * 2)}
    response = await running.http.post("/api/predict/audio", content=b"", headers=head)
    assert running.error(response, 413)["code"] == "too_large"


async def test_a_file_without_sound_is_422_and_costs_its_neighbours_nothing(start: Start) -> None:
    def answer(call: FakeCall) -> Verdict | Exception:
        return MediaError("this is not a recording", remedy="send WAV") if b"bad" in call.media else by_model(call)

    running = await start(answer)
    assert running.error(await voice(running, b"RIFF\0\0\0\0WAVEbad"), 422)["code"] == "corrupt"
    files = [
        ("files", ("photo.jpg", b"\xff\xd8\xff good")),
        ("files", ("voice.bin", WAV)),
        ("files", ("words.wav", b"bad words")),
        ("files", ("video.mp4", b"\0\0\0\x18ftypisom")),
        ("files", ("what", b"good")),
    ]
    body = (await running.http.post("/api/batch-predict", files=files)).json()
    assert (body["count"], body["failed"]) == (5, 1)
    media = [item.get("verdict", {}).get("medium") for item in body["results"]]
    assert media == ["image", "audio", None, "video", "image"]
    assert [item["error"]["code"] for item in body["results"] if "error" in item] == ["corrupt"]


async def test_recordings_have_places_and_a_deadline_of_their_own(start: Start) -> None:
    running = await start(by_model, delay=0.15, recordings=1, queue=0, in_flight=1, recording_deadline=5.0)
    answers = await asyncio.gather(voice(running, WAV + b"1"), voice(running, WAV + b"2"), running.photo(b"a"))
    assert sorted(answer.status_code for answer in answers[:2]) == [200, 429]
    assert answers[2].status_code == 200
    shed = next(answer for answer in answers if answer.status_code == 429)
    assert "recordings" in running.error(shed, 429)["message"]
    late = await start(by_model, delay=0.3, recording_deadline=0.1)
    assert late.error(await voice(late), 504)["code"] == "deadline_exceeded"


async def test_long_recordings_go_to_the_model_that_streams_and_large_ones_one_at_a_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "LONG_BYTES", 20)
    monkeypatch.setattr(verdicts, "LARGE_BYTES", 20)
    running = await start(by_model, delay=0.05)
    answers = await asyncio.gather(*(voice(running, WAV + bytes(50) + bytes([index])) for index in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert [call.model for call in running.transport.calls if call.asked["request_id"] != "canary"] == [
        "deepfake_audio_stream"
    ] * 3
    assert running.transport.most_at_once == 1
    await voice(running)
    assert running.transport.calls[-1].model == "deepfake_audio"


async def test_a_large_recording_does_not_wait_for_ever_behind_others(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "LARGE_BYTES", 20)
    running = await start(by_model, recording_deadline=0.2)
    large = WAV + bytes(50)
    async with running.gateway.verdicts.room(1000):  # somebody else's takes its time
        assert running.error(await voice(running, large), 504)["code"] == "deadline_exceeded"
        files = [("files", ("a.wav", large)), ("files", ("b.wav", WAV))]
        body = (await running.http.post("/api/batch-predict", files=files)).json()
        assert [item.get("error", {}).get("code") for item in body["results"]] == ["deadline_exceeded", None]
    assert (await voice(running, large)).status_code == 200


async def test_health_names_the_medium_that_does_not_work(start: Start) -> None:
    broken = {"audio": True}

    def answer(call: FakeCall) -> Verdict | Exception:
        if call.model.startswith("deepfake_audio") and broken["audio"]:
            return UnavailableError("a stub is gone", remedy="wait")
        return by_model(call)

    running = await start(answer, canary={Medium.IMAGE: b"photo", Medium.AUDIO: WAV})
    told = await running.http.get("/api/health")
    assert running.error(told, 503)["code"] == "unavailable"
    assert told.json()["media"] == {"image": "ready", "audio": "unavailable"}
    broken["audio"] = False
    told = await running.http.get("/api/health")
    assert (told.status_code, told.json()["media"]) == (200, {"image": "ready", "audio": "ready"})


async def test_the_page_takes_recordings_and_its_script_is_the_allowed_one(start: Start) -> None:
    import base64
    import hashlib
    import re

    running = await start()
    page = await running.http.get("/")
    assert 'action="/api/predict/audio"' in page.text
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.headers["content-security-policy"]
    assert "innerHTML" not in script
