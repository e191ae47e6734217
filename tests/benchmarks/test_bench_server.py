"""perf_analyzer itself against the real server, for a few requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import perf, server
from benchmarks.inputs import make_photos, write_perf_input
from deepscan_client.errors import InstallationError
from serving.supervisor import Server

pytestmark = pytest.mark.triton


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_perf_analyzer_measures_both_protocols(triton_server: Server, protocol: perf.Protocol, tmp_path: Path) -> None:
    try:
        perf.find_binary()
    except InstallationError as error:
        pytest.skip(f"{error.message}: {error.remedy}")
    http = triton_server.http_url.removeprefix("http://")
    data = tmp_path / "photos.json"
    write_perf_input(make_photos(4), data)
    before = server.counters(http)
    url = triton_server.grpc_url if protocol == "grpc" else http
    latency = perf.measure(url, protocol, 1, data, requests=4, windows=3)
    assert 0 < latency.p50_ms <= latency.p99_ms
    assert latency.requests_per_second > 0
    times, hits = server.spent(before, server.counters(http))
    calls = {time.model: time.calls for time in times}
    assert {"image_probe", "image_decode", "image_faces", "image_verdict", "face_detector", "photo_cnn"} <= set(calls)
    assert calls["photo_cnn"] == pytest.approx(1.0, abs=0.3)
    assert hits == 0


def test_a_server_that_is_not_there_is_an_error_with_the_words_of_perf_analyzer(tmp_path: Path) -> None:
    try:
        perf.find_binary()
    except InstallationError as error:
        pytest.skip(f"{error.message}: {error.remedy}")
    data = tmp_path / "photos.json"
    write_perf_input(make_photos(1), data)
    with pytest.raises(perf.ServiceError, match="perf_analyzer failed"):
        perf.measure("127.0.0.1:9", "grpc", 1, data, requests=1)


def test_memory_of_the_tree_is_found_by_its_port(triton_server: Server) -> None:
    found = server.memory_of_port(triton_server.http_url.removeprefix("http://"))
    assert found is not None
    assert 0.5 < found / triton_server.memory() < 1.5
