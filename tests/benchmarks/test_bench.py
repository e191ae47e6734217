"""The benchmark measures with the real tool, on different photos, and fails where a must is not met."""

from __future__ import annotations

import base64
import copy
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import perf
from benchmarks.bench import MODEL, TARGETS, judge, summary
from benchmarks.photos import make_photos, perf_analyzer_input
from benchmarks.raw import RawNetworks
from cards import ModelRepository

RESULT: dict[str, Any] = {
    "targets": yaml.safe_load(TARGETS.read_text())[MODEL],
    "loads": [{"protocol": "grpc", "clients": 1, "p50_ms": 18.0, "per_second": 50.0}],
    "raw_ms": {"sum": 15.0},
    "memory_mb": 900,
    "photos": {"count": 20, "width": 640, "height": 480},
    "machine": {"cores": 2, "processor": "test"},
}


def test_twenty_different_photos_that_are_the_same_in_every_run() -> None:
    photos = make_photos(20, 640, 480)
    assert len(set(photos)) == 20
    assert photos == make_photos(20, 640, 480)


def test_each_photo_has_one_face_and_the_raw_networks_run_on_it() -> None:
    photos = make_photos(4, 640, 480)
    raw = RawNetworks(ModelRepository(), photos)
    assert all(len(inputs["frame_cnn"]) == 1 for inputs in raw._inputs)
    times = raw.measure(1)
    assert set(times) == {"face_detector", "frame_cnn", "sum"}


def test_the_input_of_perf_analyzer_holds_the_photos() -> None:
    photos = make_photos(2, 160, 120)
    for photo, row in zip(photos, json.loads(perf_analyzer_input(photos))["data"], strict=True):
        raw = base64.b64decode(row["IMAGE"]["content"]["b64"])
        assert struct.unpack("<I", raw[:4]) == (len(photo),)
        assert raw[4:] == photo


def test_a_must_that_is_not_met_is_said() -> None:
    assert all(line["met"] for line in judge(RESULT))
    slow = copy.deepcopy(RESULT)
    slow["loads"][0]["p50_ms"] = 41.0
    missed = [(line["kind"], line["figure"]) for line in judge(slow) if not line["met"]]
    assert ("must", "p50_ms") in missed
    assert ("must", "ratio") in missed
    assert "41.0 ms" in summary(slow)


@pytest.mark.triton
@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_real_perf_analyzer_measures_the_public_model(triton_server: Any, protocol: str) -> None:
    url = triton_server.grpc_url if protocol == "grpc" else triton_server.http_url.removeprefix("http://")
    load = perf.run(MODEL, url, protocol, 1, perf_analyzer_input(make_photos(4, 640, 480)), 1.0)
    assert load.per_second > 0
    assert 0 < load.p50_ms <= load.p99_ms


def test_results_in_the_repository_name_their_machine() -> None:
    for path in Path(TARGETS).with_name("results").glob("latency*.json"):
        assert json.loads(path.read_text())["machine"]["processor"]
