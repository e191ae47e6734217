"""What the speed of a clip and an hour of video are measured by."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import long_video, video_speed
from deepscan_client import DeepScanClient, FakeTransport, Medium, Progress, Track, TrackBox, make_verdict


def seen(times: list[float]) -> Track:
    boxes = tuple(TrackBox(time, (0.0, 0.0, 9.0, 9.0)) for time in times)
    return Track(
        id=0, start_s=0.0, end_s=1.0, frames=len(times), fake_probability=0.2, score=0.9, quality=1.0, boxes=boxes
    )


VERDICT = make_verdict(
    "real",
    0.2,
    medium=Medium.VIDEO,
    tracks=(seen([0.0, 1.0]), seen([1.0, 3.0, 5.0, 7.0])),
    timing_ms={"decode": 20.0, "total": 30.0},
)


def test_stages_are_medians_and_the_whole_has_limits(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"clip")
    transport = FakeTransport([VERDICT], delay=0.05)
    client = DeepScanClient(transport=transport)
    runs = [video_speed.measure(client, path, name, 3) for name in video_speed.ASKED]
    assert [call.model for call in transport.calls] == ["deepfake_video"] * 8 + ["deepfake_multimodal"] * 4
    assert [call.asked.get("analyzers", False) for call in transport.calls[::4]] == [False, True, True]
    assert runs[0].stages_ms["decode"] == 20.0
    assert runs[0].stages_ms["client"] > 10.0
    assert 0.05 <= runs[0].wall_range_s[0] <= runs[0].wall_s <= runs[0].wall_range_s[1]
    assert runs[0].frames == 2
    slow = [replace(run, wall_s=7.0) for run in runs]
    assert [(check["kind"], check["met"]) for check in video_speed.checks(slow)] == [("must", True), ("aim", False)]


def test_frames_lie_evenly_where_they_do() -> None:
    np.testing.assert_allclose(long_video.places(VERDICT), [1, 3, 5, 7])
    assert long_video.unevenness(np.array([1.0, 3.0, 7.0]), 8.0, 4) == 0.0  # one without a face is missing
    assert long_video.unevenness(np.array([1.0, 3.5]), 8.0, 4) == pytest.approx(0.25)
    assert long_video.unevenness(np.zeros(0), 8.0, 4) == np.inf


def test_memory_progress_and_places_of_a_long_video_are_told(tmp_path: Path) -> None:
    path = tmp_path / "hour.mp4"
    path.write_bytes(b"hour")
    transport = FakeTransport([VERDICT], delay=1.3, progress=(Progress(4.0, 8.0), Progress(8.0, 8.0)))
    held = itertools.chain([400_000_000, 500_000_000], itertools.repeat(700_000_000))
    client = DeepScanClient(transport=transport)
    run = long_video.measure(client.detect_video, "pictures", path, 8.0, lambda: next(held))
    assert (run.frames, run.progress, run.first_s, run.last_s) == (4, 2, 1.0, 7.0)
    assert (run.before_mb, run.received_mb, run.peak_mb, run.growth_mb) == (400.0, 500.0, 700.0, 200.0)
    found = {check["name"]: check["met"] for check in long_video.checks([replace(run, uneven=0.0)])}
    assert found == {"growth_mb": False, "uneven": True}
    sound = replace(run, asked="with sound", bytes=60_000_000, uneven=0.0)
    assert all(check["met"] for check in long_video.checks([sound]))  # its file is in memory for the voice way
