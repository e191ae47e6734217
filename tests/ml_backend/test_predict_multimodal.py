"""Pictures and sound through the gateway: one model joins them, a second file has its own field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cards.limits import MAX_AUDIO_BYTES, MAX_VIDEO_BYTES
from deepscan_client import FakeCall, InputInfo, MediaError, Medium, Progress, Verdict, _video, make_verdict
from ml_backend.inference import routes

Start = Callable[..., Any]
MP4 = b"\0\0\0\x18ftypisom and frames"
WAV = b"RIFF\x04\0\0\0WAVE and samples"
JOINED = make_verdict(
    "fake", 0.97, medium=Medium.MULTIMODAL, input=InputInfo("0" * 64, 10, "mp4", 640, 480, duration_s=4.0)
)


def answering(said: Verdict | Exception = JOINED) -> Callable[[FakeCall], Any]:
    return lambda call: said if call.model == "deepfake_multimodal" else make_verdict()


async def ask(running: Any, audio: bytes | None = None, headers: dict[str, str] | None = None, **form: Any) -> Any:
    files = {"file": ("video.mp4", MP4)} | ({} if audio is None else {"audio": ("voice.wav", audio)})
    return await running.http.post("/api/predict/multimodal", files=files, data=form, headers=headers)


@pytest.mark.parametrize("audio", [None, WAV])
@pytest.mark.parametrize("piece", [4 << 20, 5], ids=["whole", "in pieces"])
async def test_one_model_gets_the_video_and_the_recording(
    start: Start, monkeypatch: pytest.MonkeyPatch, audio: bytes | None, piece: int
) -> None:
    monkeypatch.setattr(_video, "CHUNK_BYTES", piece)
    running = await start(answering())
    response = await ask(running, audio, num_frames="9", analyzers="true")
    assert response.status_code == 200, response.text
    verdict = Verdict.from_dict(response.json())
    assert (verdict.medium, verdict.label, verdict.fake_probability) == (Medium.MULTIMODAL, "fake", 0.97)
    (call,) = (call for call in running.transport.calls if call.model != "deepfake_image")
    assert (call.model, call.video) == ("deepfake_multimodal", MP4)
    assert (call.audio if audio else "AUDIO" in call.inputs) == (audio or False)
    assert (call.asked["num_frames"], call.asked["analyzers"]) == (9, True)
    stats = (await running.http.get("/api/stats")).json()
    assert stats["verdicts"]["by_medium"] == {"multimodal": {"fake": 1}}


async def test_the_cache_knows_the_recording(start: Start) -> None:
    running = await start(answering())
    asked = [(None, {}), (WAV, {}), (WAV, {}), (WAV + b"!", {}), (WAV, {"num_frames": "3"}), (WAV, {"fps": "3"})]
    answers = [await ask(running, audio, **form) for audio, form in asked]
    assert [answer.json()["cached"] for answer in answers] == [False, False, True, False, False, False]
    assert running.asked[-1]["fps"] == 3.0


async def test_progress_comes_as_events_and_then_the_verdict(start: Start) -> None:
    running = await start(answering(), delay=0.05)
    running.transport.fake.progress = (Progress(2.0, 4.0, 0.5),)
    response = await ask(running, WAV, {"accept": "text/event-stream"})
    told = [line for line in response.text.splitlines() if line.startswith("event: ")]
    assert told == ["event: progress", "event: verdict"]


async def test_what_cannot_be_judged_is_an_error(start: Start) -> None:
    running = await start(answering(MediaError("no frame decodes", remedy="save it again")))
    assert running.error(await ask(running, WAV), 422)["message"] == "no frame decodes"


async def test_oversize_files_are_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    running = await start(answering())
    monkeypatch.setattr(routes, "MAX_AUDIO_BYTES", len(WAV) - 1)
    assert running.error(await ask(running, WAV), 413)["code"] == "too_large"
    monkeypatch.setattr(routes, "MAX_VIDEO_BYTES", len(MP4) - 1)
    assert running.error(await ask(running), 413)["code"] == "too_large"
    head = {"content-type": "multipart/form-data; boundary=x"}
    head["content-length"] = str((MAX_VIDEO_BYTES + MAX_AUDIO_BYTES) * 2)
    response = await running.http.post("/api/predict/multimodal", content=b"", headers=head)
    assert running.error(response, 413)["code"] == "too_large"
    assert running.asked == []


async def test_files_in_other_fields_are_refused(start: Start) -> None:
    running = await start(answering())
    for files in (
        [("file", ("a.mp4", MP4)), ("sound", ("b.wav", WAV))],
        [("file", ("a.mp4", MP4)), ("file", ("b.mp4", MP4))],
        [("audio", ("b.wav", WAV))],
    ):
        response = await running.http.post("/api/predict/multimodal", files=files)
        assert running.error(response, 400)["code"] == "bad_request"
    assert running.asked == []
    text = await running.http.post(
        "/api/predict/multimodal", files={"file": ("a.mp4", MP4)}, data={"audio": "voice.wav"}
    )
    assert "'audio' came as text" in running.error(text, 400)["message"]
    assert running.asked == []


async def test_a_recording_that_nobody_chose_in_a_browser_is_left_out(start: Start) -> None:
    """Also an empty file of a browser has the field's name, and no name of its own."""
    running = await start(answering())
    body = (
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n' + MP4 + b"\r\n"
        b'--x\r\ncontent-disposition: form-data; name="audio"; filename=""\r\n\r\n\r\n--x--\r\n'
    )
    head = {"content-type": "multipart/form-data; boundary=x"}
    response = await running.http.post("/api/predict/multimodal", content=body, headers=head)
    assert response.status_code == 200, response.text
    (call,) = (call for call in running.transport.calls if call.model == "deepfake_multimodal")
    assert "AUDIO" not in call.inputs
