"""The long recording that is sent, and what is told of the answer."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import long_recording
from benchmarks.long_recording import FORMATS, LongRun, checks, long_file, measure
from deepscan_client import DeepScanClient, FakeTransport, Medium, make_verdict
from deepscan_client.verdict import Progress
from pipelines.audio.source import RATE, decode_audio

TALK = (0.3 * np.sin(np.arange(5 * RATE) / 15)).astype(np.float32)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_file_is_as_long_as_it_was_asked_to_be(kind: str) -> None:
    samples, info = decode_audio(long_file(130.0, kind, TALK))
    assert len(samples) / RATE == pytest.approx(130.0, abs=0.2)
    assert info.format == kind
    assert np.sqrt(np.mean(samples[: 10 * RATE] ** 2)) > 0.05
    assert np.sqrt(np.mean(samples[-10 * RATE :] ** 2)) > 0.05


def test_speed_progress_and_memory_are_told() -> None:
    told = [Progress(30.0, 60.0), Progress(60.0, 60.0)]
    verdict = make_verdict("real", 0.2, medium=Medium.AUDIO)
    fake = FakeTransport([verdict], delay=0.3, progress=told)
    held = itertools.chain([500_000_000, 640_000_000], itertools.repeat(700_000_000))
    run = measure(DeepScanClient(transport=fake), b"sound", "mp3", 60.0, lambda: next(held), pause=0.02)
    assert (run.progress, run.label, run.windows_s, run.before_mb) == (2, "real", 60.0, 500.0)
    assert 0.3 <= run.wall_s < 10
    assert run.times_real_time == pytest.approx(60.0 / run.wall_s)
    assert run.peak_mb == 700.0
    assert 0 <= run.growth_mb <= 60.0


def row(**changes: float) -> LongRun:
    values = {"wall_s": 50.0, "times_real_time": 72.0, "received_mb": 900.0, "peak_mb": 950.0} | changes
    return LongRun(
        format="mp3", bytes=1, seconds=3600.0, progress=120, first_progress_s=1.0, label="real", windows_s=3600.0,
        before_mb=800.0, after_mb=900.0, **values,
    )  # fmt: skip


def test_limits_are_on_speed_and_growth() -> None:
    assert all(check["met"] for check in checks([row()], full=True))
    slow = {(c["kind"], c["name"]): c["met"] for c in checks([row(times_real_time=40.0)], full=True)}
    assert slow == {("must", "growth_mb"): True, ("must", "times_real_time"): True, ("aim", "times_real_time"): False}
    (grown,) = checks([row(peak_mb=1010.0)], full=False)
    assert not grown["met"]


def test_memory_is_watched_until_the_end() -> None:
    count = itertools.count()
    with long_recording.watched(lambda: next(count), pause=0.01) as samples:
        time.sleep(0.1)
    seen = len(samples)
    assert seen >= 2
    time.sleep(0.05)
    assert len(samples) == seen


def test_a_server_that_is_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_recording, "speech_files", list)
    monkeypatch.setattr(long_recording, "read_speech", lambda files, seconds: TALK)
    monkeypatch.setattr(long_recording, "make_recordings", lambda count: [b"x"])
    out = tmp_path / "long.json"
    assert long_recording.main(["--url", "127.0.0.1:9", "--out", str(out), "--seconds", "61"]) == 2
    assert not out.exists()


@pytest.mark.triton
@pytest.mark.slow
def test_some_minutes_through_the_real_server(tmp_path: Path) -> None:
    """Three minutes of speech, faster than real time, with progress and flat memory."""
    try:
        long_recording.speech_files()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    out = tmp_path / "long.json"
    assert long_recording.main(["--seconds", "180", "--formats", "mp3", "--out", str(out)]) == 0
    (run,) = json.loads(out.read_text())["runs"]
    assert run["times_real_time"] > 5
    assert run["progress"] >= 3
    assert run["windows_s"] == pytest.approx(180, abs=1)
