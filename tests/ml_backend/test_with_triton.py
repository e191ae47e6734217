"""Gateway, engine and client agree, over the real server; the gateway's process drains as it promises."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from deepscan_client import DeepScanClient, DeepScanError, Verdict
from ml_backend import DeepfakeInferenceEngine
from serving.ports import any_free
from serving.supervisor import Server

pytestmark = pytest.mark.triton

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted(path for path in (ROOT / "samples").iterdir() if path.suffix in (".jpg", ".png", ".webp"))
RECORDINGS = sorted(path for path in (ROOT / "samples" / "audio").iterdir() if path.suffix in (".wav", ".mp3", ".ogg"))
GROUP = (ROOT / "samples" / "group.jpg").read_bytes()


class Process:
    """A gateway in a process of its own, as a user starts it."""

    def __init__(self, triton: str) -> None:
        port = any_free().http
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "DEEPSCAN_TRITON": triton,
            "DEEPSCAN_PORT": str(port),
            "DEEPSCAN_LOG": "off",
        }
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([sys.executable, "-m", "ml_backend.inference.api"], cwd=ROOT, env=environment)

    def wait(self, seconds: float = 30.0) -> None:
        until = time.monotonic() + seconds
        while True:
            try:
                if httpx.get(f"{self.url}/api/health").status_code == 200:
                    return
            except httpx.TransportError:
                if self.process.poll() is not None:
                    raise
            assert time.monotonic() < until, "the gateway did not become ready"
            time.sleep(0.1)

    def photo(self, data: bytes, **form: str) -> httpx.Response:
        return httpx.post(f"{self.url}/api/predict/image", files={"file": ("a", data)}, data=form, timeout=60)


@pytest.fixture
def gateway(triton_server: Server) -> Iterator[Process]:
    running = Process(triton_server.grpc_url)
    try:
        running.wait()
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def compare(found: Verdict, expected: Verdict) -> None:
    assert (found.label, found.reasons) == (expected.label, expected.reasons)
    assert found.input == expected.input
    assert found.models == expected.models
    assert len(found.faces) == len(expected.faces)
    if expected.fake_probability is None:
        assert found.fake_probability is None
    else:
        assert found.fake_probability == pytest.approx(expected.fake_probability, abs=1e-4)


def test_gateway_engine_and_client_agree(triton_server: Server, gateway: Process) -> None:
    engine = DeepfakeInferenceEngine(triton_server.repository.root)
    files = [("files", (path.name, path.read_bytes())) for path in SAMPLES]
    batch = httpx.post(f"{gateway.url}/api/batch-predict", files=files, timeout=60).json()
    assert batch["failed"] == 0
    with DeepScanClient(triton_server.grpc_url) as client:
        for path, item in zip(SAMPLES, batch["results"], strict=True):
            by_client = client.detect_image(path)
            compare(Verdict.from_dict(item["verdict"]), by_client)
            compare(engine.predict_image(path), by_client)


def test_gateway_engine_and_client_agree_on_recordings(triton_server: Server, gateway: Process) -> None:
    engine = DeepfakeInferenceEngine(triton_server.repository.root)
    files = [("files", (path.name, path.read_bytes())) for path in RECORDINGS]
    batch = httpx.post(f"{gateway.url}/api/batch-predict", files=files, timeout=120).json()
    assert batch["failed"] == 0
    with DeepScanClient(triton_server.grpc_url) as client:
        for path, item in zip(RECORDINGS, batch["results"], strict=True):
            by_client = client.detect_audio(path)
            compare(Verdict.from_dict(item["verdict"]), by_client)
            by_engine = engine.predict_audio(path)
            compare(by_engine, by_client)
            assert by_engine.suspicious == by_client.suspicious
            assert "duration" in str(by_engine)
    health = httpx.get(f"{gateway.url}/api/health").json()
    assert health["media"] == {"image": "ready", "audio": "ready", "video": "ready"}


def test_options_and_heat_maps_reach_the_models(gateway: Process) -> None:
    photo = (ROOT / "samples" / "astronaut.jpg").read_bytes()
    verdict = Verdict.from_dict(gateway.photo(photo, confidence_threshold="1.0", heatmaps="true").json())
    assert verdict.operating_point.threshold == 1.0
    assert verdict.faces[0].heatmap is not None


def test_bad_neighbours_cost_nothing_and_no_answer_is_a_500(gateway: Process) -> None:
    good = (ROOT / "samples" / "astronaut.jpg").read_bytes()
    bad = [
        b"",
        b"plain text",
        good[:2000],
        b"GIF89a" + bytes(20),
        b"\x89PNG\r\n\x1a\n" + bytes(50),
        b"RIFF\0\0\0\0WAVE",
    ]
    contents = [part for each in bad for part in (each, good)]
    files = [("files", (f"../../etc/{index}", content)) for index, content in enumerate(contents)]
    body = httpx.post(f"{gateway.url}/api/batch-predict", files=files, timeout=60).json()
    assert [("error" in item) for item in body["results"]] == [True, False] * len(bad)
    assert "internal" not in {item["error"]["code"] for item in body["results"] if "error" in item}
    for content in bad:
        assert gateway.photo(content).status_code in (413, 422)


def test_sigterm_turns_health_to_503_and_loses_no_photo(gateway: Process) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(gateway.photo, GROUP, fresh="true") for _ in range(8)]
        arrived = 0  # a photo that comes after the signal is refused, and rightly so: wait for all of them
        while arrived < len(answers):
            load = httpx.get(f"{gateway.url}/api/stats").json()["load"]
            arrived = load["in_flight"] + load["waiting"] + sum(answer.done() for answer in answers)
            time.sleep(0.005)
        gateway.process.send_signal(signal.SIGTERM)
        states = set()
        while not all(answer.done() for answer in answers):
            try:
                states.add(httpx.get(f"{gateway.url}/api/health").status_code)
            except httpx.TransportError:
                break
            time.sleep(0.01)
        assert [answer.result().status_code for answer in answers] == [200] * 8
    assert 503 in states
    assert gateway.process.wait(15) == 0


def test_a_triton_that_is_away_is_unavailable_and_not_a_500() -> None:
    running = Process(f"127.0.0.1:{any_free().grpc}")
    try:
        with pytest.raises(AssertionError, match="did not become ready"):
            running.wait(4.0)
        assert httpx.get(f"{running.url}/api/health").status_code == 503
        answer = running.photo(GROUP)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert httpx.get(f"{running.url}/api/models").status_code == 200
    finally:
        running.process.terminate()
        assert running.process.wait(15) == 0


def test_the_engine_and_triton_refuse_the_same_photos(triton_server: Server) -> None:
    engine = DeepfakeInferenceEngine(triton_server.repository.root)
    with DeepScanClient(triton_server.grpc_url) as client:
        for data in (b"", b"text", GROUP[:5000], b"RIFF\0\0\0\0WAVE" + bytes(40)):
            found: list[tuple[type[DeepScanError], str]] = []
            for judge in (engine.predict_image, client.detect_image):
                with pytest.raises(DeepScanError) as caught:
                    judge(data)
                found.append((type(caught.value), str(caught.value)))
            assert found[0] == found[1]
