"""Pictures and sound through the gateway: both parts speak, a silent one does not, a second file has its own field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cards.limits import MAX_AUDIO_BYTES
from deepscan_client import FakeCall, InputInfo, MediaError, Medium, Verdict, make_verdict
from ml_backend.inference import together

Start = Callable[..., Any]
MP4 = b"\0\0\0\x18ftypisom and frames"
WAV = b"RIFF\x04\0\0\0WAVE and samples"
SEEN = make_verdict("real", 0.2, medium=Medium.VIDEO, input=InputInfo("0" * 64, 10, "mp4", 640, 480, duration_s=4.0))
HEARD = make_verdict("fake", 0.97, medium=Medium.AUDIO, input=InputInfo("1" * 64, 10, "wav", duration_s=4.0))
SILENT = MediaError("there is no sound track", remedy="send a recording")


def answering(heard: Verdict | Exception, seen: Verdict | Exception = SEEN) -> Callable[[FakeCall], Any]:
    return lambda call: seen if call.model == "deepfake_video" else heard


async def ask(running: Any, audio: bytes | None = None, **form: Any) -> Any:
    files = {"file": ("video.mp4", MP4)} | ({} if audio is None else {"audio": ("voice.wav", audio)})
    return await running.http.post("/api/predict/multimodal", files=files, data=form)


@pytest.mark.parametrize("audio", [None, WAV])
async def test_the_part_that_is_fake_decides(start: Start, audio: bytes | None) -> None:
    running = await start(answering(HEARD))
    response = await ask(running, audio, num_frames="9")
    assert response.status_code == 200, response.text
    verdict = Verdict.from_dict(response.json())
    assert (verdict.medium, verdict.label, verdict.fake_probability) == (Medium.MULTIMODAL, "fake", 0.97)
    assert [row.name for row in verdict.evidence if row.name in ("pictures", "sound")] == ["pictures", "sound"]
    calls = [call for call in running.transport.calls if call.model == "deepfake_video"]
    assert [call.video for call in calls] == [MP4]
    assert sorted(asked.get("num_frames", 0) or 0 for asked in running.asked) == [0, 9]


async def test_a_sound_track_that_cannot_be_judged_does_not_speak(start: Start) -> None:
    running = await start(answering(SILENT))
    verdict = Verdict.from_dict((await ask(running)).json())
    assert (verdict.medium, verdict.label) == (Medium.MULTIMODAL, "real")
    assert "the sound track was not judged: there is no sound track" in verdict.decode.notes


async def test_a_recording_that_was_sent_and_cannot_be_judged_is_an_error(start: Start) -> None:
    running = await start(answering(SILENT))
    assert running.error(await ask(running, b"no recording"), 422)["message"] == SILENT.message


async def test_a_video_that_cannot_be_judged_is_an_error(start: Start) -> None:
    running = await start(answering(HEARD, MediaError("no frame decodes", remedy="save it again")))
    assert running.error(await ask(running, WAV), 422)["message"] == "no frame decodes"


async def test_a_large_video_is_judged_without_its_own_sound(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(MP4) < MAX_AUDIO_BYTES
    monkeypatch.setattr(together, "MAX_AUDIO_BYTES", len(MP4) - 1)
    running = await start(answering(HEARD))
    verdict = Verdict.from_dict((await ask(running)).json())
    assert verdict.label == "real"
    assert any("send the sound in the field audio" in note for note in verdict.decode.notes)


async def test_files_in_other_fields_are_refused(start: Start) -> None:
    running = await start(answering(HEARD))
    for files in (
        [("file", ("a.mp4", MP4)), ("sound", ("b.wav", WAV))],
        [("file", ("a.mp4", MP4)), ("file", ("b.mp4", MP4))],
        [("audio", ("b.wav", WAV))],
    ):
        response = await running.http.post("/api/predict/multimodal", files=files)
        assert running.error(response, 400)["code"] == "bad_request"
    assert running.asked == []
