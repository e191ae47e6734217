"""Photos through the gateway: verdicts, options, cache, batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cards.limits import MAX_BATCH_FILES
from deepscan_client import (
    ErrorCode,
    FakeCall,
    InternalError,
    MediaError,
    ModelInfo,
    UnavailableError,
    Verdict,
    make_verdict,
)

Start = Callable[..., Any]


def verdict_of_record(record: str) -> Verdict:
    return make_verdict("fake", 0.9, models=(ModelInfo("frame_cnn", "1", record),))


async def test_the_founding_documents_form_gets_a_verdict(start: Start) -> None:
    running = await start([make_verdict("fake", 0.97)])
    response = await running.photo(b"bytes of a photo", confidence_threshold="0.5")
    assert response.status_code == 200
    verdict = Verdict.from_dict(response.json())
    assert (str(verdict.label), verdict.fake_probability, verdict.cached) == ("fake", 0.97, False)
    assert running.asked == [{"request_id": response.headers["x-request-id"], "confidence_threshold": 0.5}]
    assert running.transport.calls[-1].image == b"bytes of a photo"


async def test_empty_fields_of_a_browsers_form_are_left_out(start: Start) -> None:
    running = await start()
    response = await running.photo(confidence_threshold="", heatmaps="true", fresh="")
    assert response.status_code == 200
    assert running.asked == [{"request_id": response.headers["x-request-id"], "heatmaps": True}]


@pytest.mark.parametrize("threshold", ["nan", "inf", "-0.1", "1.5", "half", "0,5"])
async def test_a_threshold_outside_0_to_1_is_refused_before_triton(start: Start, threshold: str) -> None:
    running = await start()
    error = running.error(await running.photo(confidence_threshold=threshold), 400)
    assert error["code"] == "bad_request"
    assert "confidence_threshold" in error["message"]
    assert running.asked == []


async def test_an_unknown_or_repeated_option_is_refused(start: Start) -> None:
    running = await start()
    assert "treshold" in running.error(await running.photo(treshold="0.5"), 400)["message"]
    assert "twice" in running.error(await running.photo(heatmaps=["true", "false"]), 400)["message"]


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (MediaError("not a picture", code=ErrorCode.NOT_MEDIA, remedy="send one"), 422),
        (UnavailableError("away", remedy="wait"), 503),
        (InternalError("stub is gone", remedy="report it"), 500),
    ],
)
async def test_an_error_of_the_models_keeps_its_code(start: Start, raised: Any, status: int) -> None:
    running = await start(lambda call: raised)
    response = await running.photo()
    assert running.error(response, status)["code"] == str(raised.code)
    assert ("retry-after" in response.headers) == (status == 503)
    counted = (await running.http.get("/api/stats")).json()["errors"]
    assert counted == {"total": 1, "by_code": {str(raised.code): 1}}


async def test_the_second_time_a_verdict_comes_from_the_cache_and_says_so(start: Start) -> None:
    running = await start([verdict_of_record("aaaaaaaaaaaa")])
    first, second = (await running.photo()), (await running.photo())
    assert not first.json()["cached"]
    assert second.json()["cached"]
    assert second.json()["request_id"] == second.headers["x-request-id"] != first.json()["request_id"]
    assert Verdict.from_dict(first.json()).canonical_json() == Verdict.from_dict(second.json()).canonical_json()
    assert len(running.asked) == 1
    assert (await running.http.get("/api/stats")).json()["cache"]["hits"] == 1


async def test_other_bytes_other_options_and_fresh_ask_anew(start: Start) -> None:
    running = await start([verdict_of_record("aaaaaaaaaaaa")])
    await running.photo()
    for answer in (
        await running.photo(b"another photo"),
        await running.photo(confidence_threshold="0.9"),
        await running.photo(heatmaps="yes"),
        await running.photo(fresh="true"),
    ):
        assert not answer.json()["cached"]
    assert len(running.asked) == 5


async def test_a_new_record_ends_the_life_of_older_verdicts(start: Start) -> None:
    serving = {"record": "aaaaaaaaaaaa"}
    running = await start(lambda call: verdict_of_record(serving["record"]))
    await running.photo()
    serving["record"] = "bbbbbbbbbbbb"
    await running.gateway.health.check()  # the canary learns it without any caller
    answer = await running.photo()
    assert not answer.json()["cached"]
    assert answer.json()["models"][0]["record"] == "bbbbbbbbbbbb"


async def test_a_cache_of_size_0_keeps_nothing(start: Start) -> None:
    running = await start(cache_mb=0)
    await running.photo()
    assert not (await running.photo()).json()["cached"]


async def test_the_same_photo_at_the_same_time_is_asked_once(start: Start) -> None:
    running = await start(delay=0.05)
    answers = await asyncio.gather(*(running.photo() for _ in range(8)))
    assert len(running.asked) == 1
    assert len({answer.json()["request_id"] for answer in answers}) == 8


async def test_an_error_that_several_share_carries_each_ones_id(start: Start) -> None:
    running = await start(lambda call: MediaError("broken", remedy="send another"), delay=0.05)
    answers = await asyncio.gather(*(running.photo() for _ in range(4)))
    assert {running.error(answer, 422)["code"] for answer in answers} == {"corrupt"}
    assert len(running.asked) == 1


async def test_a_batch_answers_each_file_in_order_whatever_its_neighbours_are(start: Start) -> None:
    def answer(call: FakeCall) -> Any:
        if call.image == b"bad":
            return MediaError("not a picture", code=ErrorCode.NOT_MEDIA, remedy="send one")
        return make_verdict("real", len(call.image) / 10)

    running = await start(answer)
    response = await running.batch(b"1", b"bad", b"333", b"bad", b"55555", confidence_threshold="0.25")
    body = response.json()
    assert response.status_code == 200
    assert (body["count"], body["failed"]) == (5, 2)
    assert [item["index"] for item in body["results"]] == [0, 1, 2, 3, 4]
    shown = [item.get("verdict", {}).get("fake_probability") for item in body["results"]]
    assert shown == [0.1, None, 0.3, None, 0.5]
    assert {item["error"]["code"] for item in body["results"] if "error" in item} == {"not_media"}
    ids = {call["request_id"] for call in running.asked}
    # The two bad files have the same bytes and may have shared an answer.
    assert ids <= {f"{response.headers['x-request-id']}.{index}" for index in range(5)}


async def test_a_batch_larger_than_the_queue_is_not_shed_by_itself(start: Start) -> None:
    running = await start(delay=0.001, in_flight=1, queue=0)
    body = (await running.batch(*(bytes([index]) for index in range(20)))).json()
    assert (body["count"], body["failed"]) == (20, 0)
    assert running.transport.most_at_once == 1


async def test_a_batch_of_too_many_files_is_refused(start: Start) -> None:
    running = await start()
    error = running.error(await running.batch(*[b"x"] * (MAX_BATCH_FILES + 1)), 413)
    assert error["code"] == "too_large"
    assert running.asked == []


async def test_hostile_names_are_shown_and_never_used(start: Start) -> None:
    running = await start()
    names = ["../../etc/passwd", "a\nb.jpg", "x" * 600, "/dev/stdin"]
    files = [("files", (name, b"photo")) for name in names]
    body = (await running.http.post("/api/batch-predict", files=files)).json()
    assert body["failed"] == 0
    shown = [item["filename"] for item in body["results"]]
    assert shown[0] == "../../etc/passwd"
    assert all(name.isprintable() and len(name) <= 255 for name in shown)
    assert {call.image for call in running.transport.calls} <= {b"photo", b"canary"}
