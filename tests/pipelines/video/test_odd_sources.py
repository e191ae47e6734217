"""Frames that change their size or carry odd colours, and what is said of the end of a file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video import analyze, opening, source
from pipelines.video.analyze import VideoAnalyzer
from pipelines.video.source import VideoSource
from tests.pipelines.test_video_source import Write, grey


def write_changing(path: Path, sizes: list[tuple[int, int]]) -> Path:
    """Motion JPEG whose frames have these sizes, width and height, one after the other."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuvj420p"
        for place, (width, height) in enumerate(sizes):
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
            encoder.time_base = Fraction(1, 25)
            pixels = np.full((height, width, 3), 90, np.uint8)
            pixels[: height // 2] = 200
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, 25)
            for packet in [*encoder.encode(frame), *encoder.encode(None)]:
                packet.stream, packet.time_base = stream, Fraction(1, 25)
                container.mux(packet)
    return path


def write_at_600_hz(path: Path, times: list[float]) -> None:
    """An AVI that counts moments of 1/600 s and shows its last frame for a tenth of a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=600)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for moment, pixels in zip(times, grey(len(times))):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = round(moment * 600), Fraction(1, 600)
            for packet in stream.encode(frame):
                packet.duration = 60
                container.mux(packet)


def test_frames_of_another_size_get_the_size_of_the_first(tmp_path: Path) -> None:
    """Calls over the network change their size while they are recorded."""
    video = VideoSource(write_changing(tmp_path / "a.mkv", [(64, 48)] * 3 + [(320, 240)] * 3 + [(16, 16)] * 2))
    frames = list(video.frames())
    assert [frame.pixels.shape for frame in frames] == [(video.info.height, video.info.width, 3)] * 8
    assert all(frame.pixels[:20].mean() > 190 > 100 > frame.pixels[28:].mean() for frame in frames)
    assert [frame.pixels.shape for frame in video.frames(max_side=32)] == [(24, 32, 3)] * 8


def test_a_frame_that_grows_beyond_the_limit_is_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_IMAGE_PIXELS", 64 * 48)
    video = VideoSource(write_changing(tmp_path / "a.mkv", [(64, 48)] * 3 + [(640, 480)] * 3))
    assert [frame.index for frame in video.frames()] == [0, 1, 2]
    assert video.damaged == 3


def test_frames_that_grow_are_held_in_smaller_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyze, "CHUNK_BYTES", 16 * 2 * 64 * 48)  # sixteen of the first frame
    repository = ModelRepository()
    analyzer = VideoAnalyzer(repository, OnnxInfer(repository))
    path = write_changing(tmp_path / "a.mkv", [(64, 48)] * 3 + [(320, 240)] * 3)
    sampled = [watching.evidence().sampled for watching in analyzer.watch(path, Options(num_frames=6))]
    assert sampled == [4, 5, 6]


def test_the_limit_of_pixels_counts_those_that_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide pixel makes a picture of many."""
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(1)[0], format="rgb24")))
        container.mux(stream.encode(None))
    assert (VideoSource(path).info.width, VideoSource(path).info.height) == (256, 48)
    monkeypatch.setattr(source, "MAX_IMAGE_PIXELS", 64 * 48)
    with pytest.raises(LimitError, match="256 x 48"):
        VideoSource(path)


def test_colours_that_are_not_read_are_named(tmp_path: Path, write_video: Write) -> None:
    path = write_video(tmp_path / "a.mp4", grey(5), colours=8)  # ITU-T H.273: YCgCo
    with pytest.raises(MediaError, match="colour matrix 8") as caught:
        VideoSource(path)
    assert caught.value.code is ErrorCode.UNSUPPORTED
    assert "BT.709" in caught.value.remedy


def test_a_jump_out_of_the_file_is_a_damaged_header(tmp_path: Path, write_video: Write) -> None:
    path = write_video(tmp_path / "a.wmv", grey(20), codec="wmv2")
    whole, said = path.read_bytes(), []
    for place in range(0, 600, 3):  # one of them makes FFmpeg jump to a place before the file
        data = bytearray(whole)
        data[place : place + 8] = b"\xff" * 8
        path.write_bytes(data)
        try:
            VideoSource(path)
        except (MediaError, LimitError) as error:
            said.append(error)
    assert ErrorCode.CORRUPT in {error.code for error in said}
    assert not [error.message for error in said if str(tmp_path) in error.message]


def test_what_a_cut_leaves_out_is_noted_and_not_missing(tmp_path: Path, write_video: Write) -> None:
    """How phones cut the beginning of a video off: its frames from the key frame on stay in the file."""
    video = VideoSource(
        write_video(
            tmp_path / "a.mp4", grey(50), times=np.arange(50) / 25 - 0.8, keys=50, coding={"x264-params": "scenecut=0"}
        )
    )
    assert video.info.frames == 30
    assert not video.info.cut_off
    assert not video.info.hidden
    assert ["leaves out 20 of 50 frames" in note for note in video.info.notes] == [True]


def test_a_frame_that_an_avi_shows_twice_is_not_missing(tmp_path: Path, write_video: Write) -> None:
    """A recorder that missed frames writes empty packets in their place."""
    video = VideoSource(write_video(tmp_path / "a.avi", grey(20), times=np.arange(20) * 0.08, codec="mpeg4"))
    assert video.info.frames == 20
    assert not video.info.cut_off


@pytest.mark.parametrize("times", [[0.0], [0.0, 0.04, 0.25]])
def test_the_last_frame_of_an_avi_may_be_shown_for_long(tmp_path: Path, times: list[float]) -> None:
    """At a declared rate of 600 Hz, a frame of 1/25 s or longer is followed by empty chunks that the header counts."""
    path = tmp_path / "a.avi"
    write_at_600_hz(path, times)
    info = VideoSource(path).info
    assert (info.frames, info.cut_off, info.notes) == (len(times), False, ())


def test_an_avi_that_ends_before_its_empty_chunks_do_is_cut_off(tmp_path: Path) -> None:
    write_at_600_hz(tmp_path / "a.avi", [0.0])
    data = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(data[: data.index(b"idx1") - 16])  # two are gone, and the index behind them
    info = VideoSource(tmp_path / "a.avi").info
    assert (info.frames, info.cut_off, info.notes) == (1, True, ("the file ends early: 58 of 60 frames are there",))


@pytest.mark.parametrize("share", [0.4, 0.8, 1.0])
def test_an_mkv_that_is_cut_says_so(tmp_path: Path, write_video: Write, share: float) -> None:
    noise = np.random.default_rng(0)
    path = write_video(tmp_path / "a.mkv", [noise.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(30)])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    info = VideoSource(path).info
    assert info.cut_off == (share < 1.0)
    assert [f"of {len(data):,} bytes" in note for note in info.notes] == [True] * (share < 1.0)
