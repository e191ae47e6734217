"""Pictures and sound through the real server: one verdict, one place that joins, and what a missing part does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from deepscan_client import (
    AsyncDeepScanClient,
    Cancellation,
    CancelledError,
    DeepScanClient,
    ErrorCode,
    MediaError,
    Medium,
    Progress,
    Reason,
    RequestError,
    Verdict,
    _video,
)
from deepscan_client._transport import bytes_tensor
from ml_backend.inference.app import create_app
from ml_backend.inference.engine import DeepfakeInferenceEngine
from ml_backend.inference.settings import read_settings
from pipelines.audio.source import decode_audio
from tests.pipelines.video.test_in_step import write_talking
from tests.scenarios.test_videos_served import emptied, soon, swaying

pytestmark = pytest.mark.triton
VOICE = Path(__file__).resolve().parents[2] / "samples" / "audio" / "voicemail.mp3"


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float32]:
    """Four seconds of speech."""
    return np.resize(decode_audio(VOICE.read_bytes())[0], 64_000)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, samples: NDArray[np.float32]) -> Path:
    """Four seconds of a face and a voice."""
    return write_talking(tmp_path_factory.mktemp("films") / "film.mkv", swaying(100), samples)


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """Two seconds of the face alone."""
    return write_video(tmp_path_factory.mktemp("films") / "silent.mp4", swaying(50))


@pytest.fixture
def spool(triton_server: Any) -> Iterator[Path]:
    """The folder where the server keeps videos and the recordings beside them; it is empty before and after."""
    folder = triton_server.folder / "uploads"
    emptied(folder)
    yield folder
    emptied(folder)


def rows_of(verdict: Verdict) -> dict[str, Any]:
    return {row.name: row for row in verdict.evidence}


async def test_every_way_to_ask_joins_in_one_place(
    triton_server: Any, spool: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Progress] = []
    with DeepScanClient(triton_server.grpc_url) as client:
        assert client.is_ready(medium=Medium.MULTIMODAL)
        whole = client.detect_multimodal(film, on_progress=told.append, request_id="whole")
        monkeypatch.setattr(_video, "CHUNK_BYTES", 20_000)
        pieces = client.detect_multimodal(film, VOICE)
    with DeepfakeInferenceEngine(triton_server.repository.root) as engine:
        here = engine.predict_multimodal(film)
    async with AsyncDeepScanClient(triton_server.grpc_url) as aio:
        app = create_app(aio, read_settings({}, log="off"), canary={Medium.VIDEO: b""})
        gateway = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway", timeout=120)
        async with gateway as http:
            answer = await http.post("/api/predict/multimodal", files={"file": ("film.mkv", film.read_bytes())})
    assert answer.status_code == 200, answer.text
    gone_round = Verdict.from_dict(answer.json())
    assert (whole.medium, whole.request_id) == (Medium.MULTIMODAL, "whole")
    assert told[-1].share == pytest.approx(1.0)
    assert {"pictures", "sound", "lip_sync_offset", "frame_cnn", "voice_cepstra"} <= set(rows_of(whole))
    assert whole.tracks
    assert Reason.NO_SOUND not in whole.reasons
    for other in (gone_round, here):
        assert (other.label, other.reasons, other.models, other.input) == (
            whole.label,
            whole.reasons,
            whole.models,
            whole.input,
        )
        assert other.fake_probability == pytest.approx(whole.fake_probability, abs=1e-4)
        for name in ("pictures", "sound", "lip_sync_offset", "lip_sync_confidence"):
            assert rows_of(other)[name].score == pytest.approx(rows_of(whole)[name].score, abs=1e-3)
    assert rows_of(pieces)["pictures"].score == pytest.approx(rows_of(whole)["pictures"].score, abs=1e-4)
    assert any(note.startswith("sound: ") for note in pieces.decode.notes)


def test_a_missing_part_does_not_speak_and_its_reason_is_told(
    triton_server: Any, spool: Path, film: Path, silent: Path, samples: NDArray[np.float32], write_video: Any
) -> None:
    faceless = write_talking(silent.with_name("grey.mkv"), [np.full((240, 320, 3), 90, np.uint8)] * 50, samples)
    with DeepScanClient(triton_server.grpc_url) as client:
        alone = client.detect_multimodal(silent)
        pictures = client.detect_video(silent)
        together = client.detect_multimodal(silent, (samples, 16_000))
        heard = client.detect_multimodal(faceless)
        with pytest.raises(MediaError):
            client.detect_multimodal(silent, b"no recording")
        with pytest.raises(MediaError) as sound_only:
            client.detect_multimodal(VOICE)
    assert (alone.medium, alone.label) == (Medium.MULTIMODAL, pictures.label)
    assert alone.fake_probability == pytest.approx(pictures.fake_probability, abs=1e-4)
    assert Reason.NO_SOUND in alone.reasons
    assert any("no sound track" in note for note in alone.decode.notes)
    assert "sound" in rows_of(together)
    assert Reason.NO_SOUND not in together.reasons
    assert Reason.NO_FACE in heard.reasons
    assert heard.fake_probability == rows_of(heard)["sound"].score
    assert sound_only.value.code is ErrorCode.NOT_MEDIA


def test_requests_that_break_the_rules_get_typed_errors_and_leave_nothing(
    triton_server: Any, spool: Path, silent: Path
) -> None:
    with DeepScanClient(triton_server.grpc_url) as client:

        def judge(**inputs: bytes) -> None:
            tensors = {name: bytes_tensor(value) for name, value in inputs.items()}
            with contextlib.closing(client.transport.stream("deepfake_multimodal", tensors, ["VERDICT"])) as stream:
                list(stream)

        data = silent.read_bytes()
        for wrong in (
            {"AUDIO": b"sound"},
            {"VIDEO": data, "UPLOAD": b"x"},
            {"VIDEO": data, "AUDIO": b"sound", "AUDIO_UPLOAD": b"x"},
            {"VIDEO": data, "AUDIO_UPLOAD": b"never sent"},
        ):
            with pytest.raises(RequestError):
                judge(**wrong)
        for empty, words in (({"VIDEO": b""}, "a video"), ({"VIDEO": data, "AUDIO": b""}, "a recording")):
            with pytest.raises(MediaError, match=f"{[*empty][-1]} is empty") as caught:
                judge(**empty)
            assert (caught.value.code, words in caught.value.remedy) == (ErrorCode.EMPTY, True)


def test_a_caller_who_goes_away_frees_the_work(
    triton_server: Any, spool: Path, silent: Path, tmp_path: Path, samples: NDArray[np.float32]
) -> None:
    long = write_talking(tmp_path / "long.mkv", swaying(60) * 15, np.resize(samples, 36 * 16_000))
    cancellation = Cancellation()
    with DeepScanClient(triton_server.grpc_url) as client:
        with pytest.raises(CancelledError):
            client.detect_multimodal(long, on_progress=lambda told: cancellation.cancel(), cancellation=cancellation)
        assert emptied(spool, 60.0) < soon(client, silent)
