"""Videos whose frames come from the stage ``video_decode``: the frames and times of PyAV, or PyAV itself and a note.

The stage is its Python twin here (``pipelines.video.decode``); ``tests/export/test_dali_video.py`` has DALI's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cards import ModelRepository
from deepscan_client import CancelledError, MediaError, UnavailableError
from pipelines.infer import Arrays, Call
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video import pieces, staged
from pipelines.video.analyze import SECOND_LOOK, VideoAnalyzer, analyze_video
from pipelines.video.decode import decode_frames
from pipelines.video.frame import Frame
from pipelines.video.leaving import checker
from pipelines.video.sampling import NO_GPU, ON_GPU, open_source
from pipelines.video.source import VideoSource
from pipelines.video.staged import STAGE, StagedSource
from pipelines.video.verdict import VideoJudge

Write = Callable[..., Path]
Frames = Callable[..., list[NDArray[np.uint8]]]
SAMPLE = Path(__file__).resolve().parents[3] / "samples" / "video" / "portrait.mp4"
REPOSITORY = ModelRepository()
SAMPLINGS: list[dict[str, Any]] = [{}, {"fps": 5.0}, {"num_frames": 3}, {"window": (0.5, 1.1)}]


class Stage:
    """The stage, and the networks where somebody asks for them. ``fails_at`` is the number of a call, from 0."""

    def __init__(self, fails_at: int | None = None, change: Callable[[Any], Any] = lambda pixels: pixels) -> None:
        self.asked: list[list[int]] = []
        self.bytes: list[int] = []
        self._fails_at, self._change = fails_at, change
        self._networks: OnnxInfer | None = None

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        if calls[0].model != STAGE:
            self._networks = self._networks or OnnxInfer(REPOSITORY)
            return self._networks.run(calls)
        (call,) = calls
        (piece,), (places,) = call.inputs["VIDEO"], call.inputs["FRAMES"]
        self.asked.append(places.tolist())
        if self._fails_at is not None and len(self.asked) > self._fails_at:
            raise UnavailableError("gone")
        pixels = self._change(decode_frames(piece.tobytes(), places))
        self.bytes.append(pixels.nbytes)
        return [{"PIXELS": pixels[None]}]


def same(ours: list[Frame], expected: list[Frame], levels: float = 0.0) -> None:
    assert [frame.index for frame in ours] == [frame.index for frame in expected]
    assert [frame.time for frame in ours] == [frame.time for frame in expected]
    for frame, other in zip(ours, expected):
        assert frame.pixels.shape == other.pixels.shape
        assert np.abs(frame.pixels.astype(int) - other.pixels).mean() <= levels


@pytest.mark.parametrize(
    ("name", "codec", "coding"),
    [
        ("a.mp4", "libx264", {"bf": "3"}),
        ("a.mkv", "libx264", {"bf": "3"}),
        ("short.mp4", "libx264", {"g": "3", "bf": "2"}),
        ("a.mp4", "libx265", {"x265-params": "keyint=12:log-level=none"}),  # its key frames have leading pictures
        ("a.webm", "libvpx-vp9", {}),
        ("a.mkv", "libsvtav1", {}),
    ],
)
def test_frames_and_times_are_those_of_pyav(
    tmp_path: Path, write_video: Write, face_frames: Frames, name: str, codec: str, coding: dict[str, str]
) -> None:
    path = write_video(tmp_path / name, face_frames(40), codec=codec, coding=coding)
    for sampling in SAMPLINGS:
        stage = Stage()
        video = open_source(path, stage=stage)
        same(list(video.frames(**sampling)), list(VideoSource(path).frames(**sampling)))
        assert video.info.decoder == f"dali (nvdec), {video.info.codec}"
        assert video.info.notes == ()
        assert len(stage.asked) >= 2


def test_pieces_end_between_any_two_frames(
    tmp_path: Path, write_video: Write, face_frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(30), keys=12)
    expected = list(VideoSource(path).frames())
    for most in (1, 2, 5, 12):
        monkeypatch.setattr(staged, "ANSWER_BYTES", most * 320 * 240 * 3)
        stage = Stage()
        same(list(StagedSource(path, stage).frames()), expected)
        assert max(stage.bytes) <= most * 320 * 240 * 3
        sizes = [min(most, group - begin) for group in (12, 12, 6) for begin in range(0, group, most)]
        assert [len(places) for places in stage.asked] == [1, *sizes]  # the trial, then by key frames


def test_variable_rate_rotation_and_shrinking(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    times = np.concatenate([np.arange(8) * 0.02, 0.2 + np.arange(4) * 0.3, 1.5 + np.arange(4) * 0.05])
    path = write_video(tmp_path / "a.mp4", face_frames(16), times)
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 44
    matrix = [0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30]  # a quarter clockwise
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
    video, plain = StagedSource(path, Stage()), VideoSource(path)
    assert (video.info.variable, video.info.rotation, video.info.width) == (True, 270, 240)
    for sampling in SAMPLINGS:
        same(list(video.frames(**sampling)), list(plain.frames(**sampling)))
    # PyAV shrinks planes and then makes RGB of them, and here it is the other way round.
    same(list(video.frames(max_side=100)), list(plain.frames(max_side=100)), levels=1.5)
    assert video.info.decoder.startswith("dali")


def test_the_colours_of_high_definition_are_those_of_pyav(
    tmp_path: Path, write_video: Write, face_frames: Frames
) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(5), colours=1)  # BT.709
    video = StagedSource(path, Stage())
    same(list(video.frames()), list(VideoSource(path).frames()), levels=0.6)
    assert video.info.decoder.startswith("dali")


def test_what_nvdec_does_not_take_is_never_sent(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    frames = face_frames(5)
    cases = {
        "vp8": write_video(tmp_path / "a.webm", frames, codec="libvpx"),
        "avi": write_video(tmp_path / "a.avi", frames),
        "mpeg4": write_video(tmp_path / "a.mp4", frames, codec="mpeg4"),
        "odd sides": write_video(tmp_path / "a.mkv", [frame[:, :319] for frame in frames], codec="libvpx-vp9"),
        "yuv420p10le": write_video(tmp_path / "deep.mkv", frames, layout="yuv420p10le"),
        "colours": write_video(tmp_path / "wide.mkv", frames, colours=9),  # BT.2020
    }
    for why, path in cases.items():
        stage = Stage()
        video = StagedSource(path, stage)
        same(list(video.frames()), list(VideoSource(path).frames()))
        assert video.info.decoder.startswith("pyav"), why
        assert why in video.info.notes[-1]
        assert "decoded by PyAV" in video.info.notes[-1]
        assert stage.asked == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_file_that_is_cut_off_is_decoded_by_pyav_from_the_damage_on(
    tmp_path: Path, write_video: Write, face_frames: Frames, name: str
) -> None:
    options = {"movflags": "faststart"} if name == "a.mp4" else {}
    path = write_video(tmp_path / name, face_frames(50), options=options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    video, plain = StagedSource(path, Stage()), VideoSource(path)
    same(list(video.frames()), list(plain.frames()))
    assert video.damaged == plain.damaged
    if name == "a.mp4":
        assert video.info.decoder == plain.info.decoder
        assert video.info.notes[-1] == "the file is cut off: decoded by PyAV"


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        (Stage(fails_at=0), "video_decode failed (unavailable)"),
        (Stage(change=lambda pixels: pixels[:, ::2]), "video_decode gave uint8 [1, 1, 120, 320, 3]"),
        (Stage(change=lambda pixels: pixels.astype(np.float32)), "video_decode gave float32"),
        (Stage(change=lambda pixels: 255 - pixels), "another first frame"),
        (Stage(change=lambda pixels: (16 + pixels * 0.86).astype(np.uint8)), "another first frame"),  # limited range
        (Stage(change=lambda pixels: pixels[..., ::-1].copy()), "another first frame"),
    ],
)
def test_a_stage_that_fails_its_trial_is_not_used(
    tmp_path: Path, write_video: Write, face_frames: Frames, stage: Stage, why: str
) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(30))
    video, plain = StagedSource(path, stage), VideoSource(path)
    same(list(video.frames()), list(plain.frames()))
    assert video.info.decoder == plain.info.decoder
    assert why in video.info.notes[-1]
    assert video.info.notes[-1].endswith(": decoded by PyAV")
    assert stage.asked == [[0]]


def test_a_stage_that_fails_on_the_way_leaves_the_rest_to_pyav(
    tmp_path: Path, write_video: Write, face_frames: Frames
) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(40), keys=10)
    stage = Stage(fails_at=3)  # the trial, and two pieces
    video, plain = StagedSource(path, stage), VideoSource(path)
    same(list(video.frames()), list(plain.frames()))
    assert video.info.decoder == f"dali (nvdec), h264; from 0.80 s {plain.info.decoder}"
    assert video.info.notes == ("video_decode failed (unavailable): decoded by PyAV from 0.80 s on",)
    same(list(video.frames()), list(plain.frames()))
    assert len(stage.asked) == 4


def test_where_no_piece_can_be_cut_pyav_decodes(
    tmp_path: Path, write_video: Write, face_frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = face_frames(40)
    opened = write_video(tmp_path / "open.mkv", frames, coding={"bf": "3", "x264-params": "open-gop=1"})
    video = StagedSource(opened, Stage())
    same(list(video.frames()), list(VideoSource(opened).frames()))
    assert "need others before it: decoded by PyAV from" in video.info.notes[-1]
    path = write_video(tmp_path / "a.mp4", frames, keys=40)
    with av.open(str(path), "r") as container:
        first = next(packet.size for packet in container.demux(video=0))
    monkeypatch.setattr(pieces, "MOST_BYTES", first + 10)
    video = StagedSource(path, Stage())
    same(list(video.frames()), list(VideoSource(path).frames()))
    assert "too far apart: decoded by PyAV from 0.00 s on" in video.info.notes[-1]


def test_a_jump_out_of_the_file_is_a_piece_that_cannot_be_cut() -> None:
    class Broken:
        def seek(self, *_: object, **__: object) -> None:
            raise OSError(22, "Invalid argument")

    container: Any = Broken()
    with pytest.raises(pieces.NotCutError, match="cannot be searched"):
        pieces.cut(container, container, 0, np.array([0]), checker(None))


def test_a_caller_who_leaves_ends_the_work(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(40))
    left = [False]
    stage = Stage()
    frames = StagedSource(path, stage, check=checker(lambda: left[0])).frames()
    next(frames)
    left[0] = True
    with pytest.raises(CancelledError):
        list(frames)
    assert len(stage.asked) == 2


def test_the_verdict_does_not_flip_and_says_who_decoded() -> None:
    judge = VideoJudge(REPOSITORY)
    stage = Stage()
    ours = analyze_video(SAMPLE, VideoAnalyzer(REPOSITORY, stage, profile="tensorrt"), judge)
    assert ours.decode.decoder == "dali (nvdec), h264"
    assert ours.decode.notes[0] == ON_GPU
    assert SECOND_LOOK not in ours.decode.notes
    asked = len(stage.asked)
    expected = analyze_video(SAMPLE, VideoAnalyzer(REPOSITORY, stage), judge)
    assert len(stage.asked) == asked, "the cpu profile asks nobody"
    assert expected.decode.decoder.startswith("pyav")
    assert expected.decode.notes[0] == NO_GPU
    assert ours.label is expected.label
    assert ours.fake_probability == pytest.approx(expected.fake_probability, abs=1e-3)
    assert [track.boxes for track in ours.tracks] == [track.boxes for track in expected.tracks]
    again = analyze_video(SAMPLE, VideoAnalyzer(REPOSITORY, stage, profile="onnx"), judge, Options(analyzers=True))
    assert SECOND_LOOK in again.decode.notes


def test_the_twin_refuses_what_is_no_piece(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    piece = write_video(tmp_path / "a.mp4", face_frames(3)).read_bytes()
    with pytest.raises(MediaError, match="2 of 3"):
        decode_frames(piece, np.array([0, 2, 3], np.int32))
    with pytest.raises(MediaError, match="does not decode"):
        decode_frames(b"no film " * 50, np.array([0], np.int32))
