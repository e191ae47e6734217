"""The pieces of the latency run: photos, perf_analyzer's file and report, counters, targets, result file."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import bench, perf, report, server
from benchmarks.inputs import SIDE, make_photos, write_perf_input
from benchmarks.perf import Latency
from benchmarks.raw import Raw, RawBench, median
from cards.repository import ModelRepository
from deepscan_client.errors import InstallationError, ServiceError

CSV = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,p50 latency,p90 latency,"
    "p95 latency,p99 latency\n1,37.5,12,345,67,25500,30100,32000,41000\n"
)
RUN = report.Run(
    latencies=[Latency("grpc", 1, 40.0, 25.0, 30.0, 32.0, 41.0), Latency("http", 1, 39.0, 26.0, 31.0, 33.0, 42.0)],
    raw=Raw({"face_detector": [12.0], "frame_cnn": [8.0]}, [20.0, 20.0], [24.0]),
    models=[server.ModelTime("image_faces", 1.0, 0.1, 0.1, 22.0, 0.1, 22.3)],
    stages={"total": 24.0},
    memory_bytes=1_500_000_000,
    cache_hits=0,
    items=20,
    load_before=0.1,
)


def test_photos_are_different_of_the_promised_size_and_repeatable() -> None:
    photos = make_photos()
    assert len(set(photos)) == 20
    for photo in photos:
        pixels = cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)
        assert max(pixels.shape[:2]) == SIDE
    assert photos == make_photos()
    assert photos[0] != make_photos(1, seed=1)[0]


def test_a_missing_sample_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nobody\.jpg"):
        make_photos(1, sample=tmp_path / "nobody.jpg")


def test_perf_input_holds_each_photo_as_one_bytes_element(tmp_path: Path) -> None:
    write_perf_input([b"abc", b"defgh"], tmp_path / "in.json")
    steps = json.loads((tmp_path / "in.json").read_text())["data"]
    contents = [base64.b64decode(step["IMAGE"]["content"]["b64"]) for step in steps]
    assert contents == [struct.pack("<I", 3) + b"abc", struct.pack("<I", 5) + b"defgh"]
    assert all(step["IMAGE"]["shape"] == [1] for step in steps)


def test_each_photo_costs_one_call_of_each_network() -> None:
    repository = ModelRepository()
    raw = RawBench(repository, make_photos()[:3]).run(1)
    stage = repository.card("image_faces")
    assert stage.tight is not None
    whole = set(stage.calls) - set(stage.tight.instead.values())
    assert {name: len(times) for name, times in raw.networks_ms.items()} == dict.fromkeys(whole, 3)
    assert all(total > 0 for total in raw.sums_ms)
    sums = np.sum(list(raw.networks_ms.values()), axis=0)
    assert np.allclose(raw.sums_ms, sums)
    assert len(raw.joined(raw).sums_ms) == 6


def test_a_photo_without_a_face_is_no_yardstick() -> None:
    _, blank = cv2.imencode(".jpg", np.full((320, 320, 3), 90, np.uint8))
    with pytest.raises(ValueError, match="0 faces"):
        RawBench(ModelRepository(), [blank.tobytes()])


def test_the_report_of_perf_analyzer_is_read_in_milliseconds() -> None:
    assert perf.read_report(CSV, "http") == Latency("http", 1, 37.5, 25.5, 30.1, 32.0, 41.0)
    with pytest.raises(ServiceError, match="empty"):
        perf.read_report(CSV.splitlines()[0], "grpc")


def test_the_middle_of_several_runs_is_the_median() -> None:
    first = perf.read_report(CSV, "grpc")
    runs = [first, replace(first, p50_ms=99.0), replace(first, p50_ms=20.0)]
    assert perf.middle(runs).p50_ms == 25.5
    with pytest.raises(ValueError, match="no run"):
        perf.middle([])


def test_what_perf_analyzer_lacks_is_named_with_the_line_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf.shutil, "which", lambda name: None)
    monkeypatch.setattr(perf.sys, "executable", "/nowhere/python")
    with pytest.raises(InstallationError, match="perf_analyzer") as caught:
        perf.find_binary()
    assert "pip install -e '.[dev]'" in caught.value.remedy
    monkeypatch.setattr(perf.shutil, "which", lambda name: "/bin/true")

    def no_library(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(perf.ctypes, "CDLL", no_library)
    with pytest.raises(InstallationError, match="libb64") as caught:
        perf.find_binary()
    assert caught.value.remedy == "apt-get install -y libb64-0d"
    assert bench.main(["--url", "127.0.0.1:1"]) == 2


def test_times_of_models_are_differences_for_each_public_request() -> None:
    def row(requests: float, ns: float, hits: float = 0.0) -> dict[str, float]:
        parts = dict.fromkeys(("queue", "compute_input", "compute_infer", "compute_output"), ns)
        return {"requests": requests, "success": 4 * ns, "hits": hits, **parts}

    before = {"deepfake_image": row(10, 0), "face_detector": row(10, 1e6)}
    after = {"deepfake_image": row(12, 8e6), "face_detector": row(16, 5e6, hits=1), "frame_cnn": row(0, 0)}
    times, hits = server.spent(before, after)
    assert [time.model for time in times] == ["deepfake_image", "face_detector"]
    assert times[1] == server.ModelTime("face_detector", 3.0, 2.0, 2.0, 2.0, 2.0, 8.0)
    assert hits == 1


def test_musts_and_aims_are_checked_against_the_committed_targets() -> None:
    targets = report.read_targets()
    found = {(check.kind, check.name): check for check in report.checks(RUN, targets)}
    assert found[("must", "p50_ms")].limit == targets.deepfake_image.must["p50_ms"]
    assert found[("must", "ratio_to_raw")].measured == pytest.approx(1.25)
    assert found[("must", "ratio_to_raw")].met
    assert not found[("aim", "p50_ms")].met
    assert not found[("aim", "ratio_to_raw")].met
    assert found[("must", "memory_gb")].met
    heavy = replace(RUN, memory_bytes=5_000_000_000)
    assert not {c.name: c for c in report.checks(heavy, targets)}["memory_gb"].met


def test_the_result_file_says_machine_limits_and_one_sentence_without_a_path() -> None:
    content = report.as_dict(RUN, report.checks(RUN, report.read_targets()), "2026-01-01T00:00:00+00:00")
    text = json.dumps(content)
    assert "takes 25 ms over gRPC" in content["summary"]
    assert "1.25 times" in content["summary"]
    assert content["machine"]["cores"] >= 1
    assert content["latency"][0]["ratio_to_raw"] == 1.25
    assert str(Path(__file__).resolve().parents[2]) not in text


def test_the_command_fails_for_a_missed_must_and_a_flag_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = replace(RUN, latencies=[replace(RUN.latencies[0], p50_ms=400.0)])
    monkeypatch.setattr(bench, "find_binary", lambda: None)
    monkeypatch.setattr(bench, "run_bench", lambda *_: slow)
    out = tmp_path / "deep" / "latency.json"
    assert bench.main(["--url", "127.0.0.1:8001", "--json", str(out)]) == 1
    assert bench.main(["--url", "127.0.0.1:8001", "--report-only"]) == 0
    missed = [c["name"] for c in json.loads(out.read_text())["checks"] if c["kind"] == "must" and not c["met"]]
    assert missed == ["p50_ms", "ratio_to_raw"]
    assert median(slow.raw.sums_ms) == 20.0
