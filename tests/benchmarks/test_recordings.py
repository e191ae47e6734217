"""The inputs of the voice benchmark, and that its numbers are told apart from those of photos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench, recordings, report, server
from benchmarks.inputs import write_perf_input
from benchmarks.perf import Latency
from benchmarks.raw import Raw
from benchmarks.recordings import RATE, SECONDS, encode_pcm, make_recordings, read_speech
from benchmarks.subjects import AUDIO, SUBJECTS
from deepscan_client import Medium, make_verdict
from pipelines.audio.source import decode_audio

RUN = report.Run(
    latencies=[Latency("grpc", 1, 40.0, 25.0, 30.0, 32.0, 41.0)],
    raw=Raw({"voice_activity": [4.0], "voice_cepstra": [8.0]}, [12.0, 12.0], [20.0]),
    models=[server.ModelTime("audio_voice", 1.0, 0.1, 0.1, 22.0, 0.1, 22.3)],
    stages={"total": 24.0},
    memory_bytes=None,
    cache_hits=0,
    items=20,
    load_before=0.1,
    subject=AUDIO,
)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two recordings: six seconds that swell and fade, and two of silence."""
    at = np.arange(6 * RATE) / RATE
    talk = 0.3 * np.sin(2 * np.pi * 150 * at) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * at))
    (tmp_path / "a.wav").write_bytes(encode_pcm(talk.astype(np.float32)))
    (tmp_path / "b.wav").write_bytes(encode_pcm(np.zeros(2 * RATE, np.float32)))
    return [tmp_path / "a.wav", tmp_path / "b.wav"]


def test_recordings_are_different_of_the_promised_length_and_repeatable(files: list[Path]) -> None:
    made = make_recordings(files=files)
    assert len(set(made)) == 20
    assert made == make_recordings(files=files)
    assert made[0] != make_recordings(1, seed=1, files=files)[0]
    for data in made:
        samples, info = decode_audio(data)
        assert len(samples) == SECONDS * RATE
        assert (info.sample_rate, info.channels) == (RATE, 1)
        assert np.sqrt(np.mean(samples**2)) > 0.05  # none is mostly silence


def test_speech_is_repeated_until_it_is_long_enough(files: list[Path]) -> None:
    assert len(read_speech(files, 20)) >= 20 * RATE


def test_without_samples_and_data_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPSCAN_DATA", str(tmp_path))
    monkeypatch.setattr(recordings, "SAMPLES", tmp_path / "audio")
    with pytest.raises(FileNotFoundError, match="samples"):
        make_recordings(1)


def test_perf_input_names_the_tensor_of_the_medium(tmp_path: Path) -> None:
    write_perf_input([b"abc"], tmp_path / "in.json", AUDIO.tensor)
    assert list(json.loads((tmp_path / "in.json").read_text())["data"][0]) == ["AUDIO"]


def test_limits_of_recordings_are_their_own() -> None:
    targets = report.read_targets()
    found = {(check.kind, check.name): check for check in report.checks(RUN, targets)}
    assert found[("must", "p50_ms")].limit == targets.deepfake_audio.must["p50_ms"] == 60
    assert found[("aim", "p50_ms")].limit == 25
    assert not found[("aim", "p50_ms")].met
    content = report.as_dict(RUN, list(found.values()), "2026-01-01T00:00:00+00:00")
    assert content["summary"].startswith(
        "A recording of 4 s takes 25 ms over gRPC (median, one client, 20 different rec"
    )
    assert "2.08 times the sum" in content["summary"]
    assert content["recordings"] == 20


def test_a_clip_without_speech_is_no_yardstick() -> None:
    silent = make_verdict("inconclusive", None, medium=Medium.AUDIO, reasons=("no_speech",))
    assert "no_speech" in AUDIO.fits(silent, ["voice_activity"])
    assert not AUDIO.fits(make_verdict("real", 0.1, medium=Medium.AUDIO), ["voice_activity"])


def test_each_medium_is_measured_and_written_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def run(*arguments: object) -> report.Run:
        asked.append(arguments[-1])
        slow = replace(RUN, latencies=[replace(RUN.latencies[0], p50_ms=400.0)])
        return RUN if arguments[-1] is AUDIO else replace(slow, subject=SUBJECTS["image"])

    monkeypatch.setattr(bench, "find_binary", lambda: None)
    monkeypatch.setattr(bench, "run_bench", run)
    out = tmp_path / "latency.json"
    assert bench.main(["--url", "127.0.0.1:8001", "--medium", "audio", "--json", str(out)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["latency_audio.json"]
    assert bench.main(["--url", "127.0.0.1:8001", "--json", str(out)]) == 1
    assert asked == [AUDIO, SUBJECTS["image"], AUDIO]
    assert "photos" in json.loads(out.read_text())
