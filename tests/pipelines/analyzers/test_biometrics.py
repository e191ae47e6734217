"""Blinks, gaze, head, lips and pulse of a painted portrait, through the shipped networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cards.repository import ModelRepository
from deepscan_client.verdict import Evidence
from pipelines.analyzers.biometrics import MOST_S, Measured, biometrics, read_face, watched
from pipelines.analyzers.face_evidence import face_evidence, visible_gaze
from pipelines.analyzers.face_series import FaceSeries
from pipelines.analyzers.pose import head_poses
from pipelines.infer import Arrays, Call
from pipelines.onnx_infer import OnnxInfer
from tests.pipelines.analyzers.portraits import SIZE, Clip, Picture, make_clip

BLINKS = (1.5, 3.24, 5.0, 6.6)
LOOKS = ((0.0, 0.0), (1.0, 0.13), (2.2, -0.12), (3.1, 0.05), (4.0, -0.15))


class Counting:
    """Runs networks in this process and counts."""

    def __init__(self) -> None:
        self.inner = OnnxInfer(ModelRepository())
        self.asked: list[int] = []

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        self.asked.append(sum(len(call.inputs["IMAGES"]) for call in calls))
        return self.inner.run(calls)


@pytest.fixture(scope="module")
def infer() -> Counting:
    return Counting()


def detections(clip: Clip, every: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """What a detector that looks at every fifth frame gives."""
    chosen = np.unique([*range(0, len(clip.times), every), len(clip.times) - 1])
    return clip.times[chosen], clip.landmarks[chosen]


def rows_of(measured: Measured | tuple[Evidence, ...]) -> dict[str, Evidence]:
    evidence = measured.evidence if isinstance(measured, Measured) else measured
    return {row.name: row for row in evidence}


@pytest.fixture(scope="module")
def talking(infer: Counting) -> tuple[Clip, Measured, list[int]]:
    """Eight seconds at an uneven 25 frames a second: blinks, a pulse of 72 and lips at 3 Hz."""
    times = (np.arange(200) + np.random.default_rng(0).uniform(-0.3, 0.3, 200)) / 25
    clip = make_clip(times - times[0], BLINKS, beats=72, speaks=3.0)
    moments, landmarks = detections(clip)
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=64) + 0.2 * rng.normal(size=(len(moments), 64))
    before = len(infer.asked)
    measured = biometrics(clip.frames, moments, landmarks, SIZE, infer, embeddings.astype(np.float32))
    return clip, measured, infer.asked[before:]


def test_painted_blinks_are_found_within_two_frames(talking: tuple[Clip, Measured, list[int]]) -> None:
    rows = rows_of(talking[1])
    found = [float(each) for each in rows["blink_rate"].note.split("; at ")[1].removesuffix(" s").split(", ")]
    np.testing.assert_allclose(found, BLINKS, atol=2 / 25)
    assert rows["blink_rate"].score == pytest.approx(60 * len(BLINKS) / 8, rel=0.05)
    assert rows["blink_length"].score == pytest.approx(0.22, abs=0.06)


def test_a_painted_pulse_of_72_is_read_within_three(talking: tuple[Clip, Measured, list[int]]) -> None:
    rows = rows_of(talking[1])
    assert rows["pulse"].score == pytest.approx(72, abs=3)
    assert rows["pulse"].confidence is not None
    assert rows["pulse"].confidence > 0.8
    assert rows["pulse_snr"].score > 6


def test_lips_that_move_three_times_a_second(talking: tuple[Clip, Measured, list[int]]) -> None:
    rows = rows_of(talking[1])
    assert rows["mouth_rhythm"].score == pytest.approx(3.0, abs=0.2)
    assert rows["mouth_opening"].score > 0.05


def test_every_row_has_a_unit_a_confidence_and_no_weight(talking: tuple[Clip, Measured, list[int]]) -> None:
    rows = rows_of(talking[1])
    assert {*rows} >= {
        *("blink_rate", "blink_length", "gaze_range", "gaze_shifts", "head_pose_gap", "head_movement"),
        *("mouth_opening", "mouth_rhythm", "pulse", "pulse_snr", "identity_drift"),
    }
    for row in rows.values():
        assert row.weight is None
        assert row.unit not in ("", "logit")
        assert np.isfinite(row.score)
        assert row.confidence is not None
        assert 0 <= row.confidence <= 1
    repository = ModelRepository()
    expected = {name: repository.record(name).weights_sha256 for name in ("face_mesh", "eye_iris")}
    assert dict(talking[1].weights) == expected


def test_the_networks_are_asked_in_batches(talking: tuple[Clip, Measured, list[int]]) -> None:
    clip, _, asked = talking
    assert len(asked) <= -(-len(clip.frames) // 32) + 1
    assert sum(asked) <= 1.6 * len(clip.frames)  # one eye a frame, and a mesh for about every second


@pytest.fixture(scope="module")
def looking(infer: Counting) -> tuple[Clip, FaceSeries]:
    """Five seconds of painted eyes that look around."""
    clip = make_clip(np.arange(125) / 25, blinks=[2.6], looks=LOOKS)
    return clip, read_face(clip.frames, *detections(clip), infer)


def test_painted_eyes_are_followed(looking: tuple[Clip, FaceSeries]) -> None:
    _, series = looking
    gaze = visible_gaze(series)
    truth = np.array([[aside for since, aside in LOOKS if since <= time][-1] for time in series.times])
    for eye in (0, 1):
        own = (series.eyes == eye) & np.isfinite(gaze[:, 0])
        assert np.corrcoef(gaze[own, 0], truth[own])[0, 1] > 0.95
    rows = rows_of(face_evidence(series, SIZE))
    assert rows["gaze_shifts"].note.startswith("4 in")
    assert rows["eyes_together"].score > 0.9
    assert 0.12 < rows["gaze_range"].score < 0.35


def test_a_tilt_of_the_picture_is_a_tilt_of_the_head(looking: tuple[Clip, FaceSeries]) -> None:
    clip, series = looking
    poses = head_poses(series.points, SIZE)
    roll = poses.angles[:, 2]
    truth = np.interp(series.mesh_times, clip.times, clip.angles)
    away = (roll - roll.mean()) - (truth - truth.mean())
    assert np.abs(away).max() < 5
    assert np.ptp(truth) > 6
    assert np.median(poses.gaps) < 8


def test_still_eyes_neither_blink_nor_look_around(infer: Counting) -> None:
    clip = make_clip(np.arange(75) / 25)
    rows = rows_of(biometrics(clip.frames, *detections(clip), SIZE, infer))
    assert rows["blink_rate"].score == 0
    assert "blink_length" not in rows
    assert rows["gaze_shifts"].score == 0
    assert "pulse" not in rows  # three seconds are too short
    assert "identity_drift" not in rows


def test_frames_without_a_face_give_no_reading(infer: Counting) -> None:
    clip = make_clip(np.arange(40) / 25)
    grey = [Picture(frame.time, np.full_like(frame.pixels, 128)) for frame in clip.frames]
    assert biometrics(grey, *detections(clip), SIZE, infer).evidence == ()


def test_a_track_that_is_too_short_or_too_thin_asks_no_network(infer: Counting) -> None:
    clip = make_clip(np.arange(3) / 25)
    before = len(infer.asked)
    assert biometrics(clip.frames, clip.times, clip.landmarks, SIZE, infer) == Measured()
    assert biometrics([], np.zeros(0), np.zeros((0, 5, 2), np.float32), SIZE, infer) == Measured()
    assert len(infer.asked) == before
    assert watched(np.arange(10) * 5.0) is None
    assert watched(np.arange(0, 100, 0.2)) == (0.0, MOST_S)
    assert watched(np.array([0.0, 0.2, 3.0, 3.2, 3.4, 4.2])) == (3.0, 4.2)


def test_of_a_fast_video_every_second_frame_is_enough(infer: Counting) -> None:
    clip = make_clip(np.arange(90) / 60)
    series = read_face(clip.frames, *detections(clip), infer)
    assert 44 <= len(series.times) <= 46
