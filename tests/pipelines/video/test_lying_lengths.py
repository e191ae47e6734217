"""A file that lies about its length: what is there is what counts, and the verdict is that of the true file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cards import ModelRepository
from deepscan_client import ErrorCode, Label, MediaError, Reason, Verdict
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.sampling import open_source
from pipelines.video.verdict import VideoJudge

Frames = Callable[..., list[NDArray[np.uint8]]]
Write = Callable[..., Path]
COUNT = 50
UNKNOWN = 0xFFFFFFFF
REPOSITORY = ModelRepository()
ANALYZER, JUDGE = VideoAnalyzer(REPOSITORY, OnnxInfer(REPOSITORY)), VideoJudge(REPOSITORY)
DURATIONS = {b"mvhd": 20, b"tkhd": 24, b"mdhd": 20}
"""Where the duration stands behind the name of its box (ISO/IEC 14496-12, version 0)."""


def judged(path: Path) -> Verdict:
    return analyze_video(path, ANALYZER, JUDGE, Options(num_frames=6))


@pytest.fixture(scope="module")
def films(write_video: Write, face_frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One film of two seconds in each container."""
    folder, frames = tmp_path_factory.mktemp("films"), face_frames(COUNT)
    return {
        "mp4": write_video(folder / "a.mp4", frames).read_bytes(),
        "pieces": write_video(folder / "b.mp4", frames, options={"movflags": "frag_keyframe+empty_moov"}).read_bytes(),
        "mkv": write_video(folder / "a.mkv", frames).read_bytes(),
        "avi": write_video(folder / "a.avi", frames, codec="mpeg4").read_bytes(),
        "flv": write_video(folder / "a.flv", frames).read_bytes(),
    }


