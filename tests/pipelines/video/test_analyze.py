"""A video from its file to its verdict in one process, with the shipped networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cards import ModelRepository
from deepscan_client import CancelledError, Label, Medium, Progress, Reason, RequestError, Verdict
from pipelines.image.analyze import PhotoAnalyzer, analyze_image
from pipelines.image.verdict import PhotoJudge
from pipelines.infer import Arrays, Call
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options, parse_options
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.sampling import NO_GPU
from pipelines.video.verdict import VideoJudge

Frames = Callable[..., list[NDArray[np.uint8]]]
Write = Callable[..., Path]
REPOSITORY = ModelRepository()
NETWORKS = OnnxInfer(REPOSITORY)


class CountingInfer:
    """The real networks, with a note of what was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        self.calls += [(call.model, len(next(iter(call.inputs.values())))) for call in calls]
        return NETWORKS.run(calls)


def judged(path: Path, options: Options | None = None, infer: CountingInfer | None = None) -> Verdict:
    return analyze_video(path, VideoAnalyzer(REPOSITORY, infer or CountingInfer()), VideoJudge(REPOSITORY), options)


def test_one_face_gets_a_probability_a_track_and_a_timeline(
    tmp_path: Path, write_video: Write, face_frames: Frames
) -> None:
    infer = CountingInfer()
    verdict = judged(write_video(tmp_path / "a.mp4", face_frames(75)), infer=infer)
    assert verdict.medium is Medium.VIDEO
    assert verdict.label in (Label.REAL, Label.FAKE)
    assert verdict.fake_probability is not None
    assert len(verdict.tracks) == 1
    track = verdict.tracks[0]
    assert (track.id, track.frames, track.reasons, len(track.boxes)) == (0, 15, (), 15)
    assert 0.5 < track.quality <= 1
    np.testing.assert_allclose([box.time for box in track.boxes], np.arange(15) / 5, atol=1e-6)
    assert all(x0 < 160 < x1 and y0 < 120 < y1 for x0, y0, x1, y1 in (box.box for box in track.boxes))
    assert [(start, end) for start, end, _ in verdict.timeline] == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    assert verdict.input.duration_s == pytest.approx(3.0)
    assert (verdict.input.frames, verdict.input.codec, verdict.input.width) == (75, "h264", 320)
    assert verdict.decode.decoder.startswith("pyav ")
    assert verdict.decode.notes == (NO_GPU, "15 frames were looked at, 5 a second")
    assert Verdict.from_json(verdict.to_json()) == verdict
    assert max(size for model, size in infer.calls if model == "face_detector") == 8  # frames go in shared calls
    assert {"probe", "decode", "detect", "track", "align", "networks", "verdict", "total"} <= set(verdict.timing_ms)


def test_progress_rises_and_tells_what_was_seen_so_far(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(125))
    told: list[Progress] = []
    analyzer = VideoAnalyzer(REPOSITORY, CountingInfer())
    evidence = analyzer.evidence(path, report=told.append)
    shares = [progress.share or 0.0 for progress in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert [len(progress.tracks) for progress in told] == [1, 1]
    assert told[0].tracks[0].frames == 16
    assert told[0].tracks[0].boxes == ()
    verdict = VideoJudge(REPOSITORY).verdict(evidence)
    assert told[-1].fake_probability == verdict.fake_probability
    assert told[-1].timeline == verdict.timeline
    assert Progress.from_json(told[0].to_json()) == told[0]


def test_a_cancelled_video_ends_at_once(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(100))
    analyzer = VideoAnalyzer(REPOSITORY, CountingInfer())
    calls = 0

    def stopped() -> bool:
        nonlocal calls
        calls += 1
        return calls > 20

    start = time.monotonic()
    with pytest.raises(CancelledError):
        analyzer.evidence(path, stopped=stopped)
    assert calls == 21  # asked once more than it said no
    assert time.monotonic() - start < 30


def test_frames_are_sampled_as_asked(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(50))
    assert judged(path, Options(num_frames=6)).tracks[0].frames == 6
    assert judged(path, Options(fps=10)).tracks[0].frames == 20
    one = judged(path, Options(num_frames=1))
    assert (one.tracks[0].frames, one.reasons) == (1, ())
    with pytest.raises(RequestError, match="not both"):
        parse_options('{"num_frames": 4, "fps": 2}')
    with pytest.raises(RequestError, match="num_frames"):
        parse_options('{"num_frames": 0}')


def test_a_video_without_a_face_is_inconclusive(tmp_path: Path, write_video: Write) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (25, 60, 80, 3), dtype=np.uint8)
    verdict = judged(write_video(tmp_path / "a.mp4", list(noise)))
    assert (verdict.label, verdict.fake_probability, verdict.reasons) == (Label.INCONCLUSIVE, None, (Reason.NO_FACE,))
    assert not verdict.tracks
    assert not verdict.timeline


def test_heat_maps_are_drawn_only_where_they_are_asked_for_and_change_nothing_else(
    tmp_path: Path, write_video: Write, face_frames: Frames
) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(50))
    plain, drawing = CountingInfer(), CountingInfer()
    without, verdict = judged(path, infer=plain), judged(path, Options(heatmaps=True), drawing)
    drawer = REPOSITORY.card("deepfake_video").draws
    assert drawer not in {model for model, _ in plain.calls}
    assert sum(count for model, count in drawing.calls if model == drawer) == 10
    assert {model.name for model in verdict.models} == {drawer} | {model.name for model in without.models}
    (track,) = verdict.tracks
    same = replace(verdict, tracks=(replace(track, heatmaps=()),), models=without.models)
    assert same.canonical_json() == without.canonical_json()
    assert [each.time for each in track.heatmaps] == [each.time for each in track.boxes]
    for each, place in zip(track.heatmaps, track.boxes, strict=True):
        assert np.array(each.unpacked().values).shape == (20, 20)
        x, y = np.array(each.to_frame) @ np.array([0.5, 0.5, 1.0])
        x0, y0, x1, y1 = place.box
        assert x0 < x < x1
        assert y0 < y < y1
    assert len(verdict.to_json()) - len(without.to_json()) < 10 * 720


def test_a_map_of_a_video_is_the_map_that_a_photo_of_the_frame_gets(tmp_path: Path, face_frames: Frames) -> None:
    (frame,) = face_frames(1)
    image = Image.fromarray(frame)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.gif", save_all=True, append_images=[image], duration=400, loop=0)
    pixels = np.asarray(Image.open(tmp_path / "a.gif").convert("RGB"))  # what 256 colours leave of it
    Image.fromarray(pixels).save(tmp_path / "a.png")
    photo = analyze_image(
        (tmp_path / "a.png").read_bytes(),
        PhotoAnalyzer(REPOSITORY, NETWORKS),
        PhotoJudge(REPOSITORY),
        Options(heatmaps=True),
    )
    video = judged(tmp_path / "a.gif", Options(heatmaps=True, num_frames=1))
    expected, told = photo.faces[0].heatmap, video.tracks[0].heatmaps[0].unpacked()
    assert expected is not None
    np.testing.assert_allclose(told.to_photo, expected.to_photo, atol=0.06)
    np.testing.assert_allclose(told.values, np.clip(expected.values, -8, 7.9375), atol=0.04)
