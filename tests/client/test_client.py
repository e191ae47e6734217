"""The clients over the fake transport, which is also what users test with."""

from __future__ import annotations

import asyncio
import dataclasses
import doctest
import io
import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import deepscan_client
import deepscan_client._fake
from deepscan_client import (
    AsyncDeepScanClient,
    AsyncFakeTransport,
    Cancellation,
    CancelledError,
    DeadlineError,
    DeepScanClient,
    DeepScanError,
    ErrorCode,
    FakeTransport,
    InternalError,
    MediaError,
    OverloadedError,
    Reason,
    RequestError,
    RetryPolicy,
    Verdict,
    make_verdict,
)
from deepscan_client._media import encode_bmp
from deepscan_client._transport import bytes_tensor
from deepscan_client.errors import _CLASS_OF_CODE

QUICK = RetryPolicy(attempts=3, backoff=0.001)
ROOT = Path(__file__).resolve().parents[2]


def test_the_public_face_is_what_it_says() -> None:
    assert deepscan_client.__all__ == sorted(deepscan_client.__all__, key=_isort_key)
    for name in deepscan_client.__all__:
        assert hasattr(deepscan_client, name), name
    public = {
        name
        for name, value in vars(deepscan_client).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("deepscan_client")
    }
    assert public == set(deepscan_client.__all__) - {"__version__"}
    assert (Path(deepscan_client.__file__).parent / "py.typed").exists()


def _isort_key(name: str) -> tuple[int, str]:
    rank = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return rank, name.lower()


def test_the_drawn_tree_of_errors_is_the_real_one() -> None:
    drawn = re.findall(r"(\w+Error)\s{2,}\S", deepscan_client.errors.__doc__ or "")
    real = {name for name in deepscan_client.__all__ if name.endswith("Error")}
    assert set(drawn) == real
    assert set(_CLASS_OF_CODE) == set(ErrorCode)


def test_importing_the_client_imports_no_transport(run_python: object) -> None:
    loaded = run_python(  # type: ignore[operator]
        "import sys, deepscan_client; print([m for m in sys.modules if m.split('.')[0] in "
        "('grpc', 'gevent', 'aiohttp', 'tritonclient', 'pydantic', 'cv2')])"
    )
    assert loaded.strip() == "[]"


def test_the_examples_in_the_doc_strings_hold() -> None:
    for module in (deepscan_client._fake, deepscan_client._config, deepscan_client._cancel, deepscan_client._transport):
        result = doctest.testmod(module)
        assert result.failed == 0
        assert result.attempted > 0, module.__name__


def test_a_path_bytes_and_pixels_are_sent(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(b"file")
    fake = FakeTransport()
    client = DeepScanClient(transport=fake)
    client.detect_image(file)
    client.detect_image(str(file))
    client.detect_image(bytearray(b"bytes"))
    client.detect_image(np.zeros((2, 3, 3), np.uint8))
    assert [call.image[:5] for call in fake.calls[:3]] == [b"file", b"file", b"bytes"]
    assert fake.calls[3].image[:2] == b"BM"


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (7, 31)])
def test_pixels_lose_nothing_on_their_way(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (*size, 3), dtype=np.uint8)
    for view in (pixels, pixels[::-1], pixels[:, ::-1], np.asfortranarray(pixels)):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_bmp(view))).convert("RGB")), view)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8)],
)
def test_an_array_that_is_no_picture_is_refused(pixels: Any) -> None:
    with pytest.raises(RequestError, match="no picture"):
        DeepScanClient(transport=FakeTransport()).detect_image(pixels)


def test_a_lost_file_is_pythons_own_error(tmp_path: Path) -> None:
    fake = FakeTransport()
    with pytest.raises(FileNotFoundError):
        DeepScanClient(transport=fake).detect_image(tmp_path / "lost.jpg")
    with pytest.raises(TypeError):
        DeepScanClient(transport=fake).detect_image(5)  # type: ignore[arg-type]
    assert fake.calls == []


def test_options_travel_inside_the_request() -> None:
    fake = FakeTransport()
    client = DeepScanClient(transport=fake)
    verdict = client.detect_image(b"x", heatmaps=True, confidence_threshold=0.7, request_id="me")
    client.detect_image(b"x")
    assert fake.calls[0].asked == {"request_id": "me", "heatmaps": True, "confidence_threshold": 0.7}
    assert list(fake.calls[1].asked) == ["request_id"]
    assert verdict.request_id == "me"
    assert len({call.asked["request_id"] for call in fake.calls}) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"confidence_threshold": 1.5},
        {"confidence_threshold": float("nan")},
        {"request_id": "two\nlines"},
        {"request_id": "x" * 129},
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_sent(wrong: dict[str, object]) -> None:
    fake = FakeTransport()
    with pytest.raises(RequestError):
        DeepScanClient(transport=fake).detect_image(b"x", **wrong)  # type: ignore[arg-type]
    assert fake.calls == []


def test_what_was_shed_is_sent_again_with_the_same_id() -> None:
    fake = FakeTransport([OverloadedError("full"), OverloadedError("full"), make_verdict("fake", 0.9)])
    assert DeepScanClient(transport=fake, retry=QUICK).detect_image(b"x").label == "fake"
    assert len({call.asked["request_id"] for call in fake.calls}) == 1
    assert len(fake.calls) == 3