@pytest.fixture(scope="module")
def true(films: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """The verdicts on those that do not lie, by container."""
    folder = tmp_path_factory.mktemp("true")
    found = {}
    for name in ("mp4", "mkv", "avi"):
        (folder / name).write_bytes(films[name])
        found[name] = judged(folder / name)
    return found


def same_verdict(ours: Verdict, true: Verdict) -> None:
    """Everything but the hash of the bytes."""
    told = replace(ours, input=replace(ours.input, sha256=true.input.sha256))
    assert json.loads(told.canonical_json()) == json.loads(true.canonical_json())


def lying(data: bytes, milliseconds: int, boxes: tuple[bytes, ...] = tuple(DURATIONS)) -> bytes:
    """An MP4 whose header says another length; ``UNKNOWN`` is written as it stands, as live recorders do."""
    changed = bytearray(data)
    for name in boxes:
        place = data.index(name)
        assert data[place + 4] == 0, "version of the box"
        clock = data.index(b"mvhd") if name == b"tkhd" else place
        scale = int.from_bytes(data[clock + 16 : clock + 20], "big")
        said = UNKNOWN if milliseconds == UNKNOWN else milliseconds * scale // 1000
        changed[place + DURATIONS[name] : place + DURATIONS[name] + 4] = said.to_bytes(4, "big")
    return bytes(changed)


def frames_of(path: Path) -> list[tuple[int, float, int]]:
    """Number, time and a sum over the pixels of every frame."""
    return [(f.index, round(f.time, 6), int(f.pixels.astype(np.int64).sum())) for f in open_source(path).frames()]


def check_frames(path: Path, data: bytes, true: bytes) -> None:
    """The same frames at the same times as the true file has."""
    path.write_bytes(true)
    expected = frames_of(path)
    assert len(expected) == COUNT
    path.write_bytes(data)
    assert data != true
    assert frames_of(path) == expected
    info = open_source(path).info
    assert info.frames == COUNT
    assert info.seconds == pytest.approx(2.0)
    assert info.fps == pytest.approx(25)


@pytest.mark.parametrize("milliseconds", [0, 200, 10_000_000, UNKNOWN])
def test_an_mp4_that_says_another_length_has_its_own_frames_and_verdict(
    tmp_path: Path, films: dict[str, bytes], true: dict[str, Verdict], milliseconds: int
) -> None:
    path = tmp_path / "a.mp4"
    check_frames(path, lying(films["mp4"], milliseconds), films["mp4"])
    assert open_source(path).info.notes == ()
    same_verdict(judged(path), true["mp4"])


@pytest.mark.parametrize("box", DURATIONS)
def test_headers_that_contradict_each_other(tmp_path: Path, films: dict[str, bytes], box: bytes) -> None:
    for milliseconds in (0, 10_000_000, UNKNOWN):
        check_frames(tmp_path / "a.mp4", lying(films["mp4"], milliseconds, (box,)), films["mp4"])


@pytest.mark.parametrize("milliseconds", [200, 10_000_000, UNKNOWN])
def test_a_film_in_pieces_that_says_a_length(tmp_path: Path, films: dict[str, bytes], milliseconds: int) -> None:
    """How recorders and browsers write: the header stands before the frames and says 0, which is no lie there."""
    check_frames(tmp_path / "a.mp4", lying(films["pieces"], milliseconds), films["pieces"])
    assert not open_source(tmp_path / "a.mp4").info.cut_off


@pytest.mark.parametrize("milliseconds", [0.0, 200.0, 1e7, float(UNKNOWN), 1e300, float("nan"), -5.0])
def test_a_matroska_that_says_another_length(
    tmp_path: Path, films: dict[str, bytes], true: dict[str, Verdict], milliseconds: float
) -> None:
    data = bytearray(films["mkv"])
    place = data.index(b"\x44\x89\x88") + 3
    data[place : place + 8] = struct.pack(">d", milliseconds)
    check_frames(tmp_path / "a.mkv", bytes(data), films["mkv"])
    if milliseconds in (0.0, 1e7):
        same_verdict(judged(tmp_path / "a.mkv"), true["mkv"])


@pytest.mark.parametrize("seconds", [0.0, 0.2, 1e4, 1e300, float("nan")])
def test_a_flash_video_that_says_another_length(tmp_path: Path, films: dict[str, bytes], seconds: float) -> None:
    data = bytearray(films["flv"])
    place = data.index(b"duration") + 9
    data[place : place + 8] = struct.pack(">d", seconds)
    check_frames(tmp_path / "a.flv", bytes(data), films["flv"])


def counting(data: bytes, frames: int) -> bytes:
    """An AVI whose two headers count so many frames."""
    changed = bytearray(data)
    for name, behind in ((b"avih", 24), (b"strh", 40)):
        place = data.index(name) + behind
        changed[place : place + 4] = struct.pack("<I", frames)
    return bytes(changed)


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_an_avi_that_claims_fewer_frames_than_it_has(
    tmp_path: Path, films: dict[str, bytes], true: dict[str, Verdict], frames: int
) -> None:
    path = tmp_path / "a.avi"
    check_frames(path, counting(films["avi"], frames), films["avi"])
    same_verdict(judged(path), true["avi"])


def test_an_avi_that_claims_more_frames_says_that_it_ends_early(
    tmp_path: Path, films: dict[str, bytes], true: dict[str, Verdict]
) -> None:
    """As one does that was cut: probability, label and tracks are those of what is there."""
    path = tmp_path / "a.avi"
    for frames in (10_000_000, UNKNOWN):
        check_frames(path, counting(films["avi"], frames), films["avi"])
        verdict = judged(path)
        assert verdict.reasons == (*true["avi"].reasons, Reason.CUT_OFF)
        assert any(f"of {frames} frames are there" in note for note in verdict.decode.notes)
        same_verdict(replace(verdict, reasons=true["avi"].reasons, decode=true["avi"].decode), true["avi"])


def edited(data: bytes, milliseconds: int) -> bytes:
    """An MP4 whose only edit lasts so long."""
    changed, place = bytearray(data), data.index(b"elst") + 12
    changed[place : place + 4] = milliseconds.to_bytes(4, "big")
    return bytes(changed)


def test_an_edit_that_is_longer_than_the_film_is_the_film(tmp_path: Path, films: dict[str, bytes]) -> None:
    for milliseconds in (10_000_000, UNKNOWN):
        check_frames(tmp_path / "a.mp4", edited(films["mp4"], milliseconds), films["mp4"])


def test_an_edit_of_no_length_shows_nothing_and_is_named(tmp_path: Path, films: dict[str, bytes]) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(edited(films["mp4"], 0))
    with pytest.raises(MediaError, match="no frames") as caught:
        judged(path)
    assert caught.value.code is ErrorCode.CORRUPT
    assert caught.value.remedy


def tabled(data: bytes, table: bytes, frames: int) -> bytes:
    """An MP4 whose table of times (stts) or of sizes (stsz) counts so many frames."""
    changed, place = bytearray(data), data.index(table) + 12
    assert int.from_bytes(data[place : place + 4], "big") == COUNT
    changed[place : place + 4] = frames.to_bytes(4, "big")
    return bytes(changed)


@pytest.mark.parametrize("frames", [COUNT - 1, COUNT + 1, 10_000_000, UNKNOWN])
def test_a_table_of_times_that_counts_too_many(tmp_path: Path, films: dict[str, bytes], frames: int) -> None:
    check_frames(tmp_path / "a.mp4", tabled(films["mp4"], b"stts", frames), films["mp4"])


@pytest.mark.parametrize(("table", "frames"), [(b"stts", 5), (b"stsz", 5), (b"stsz", COUNT + 1)])
def test_tables_that_leave_frames_out_end_in_a_verdict(
    tmp_path: Path, films: dict[str, bytes], table: bytes, frames: int
) -> None:
    """A frame that no table counts has no time, or no place in the file."""
    path = tmp_path / "a.mp4"
    path.write_bytes(tabled(films["mp4"], table, frames))
    verdict = judged(path)
    assert verdict.label in Label
    assert 5 <= (verdict.input.frames or 0) <= COUNT
    assert verdict.tracks[0].frames <= 6


@pytest.mark.parametrize("frames", [10_000_000, UNKNOWN])
def test_a_table_of_sizes_beyond_the_file_is_named(tmp_path: Path, films: dict[str, bytes], frames: int) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(tabled(films["mp4"], b"stsz", frames))
    with pytest.raises(MediaError) as caught:
        judged(path)
    assert caught.value.code is ErrorCode.CORRUPT
    assert caught.value.remedy
