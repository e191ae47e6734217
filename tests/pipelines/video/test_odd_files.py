"""Videos that are odd: each gets a clear answer, a reason, or an error that says what to do."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cards import ModelRepository
from cards.limits import MAX_JUDGED_FRAMES
from deepscan_client import ErrorCode, Label, LimitError, MediaError, Reason, Verdict
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video import animation, sampling
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.sampling import open_source, open_video
from pipelines.video.verdict import VideoJudge

Pixels = NDArray[np.uint8]
Frames = Callable[..., list[Pixels]]
Write = Callable[..., Path]
REPOSITORY = ModelRepository()
NETWORKS = OnnxInfer(REPOSITORY)
ANALYZER, JUDGE = VideoAnalyzer(REPOSITORY, NETWORKS), VideoJudge(REPOSITORY)


def judged(path: Path, **options: int) -> Verdict:
    return analyze_video(path, ANALYZER, JUDGE, Options.model_validate(options))


def test_one_frame_is_reported_and_not_acted_on(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    verdict = judged(write_video(tmp_path / "a.mp4", face_frames(1)))
    assert (verdict.label, verdict.reasons) == (Label.INCONCLUSIVE, (Reason.FEW_FRAMES,))
    assert verdict.fake_probability is not None
    assert verdict.input.frames == 1


def test_frames_of_one_moment_are_one_frame(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    """Zero duration: every frame says that it is shown at the same time."""
    path = write_video(tmp_path / "a.mkv", face_frames(8), times=[0.0] + [0.0004] * 7)
    verdict = judged(path)
    assert verdict.label is Label.INCONCLUSIVE
    assert Reason.FEW_FRAMES in verdict.reasons


def test_a_long_video_is_sampled_more_thinly_and_says_so(
    tmp_path: Path, write_video: Write, face_frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "MAX_JUDGED_FRAMES", 6)
    verdict = judged(write_video(tmp_path / "a.mp4", face_frames(100)))
    assert Reason.SAMPLED_THINLY in verdict.reasons
    assert verdict.tracks[0].frames == 6
    assert any("6 frames were looked at, 1.5 a second" in note for note in verdict.decode.notes)
    moments = [box.time for box in verdict.tracks[0].boxes]
    assert moments[0] < 0.7
    assert moments[-1] > 3.3  # from the beginning to the end


def test_the_hour_is_within_the_limit_of_frames(tmp_path: Path, write_video: Write) -> None:
    grey = [np.full((32, 32, 3), 99, np.uint8)] * 12
    path = write_video(tmp_path / "a.mp4", grey, times=np.arange(12) * 300.0)
    video = open_video(path, Options())
    assert video.wanted <= MAX_JUDGED_FRAMES
    assert not video.thin  # there are no more
    assert len(list(video.frames())) == 12


def test_a_rate_above_the_file_s_own_is_not_thin(
    tmp_path: Path, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "MAX_JUDGED_FRAMES", 30)
    grey = [np.full((32, 32, 3), 99, np.uint8)] * 25
    path = write_video(tmp_path / "a.mp4", grey, times=np.arange(25) / 25)
    video = open_video(path, Options(fps=240))
    assert not video.thin
    assert len(list(video.frames())) == 25
    monkeypatch.setattr(sampling, "MAX_JUDGED_FRAMES", 20)
    assert open_video(path, Options(fps=240)).thin


def test_240_frames_a_second_are_sampled_by_time(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    path = write_video(tmp_path / "a.mp4", face_frames(240, 160, 120, 0.5), times=np.arange(240) / 240)
    verdict = judged(path)
    assert verdict.input.fps == pytest.approx(240, rel=0.01)
    assert [box.time for box in verdict.tracks[0].boxes] == pytest.approx(np.arange(5) / 5, abs=0.005)


@pytest.mark.slow
def test_8k_is_judged_in_small_chunks(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    large = [cv2.resize(frame, (7680, 4320), interpolation=cv2.INTER_LINEAR) for frame in face_frames(5, 320, 180)]
    path = write_video(tmp_path / "a.mp4", large, times=np.arange(5) / 5, codec="mpeg4")
    verdict = judged(path)
    assert (verdict.input.width, verdict.input.height) == (7680, 4320)
    assert verdict.tracks[0].frames == 5
    x0, y0, x1, y1 = verdict.tracks[0].boxes[2].box
    assert x0 < 3840 < x1
    assert y0 < 2160 < y1


def test_a_slide_show_is_judged_picture_by_picture(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    frame = face_frames(1)[0]
    verdict = judged(write_video(tmp_path / "a.mp4", [frame] * 60))
    assert Reason.STILL_FACE in verdict.reasons
    assert verdict.fake_probability is not None


def test_a_face_that_comes_and_goes_is_one_track(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    frames = face_frames(100)
    for place in range(40, 70):
        frames[place] = np.full_like(frames[place], 120)
    verdict = judged(write_video(tmp_path / "a.mp4", frames))
    assert len(verdict.tracks) == 1
    times = [box.time for box in verdict.tracks[0].boxes]
    assert not [moment for moment in times if 1.6 <= moment < 2.79]
    assert verdict.tracks[0].end_s > 3.5
    assert (1.0, 2.0) in [(start, end) for start, end, _ in verdict.timeline]


def test_a_still_that_is_burnt_in_does_not_count(tmp_path: Path, write_video: Write, face_frames: Frames) -> None:
    frames = face_frames(60, 480, 320)
    still = cv2.resize(frames[0][60:280, 140:360], (150, 150), interpolation=cv2.INTER_AREA)
    for frame in frames:
        frame[:150, :150] = still
    verdict = judged(write_video(tmp_path / "a.mp4", frames))
    assert len(verdict.tracks) == 2
    counted, still_track = verdict.tracks
    assert counted.reasons == ()
    assert still_track.reasons == (Reason.STILL_FACE,)
    assert still_track.boxes[0].box[0] < 150
    assert Reason.STILL_FACE not in verdict.reasons


def test_a_video_turned_by_a_quarter_without_a_word_is_judged(
    tmp_path: Path, write_video: Write, face_frames: Frames
) -> None:
    turned = [np.ascontiguousarray(np.rot90(frame)) for frame in face_frames(30)]
    verdict = judged(write_video(tmp_path / "a.mp4", turned))
    assert len(verdict.tracks) == 1
    x0, y0, x1, y1 = verdict.tracks[0].boxes[0].box
    assert x0 < 120 < x1  # in pixels of the video as it is
    assert y0 < 160 < y1


def test_a_bare_stream_of_pictures_says_what_to_do(tmp_path: Path, face_frames: Frames) -> None:
    path = tmp_path / "a.h264"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for pixels in face_frames(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="no time stamps") as caught:
        open_source(path)
    assert caught.value.code is ErrorCode.UNSUPPORTED
    assert "container" in caught.value.remedy


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_animated_pictures_are_videos(tmp_path: Path, face_frames: Frames, kind: str) -> None:
    pictures = [Image.fromarray(frame) for frame in face_frames(12)]
    path = tmp_path / f"a.{kind}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=120)
    verdict = judged(path)
    assert (verdict.input.format, verdict.input.frames) == (kind, 12)
    assert verdict.input.duration_s == pytest.approx(1.44)
    assert len(verdict.tracks) == 1
    assert verdict.decode.decoder.startswith("pillow")
    assert "Pillow" in verdict.decode.notes[0]


def test_an_animated_avif_is_its_track_and_not_the_still_before_it(tmp_path: Path, face_frames: Frames) -> None:
    pictures = [Image.fromarray(frame) for frame in face_frames(12)]
    pictures[0].save(tmp_path / "a.avif", save_all=True, append_images=pictures[1:], duration=120)
    source = open_source(tmp_path / "a.avif")
    assert source.info.frames == 12
    assert source.info.seconds == pytest.approx(1.44)
    shown = list(source.frames())
    assert len(shown) == 12
    assert np.abs(shown[-1].pixels.astype(int) - face_frames(12)[-1]).mean() < 12


def test_a_still_picture_is_a_video_of_one_frame(tmp_path: Path, face_frames: Frames) -> None:
    Image.fromarray(face_frames(1)[0]).save(tmp_path / "a.webp")
    assert judged(tmp_path / "a.webp").reasons == (Reason.FEW_FRAMES,)


def test_broken_animations_are_named(tmp_path: Path, face_frames: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [Image.fromarray(frame) for frame in face_frames(12)]
    path = tmp_path / "a.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=120)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    source = open_source(path)
    assert 2 <= source.info.frames < 12
    assert source.info.cut_off
    path.write_bytes(whole[:20])
    with pytest.raises(MediaError):
        open_source(path)
    path.write_bytes(whole)
    monkeypatch.setattr(animation, "MAX_ANIMATION_FRAMES", 5)
    with pytest.raises(LimitError, match="5 pictures"):
        open_source(path)
    monkeypatch.setattr(animation, "MAX_ANIMATION_FRAMES", 50)
    monkeypatch.setattr(animation, "MAX_VIDEO_SECONDS", 1)
    with pytest.raises(LimitError, match="1 s are allowed") as caught:
        open_source(path)
    assert caught.value.remedy


def small_pictures(width: int, height: int, count: int) -> bytes:
    """A GIF of 23 bytes for each of its pictures, which are one pixel on a canvas of any size."""
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    picture = b"\x21\xf9\x04\x04\x0a\0\0\0,\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
    return head + picture * count + b";"


def test_single_pixels_on_a_huge_canvas_are_refused_before_they_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(small_pictures(8000, 8000, 400))
    checks: list[int] = []
    with pytest.raises(LimitError, match="400 pictures of 8,000 x 8,000") as caught:
        open_source(path, check=lambda: checks.append(1))
    assert checks == []
    assert caught.value.code is ErrorCode.TOO_MANY_PIXELS
    assert "video" in caught.value.remedy


def test_the_caller_can_leave_between_any_two_pictures(tmp_path: Path) -> None:
    """Also between those that are only drawn because a later one is wanted."""
    path = tmp_path / "a.gif"
    path.write_bytes(small_pictures(64, 64, 40))
    checks: list[int] = []
    source = open_source(path, check=lambda: checks.append(1))
    assert (source.info.frames, len(checks)) == (40, 40)
    assert [frame.index for frame in source.frames(num_frames=2)] == [10, 30]
    assert len(checks) == 40 + 31


def jpeg_film(path: Path, pictures: list[bytes], size: int) -> Path:
    """An AVI of JPEG as they are."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = size, size, "yuvj420p"
        for place, picture in enumerate(pictures):
            packet = av.Packet(picture)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 25), place, place
            packet.is_keyframe = True
            container.mux(packet)
    return path


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("before", [b"", b"\xff\xd8\xff\xd9"])
def test_a_frame_of_very_many_scans_is_refused(tmp_path: Path, place: int, before: bytes) -> None:
    """Also behind an end marker, where FFmpeg goes on."""
    Image.new("RGB", (64, 64)).save(stream := io.BytesIO(), "jpeg", progressive=True)
    good = stream.getvalue()
    scan = good[good.rfind(b"\xff\xda") : -2]
    pictures = [good] * 3
    source = open_source(jpeg_film(tmp_path / "a.avi", pictures, 64))
    assert len(list(source.frames())) == 3
    pictures[place] = before + good[:-2] + scan * 200 + b"\xff\xd9"
    with pytest.raises(LimitError, match="scans; 100 are allowed") as caught:
        list(open_source(jpeg_film(tmp_path / "b.avi", pictures, 64)).frames())
    assert "H.264" in caught.value.remedy
