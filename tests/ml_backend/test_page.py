"""The page at ``/`` in a real browser (Chromium, through its WebDriver), before a gateway over a fake Triton."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from deepscan_client import (
    AsyncDeepScanClient,
    AsyncFakeTransport,
    Evidence,
    FakeCall,
    InputInfo,
    MediaError,
    Medium,
    Progress,
    Reason,
    RetryPolicy,
    Track,
    Verdict,
    make_verdict,
)
from ml_backend.inference.app import create_app
from ml_backend.inference.settings import read_settings
from serving.ports import any_free

_DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(_DRIVER is None, reason="needs chromedriver on the path (Debian: chromium-driver)")
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's id, https://www.w3.org/TR/webdriver2/#elements."""
FACE = Track(0, 0.0, 4.0, 20, 0.97, 0.9, 0.8)
STILL = Track(1, 1.0, 2.0, 5, None, 0.9, 0.1, reasons=(Reason.STILL_FACE,))
SEEN = make_verdict(
    "fake",
    0.93,
    medium=Medium.VIDEO,
    input=InputInfo("0" * 64, 10, "mp4", 640, 480, duration_s=4.0),
    tracks=(FACE, STILL),
    timeline=((0.0, 2.0, 0.1), (2.0, 4.0, 0.99)),
)
TOLD = Progress(2.0, 4.0, 0.5)


@dataclass
class Page:
    """A browser that shows the page."""

    http: httpx.Client
    transport: Slow

    def do(self, what: str, **more: Any) -> Any:
        answer = self.http.post(what, json=more)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    def run(self, script: str) -> Any:
        return self.do("execute/sync", script=f"return {script}", args=[])

    def text(self) -> str:
        return str(self.run("document.getElementById('out').innerText"))

    def element(self, selector: str) -> str:
        return f"element/{self.do('element', using='css selector', value=selector)[_ELEMENT]}"

    def send(self, medium: str, file: Path) -> None:
        form = f"form[action$='/predict/{medium}']"
        self.do(f"{self.element(f'{form} [type=file]')}/value", text=str(file))
        self.do(f"{self.element(f'{form} button')}/click")

    @property
    def last(self) -> FakeCall:
        """What was asked last, the canary's calls left out."""
        return [call for call in self.transport.calls if call.asked["request_id"] != "canary"][-1]

    def tick(self, medium: str, box: str) -> None:
        selector = f"form[action$='/predict/{medium}'] [name={box}]"
        self.do(f"{self.element(selector)}/click")

    def wait(self, words: str, seconds: float = 20.0) -> str:
        until = time.monotonic() + seconds
        while words not in self.text():
            assert time.monotonic() < until, f"{words!r} did not come: {self.text()!r}"
            time.sleep(0.05)
        return self.text()


class Slow(AsyncFakeTransport):
    """A fake Triton that tells its progress and then waits until it may go on."""

    def __init__(self, script: Callable[[FakeCall], Verdict | Exception]) -> None:
        super().__init__(script, progress=[TOLD])
        self.go_on = threading.Event()

    async def stream(self, *arguments: Any) -> Any:
        """Hold the last message back."""
        import asyncio

        async for message in super().stream(*arguments):
            if message["VERDICT"].reshape(-1)[0]:
                while not self.go_on.is_set():
                    await asyncio.sleep(0.01)
            yield message


JOINED = dataclasses.replace(
    SEEN,
    medium=Medium.MULTIMODAL,
    evidence=(
        Evidence("pictures", 0.2, "probability", note="real by itself"),
        Evidence("pulse", 72.04, "beats a minute", confidence=0.625),
        Evidence("sound", 0.93, "probability", note="fake by itself, decides"),
        Evidence("<b>pitch", 212.5, "Hz", confidence=0.7),
    ),
    suspicious=((2.0, 3.5),),
)