@pytest.mark.parametrize("error", [MediaError("no picture"), DeadlineError("late"), InternalError("defect")])
def test_other_errors_come_back_at_once_with_the_request_id(error: DeepScanError) -> None:
    fake = FakeTransport([error])
    with pytest.raises(type(error)) as caught:
        DeepScanClient(transport=fake, retry=QUICK).detect_image(b"x", request_id="me")
    assert caught.value.request_id == "me"
    assert len(fake.calls) == 1


def test_an_answer_that_is_no_verdict_is_named() -> None:
    class Odd(FakeTransport):
        def answer(self, call: object) -> dict[str, Any]:
            return {"VERDICT": bytes_tensor(b'{"label": 5}')}

    with pytest.raises(InternalError) as caught:
        DeepScanClient(transport=Odd()).detect_image(b"x")
    assert caught.value.code == ErrorCode.BAD_ANSWER


def test_a_cancellation_ends_a_pause_between_retries() -> None:
    cancellation = Cancellation()

    def shed(call: object) -> OverloadedError:
        threading.Timer(0.02, cancellation.cancel).start()
        return OverloadedError("full")

    patient = RetryPolicy(backoff=60.0, max_backoff=60.0)
    with pytest.raises(CancelledError):
        DeepScanClient(transport=FakeTransport(shed), retry=patient).detect_image(
            b"x", cancellation=cancellation, deadline=1000
        )


def test_a_client_closes_its_transport_and_tells_its_health() -> None:
    fake = FakeTransport(ready=False)
    with DeepScanClient(transport=fake) as client:
        assert not client.is_ready()
        assert client.health().detail
    assert fake.closed


async def test_the_asyncio_client_retries_cancels_and_closes(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(b"file")
    fake = AsyncFakeTransport([OverloadedError("full"), make_verdict("real", 0.2)])
    async with AsyncDeepScanClient(transport=fake, retry=QUICK) as client:
        assert (await client.detect_image(file)).label == "real"
        assert fake.calls[1].image == b"file"
        fake.fake.delay = 60.0
        task = asyncio.create_task(client.detect_image(b"x", deadline=1000))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(DeadlineError):
            await client.detect_image(b"x", deadline=1.0)
        assert await client.is_ready()
    assert fake.cancelled == 1
    assert fake.fake.closed


def test_verdicts_survive_json_and_reject_other_shapes() -> None:
    verdict = make_verdict("fake", 0.9, provenance={"camera": "x"})
    assert deepscan_client.Verdict.from_json(verdict.to_json()) == verdict
    good = verdict.to_dict()
    assert deepscan_client.Verdict.from_dict({**good, "field_of_tomorrow": 1}) == verdict
    wrong: list[dict[str, object]] = [
        {"fake_probability": "0.9"},
        {"faces": "none"},
        {"cached": 1},
        {"timing_ms": []},
        {"input": {"sha256": 5}},
    ]
    for change in wrong:
        with pytest.raises(ValueError, match="verdict"):
            deepscan_client.Verdict.from_dict({**good, **change})
    other = dataclasses.replace(verdict, request_id="other", timing_ms={}, cached=True)
    assert other.canonical_json() == verdict.canonical_json()
    assert "request_id" not in json.loads(verdict.canonical_json())


def test_every_python_block_of_the_clients_readme_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (ROOT / "client" / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 3
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    (tmp_path / "recording.wav").write_bytes(b"recording")
    (tmp_path / "video.mp4").write_bytes(b"video")
    fake = FakeTransport([make_verdict("fake", 0.9)])
    monkeypatch.setattr(deepscan_client._client, "connect", lambda url, timeout: fake)
    monkeypatch.setattr(
        deepscan_client._aio, "connect_async", lambda url: AsyncFakeTransport([make_verdict("fake", 0.9)])
    )
    for block in blocks:
        exec(compile(block, "client/README.md", "exec"), {"__name__": "__readme__"})
    assert fake.calls


def test_a_verdict_of_a_newer_server_is_read_as_far_as_it_is_known() -> None:
    """It may have reasons and fields that this client does not know; the label still stands."""
    data = make_verdict().to_dict()
    newer = {**data, "reasons": ["from_the_future", "cut_off"], "from_the_future": 1, "schema_version": "1.9"}
    verdict = Verdict.from_json(json.dumps(newer))
    assert verdict.reasons == (Reason.CUT_OFF,)
    assert (verdict.label, verdict.schema_version) == (make_verdict().label, "1.9")
    for broken in ({"label": "from_the_future"}, {"reasons": [5]}, {"reasons": [["cut_off"]]}, {"reasons": "cut_off"}):
        with pytest.raises(ValueError, match=r"Reason|Label|list"):
            Verdict.from_dict({**data, **broken})


def test_a_verdict_of_an_older_server_is_read() -> None:
    """Before schema 1.4 a verdict had no points of its parts."""
    data = make_verdict().to_dict()
    del data["part_points"]
    verdict = Verdict.from_dict({**data, "schema_version": "1.3"})
    assert (verdict.part_points, verdict.schema_version) == ({}, "1.3")
    points = {"pictures": verdict.operating_point, "sound": dataclasses.replace(verdict.operating_point, threshold=0.9)}
    joined = dataclasses.replace(verdict, part_points=points)
    assert Verdict.from_json(joined.to_json()) == joined
