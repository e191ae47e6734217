"""A file whose edit list or tables leave frames out: what is shown is judged, and that there is more is told."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cards import ModelRepository
from deepscan_client import LimitError, Reason
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video import packets
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.source import VideoInfo, VideoSource
from pipelines.video.verdict import VideoJudge
from tests.pipelines.test_video_source import Write, grey

COUNT, TICKS = 50, 512
"""Frames, and units of the track's time from one to the next at 25 a second."""
Edit = tuple[int, int]
"""Milliseconds that are shown, and where they begin in units of the track's time; -1 shows nothing."""


@pytest.fixture(scope="module")
def film(write_video: Write, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two seconds with a key frame every twelve frames; its own edit list sets off the delay of reordered frames."""
    return write_video(tmp_path_factory.mktemp("film") / "a.mp4", grey(COUNT)).read_bytes()


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[bytes], VideoInfo]:
    """What is said of a file."""

    def look(data: bytes) -> VideoInfo:
        path = tmp_path / "a.mp4"
        path.write_bytes(data)
        return VideoSource(path).info

    return look


def delay(data: bytes) -> int:
    """Where the film's own edit begins."""
    place = data.index(b"elst") + 16
    return int.from_bytes(data[place : place + 4], "big")


def edited(data: bytes, edits: list[Edit]) -> bytes:
    """The MP4 with another edit list; its index stands behind the frames, so that nothing else moves."""
    assert data.index(b"mdat") < data.index(b"moov")
    place = data.index(b"edts") - 4
    old = int.from_bytes(data[place : place + 4], "big")
    rows = b"".join(struct.pack(">IiHH", shown, begin, 1, 0) for shown, begin in edits)
    elst = struct.pack(">I4sII", 16 + len(rows), b"elst", 0, len(edits)) + rows
    edts = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
    changed = bytearray(data[:place] + edts + data[place + old :])
    for name in (b"moov", b"trak"):
        at = changed.index(name) - 4
        length = int.from_bytes(changed[at : at + 4], "big") + len(edts) - old
        changed[at : at + 4] = length.to_bytes(4, "big")
    return bytes(changed)


def tabled(data: bytes, table: bytes, frames: int) -> bytes:
    """The MP4 whose table of times (stts) or of sizes (stsz) counts so many frames."""
    changed, place = bytearray(data), data.index(table) + 12
    changed[place : place + 4] = frames.to_bytes(4, "big")
    return bytes(changed)


def forged(film: bytes) -> dict[str, tuple[bytes, int]]:
    """By what was done: the file, and how many of its fifty frames a player shows."""
    start = delay(film)
    return {
        "the end is hidden": (edited(film, [(200, start)]), 5),
        "whole stretches before a key frame are hidden": (edited(film, [(560, start + 36 * TICKS)]), 14),
        "the middle is hidden": (edited(film, [(200, start), (200, start + 45 * TICKS)]), 10),
        "a part is shown again and again instead": (edited(film, [(200, start)] * 10), 50),
        "times for five frames": (tabled(film, b"stts", 5), 8),
        "sizes of five frames": (tabled(film, b"stsz", 5), 5),
    }


def test_frames_that_are_not_shown_are_told(film: bytes, opened: Callable[[bytes], VideoInfo]) -> None:
    for name, (data, shown) in forged(film).items():
        info = opened(data)
        assert info.frames == shown, name
        assert info.hidden, name
        assert not info.cut_off, name
        assert len(info.notes) == 1, name
        assert "another player may show them" in info.notes[0], name


def test_notes_say_how_many_and_why(film: bytes, opened: Callable[[bytes], VideoInfo]) -> None:
    films = forged(film)
    assert "its edit list leaves out 45 of 50 frames" in opened(films["the end is hidden"][0]).notes[0]
    assert "42 of 50 frames have the time of another" in opened(films["times for five frames"][0]).notes[0]
    assert "45 of 50 frames that its tables count" in opened(films["sizes of five frames"][0]).notes[0]


def test_ordinary_edit_lists_are_not_told(film: bytes, opened: Callable[[bytes], VideoInfo]) -> None:
    start = delay(film)
    assert start > 0, "frames are reordered"
    ordinary = {
        "delay of reordered frames": film,
        "pictures begin later than the sound": edited(film, [(500, -1), (2000, start)]),
        "pictures end with the sound": edited(film, [(1900, start)]),
        "longer than the film": edited(film, [(9000, start)]),
        "cut between two key frames": edited(film, [(1800, start + 5 * TICKS)]),
        "one frame too many in a table": tabled(film, b"stts", COUNT + 1),
    }
    for name, data in ordinary.items():
        info = opened(data)
        assert (info.hidden, info.notes, info.cut_off) == (False, (), False), name


def test_films_in_pieces_and_films_that_end_early_hide_nothing(
    tmp_path: Path, write_video: Write, opened: Callable[[bytes], VideoInfo]
) -> None:
    pieces = {"movflags": "frag_keyframe+empty_moov"}
    assert opened(write_video(tmp_path / "b.mp4", grey(COUNT), options=pieces).read_bytes()).notes == ()
    first = write_video(tmp_path / "c.mp4", grey(COUNT), options={"movflags": "faststart"}).read_bytes()
    info = opened(first[: len(first) - (len(first) - first.index(b"mdat")) // 2])
    assert (info.cut_off, info.hidden, len(info.notes)) == (True, False, 1)


def write_at(path: Path, ticks: list[int]) -> VideoInfo:
    """What is said of an MKV whose frames have these times in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.time_base = Fraction(1, 1000)
        for tick in ticks:
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey(1)[0], format="rgb24")):
                packet.pts = packet.dts = tick
                packet.time_base = stream.time_base
                container.mux(packet)
    return VideoSource(path).info


def test_frames_of_one_time_are_told_in_other_containers_too(tmp_path: Path) -> None:
    info = write_at(tmp_path / "a.mkv", [40 * (place // 10) for place in range(COUNT)])
    assert (info.frames, info.hidden) == (5, True)
    assert "45 of 50 frames have the time of another" in info.notes[0]


def test_a_long_recording_of_a_screen_may_stamp_some_frames_twice(tmp_path: Path) -> None:
    """They are noted; of a hundred frames, one may be so."""
    info = write_at(tmp_path / "a.mkv", sorted([*range(0, 60_000, 40), *range(0, 60_000, 4000)]))
    assert (info.frames, info.hidden) == (1500, False)
    assert "15 of 1,515 frames have the time of another" in info.notes[0]
    assert write_at(tmp_path / "b.mkv", sorted([*range(0, 60_000, 40), *range(0, 60_000, 1000)])).hidden


def test_frames_that_the_index_of_an_avi_leaves_out_are_told(tmp_path: Path, write_video: Write) -> None:
    """Where entries of the index name one place twice, FFmpeg goes by it and not from chunk to chunk."""
    data = write_video(tmp_path / "a.avi", grey(COUNT), codec="mpeg4").read_bytes()
    assert VideoSource(tmp_path / "a.avi").info.notes == ()
    place = data.index(b"idx1") + 8
    for claimed in (COUNT, 1):
        header = data.index(b"strh") + 8 + 32
        forged = data[:header] + claimed.to_bytes(4, "little") + data[header + 4 : place] + data[place:][:16] * COUNT
        (tmp_path / "a.avi").write_bytes(forged)
        info = VideoSource(tmp_path / "a.avi").info
        assert (info.frames, info.hidden, info.cut_off) == (1, True, False), claimed
        assert info.notes == (
            "its index leaves out 49 of 50 frames: they were not judged, and another player may show them",
        )


def test_frames_that_are_not_shown_count_towards_the_limit_and_ask_the_caller(
    film: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(edited(film, [(120, delay(film) + 45 * TICKS)]))
    assert VideoSource(path).info.frames == 3
    asked: list[int] = []
    with av.open(str(path)) as container:
        monkeypatch.setattr(packets, "_LISTED", 1)
        there = packets.listed(container, container.streams.video[0], lambda: asked.append(1))
    assert there.packets > there.shown == 3
    assert len(asked) >= there.packets
    monkeypatch.setattr(packets, "MAX_VIDEO_FRAMES", there.packets - 1)
    with pytest.raises(LimitError, match="frames"):
        VideoSource(path)


def test_the_verdict_has_the_reason_and_the_note(
    tmp_path: Path, write_video: Write, face_frames: Callable[..., list[NDArray[np.uint8]]]
) -> None:
    repository = ModelRepository()
    analyzer, judge = VideoAnalyzer(repository, OnnxInfer(repository)), VideoJudge(repository)
    path = write_video(tmp_path / "a.mp4", face_frames(COUNT))
    whole = analyze_video(path, analyzer, judge, Options(num_frames=4))
    assert Reason.HIDDEN_FRAMES not in whole.reasons
    path.write_bytes(edited(path.read_bytes(), [(400, delay(path.read_bytes()))]))
    verdict = analyze_video(path, analyzer, judge, Options(num_frames=4))
    assert Reason.HIDDEN_FRAMES in verdict.reasons
    assert any("leaves out 40 of 50 frames" in note for note in verdict.decode.notes)
    assert verdict.input.frames == 10