def judge(call: FakeCall) -> Verdict | Exception:
    if b"broken" in call.media:
        return MediaError("nothing <b>decodes</b>", remedy="send MP4")
    said = {"deepfake_video": SEEN, "deepfake_multimodal": JOINED}
    return said.get(call.model, make_verdict("real", 0.1))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    transport, ports = Slow(judge), any_free()
    client = AsyncDeepScanClient(transport=transport, retry=RetryPolicy.never())
    app = create_app(client, read_settings({}, log="off"), canary={Medium.IMAGE: b"canary"})
    server = uvicorn.Server(uvicorn.Config(app, port=ports.http, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert _DRIVER is not None
    driver = subprocess.Popen([_DRIVER, f"--port={ports.grpc}"], stdout=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{ports.grpc}", timeout=60) as http:
            session = _session(http, tmp_path)
            http.base_url = http.base_url.join(f"session/{session}/")
            shown = Page(http, transport)
            shown.do("url", url=f"http://127.0.0.1:{ports.http}/")
            yield shown
            # Without the slash that httpx puts after a base URL: with it the driver knows no such session.
            http.delete(str(http.base_url).rstrip("/")).raise_for_status()
    finally:
        transport.go_on.set()
        server.should_exit = True
        thread.join(10)
        driver.kill()
        driver.wait()


def _session(http: httpx.Client, folder: Path) -> str:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}/u"]
    wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": flags}}}}
    until = time.monotonic() + 30
    while True:
        try:
            answer = http.post("session", json=wanted)
        except httpx.TransportError:
            assert time.monotonic() < until, "chromedriver does not answer"
            time.sleep(0.1)
            continue
        assert answer.status_code == 200, answer.text
        return str(answer.json()["value"]["sessionId"])


def test_a_video_shows_its_progress_and_then_its_verdict_timeline_and_faces(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes(b"\0\0\0\x18ftypisom and frames")
    page.send("video", file)
    assert page.wait("seen 2.0 of 4.0 s, so far 0.500")
    assert page.run("document.querySelector('progress').value") == 0.5
    page.transport.go_on.set()
    said = page.wait("fake 0.930")
    assert "1.0 to 2.0 s" in said
    assert "still_face" in said
    bars = page.run("[...document.querySelectorAll('#timeline [title]')].map(each => [each.title, each.style.width])")
    assert bars == [["0.0 to 2.0 s: 0.10", "50%"], ["2.0 to 4.0 s: 0.99", "50%"]]
    assert page.run("document.querySelectorAll('#faces tr').length") == 3
    assert page.run("document.querySelector('progress')") is None
    assert "synthetic" not in said  # that is said of recordings
    assert page.last.video == file.read_bytes()


@pytest.mark.parametrize("beside", [None, b"RIFF\4\0\0\0WAVE and samples"], ids=["its own", "beside"])
def test_a_video_with_its_sound_shows_progress_and_what_was_measured(
    page: Page, tmp_path: Path, beside: bytes | None
) -> None:
    film, voice = tmp_path / "clip.mp4", tmp_path / "voice.wav"
    film.write_bytes(b"\0\0\0\x18ftypisom and frames")
    if beside is not None:
        voice.write_bytes(beside)
        page.do(f"{page.element('[name=audio]')}/value", text=str(voice))
    page.tick("multimodal", "analyzers")
    page.send("multimodal", film)
    assert page.wait("seen 2.0 of 4.0 s, so far 0.500")
    page.transport.go_on.set()
    said = page.wait("fake 0.930")
    assert "Decided by the sound; the timeline is that of the sound." in said
    assert "Sounds synthetic: 2.0 to 3.5 s" in said
    assert page.run("document.querySelectorAll('#faces tr').length") == 3
    cells = "[...document.querySelectorAll('#measured tr')].map(row => [...row.cells].map(cell => cell.innerText))"
    assert page.run(cells) == [
        ["measured", "value", "unit", "confidence"],
        ["pulse", "72.040", "beats a minute", "0.63"],
        ["<b>pitch", "212.500", "Hz", "0.70"],
    ]
    call = page.last
    assert (call.model, call.video, call.asked["analyzers"]) == ("deepfake_multimodal", film.read_bytes(), True)
    assert (call.audio if beside else "AUDIO" in call.inputs) == (beside or False)


def test_the_analyzers_are_asked_for_where_their_box_is_ticked(page: Page, tmp_path: Path) -> None:
    page.transport.go_on.set()
    (tmp_path / "file").write_bytes(b"\0\0\0\x18ftypisom and frames")
    for medium in ("audio", "video"):
        for ticked in (None, True):
            if ticked:
                page.tick(medium, "analyzers")
            page.send(medium, tmp_path / "file")
            page.wait("the whole verdict")
            assert page.last.asked.get("analyzers") is ticked


def test_an_error_is_shown_as_words_and_the_other_forms_work_beside(page: Page, tmp_path: Path) -> None:
    page.transport.go_on.set()
    for name, content in (("bad.mp4", b"\0\0\0\x18ftypisom broken"), ("a.jpg", b"\xff\xd8\xff")):
        (tmp_path / name).write_bytes(content)
    page.send("video", tmp_path / "bad.mp4")
    assert page.wait("corrupt: nothing <b>decodes</b>. send MP4")
    assert page.run("document.querySelectorAll('#out b').length") == 0
    page.send("image", tmp_path / "a.jpg")
    assert page.wait("real 0.100")


def test_the_next_scan_ends_the_one_before(page: Page, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom and frames")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    page.send("video", tmp_path / "clip.mp4")
    assert page.wait("seen 2.0 of 4.0 s")
    page.send("image", tmp_path / "a.jpg")
    assert page.wait("real 0.100")
    page.transport.go_on.set()
    time.sleep(0.5)  # the video's verdict would be there by now
    assert "real 0.100" in page.text()
    assert page.run("document.querySelector('#faces')") is None


def test_a_page_of_a_proxy_in_front_is_told_as_its_status(page: Page, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    page.run(
        "window.fetch = async () => new Response('<html>', {status: 502, statusText: 'Bad Gateway', "
        "headers: {'content-type': 'text/html'}}); 0"
    )
    page.send("image", tmp_path / "a.jpg")
    assert page.wait("the server gave no answer: Error: 502 Bad Gateway")
