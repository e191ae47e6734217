"""Reading videos: sampled times, rotation, variable frame rate, files that are cut off or hostile."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.video import opening, packets, source
from pipelines.video.source import VideoSource

Write = Callable[..., Path]
LEVELS = 20 + 13 * np.arange(16)


def grey(count: int, width: int = 64, height: int = 48) -> list[NDArray[np.uint8]]:
    """Frame k is grey with level ``LEVELS[k % 16]``."""
    return [np.full((height, width, 3), LEVELS[k % 16], np.uint8) for k in range(count)]


def shown(pixels: NDArray[np.uint8]) -> int:
    return int(np.abs(LEVELS - float(np.median(pixels))).argmin())


def test_every_frame_comes_once_with_its_time_and_number(tmp_path: Path, write_video: Write) -> None:
    video = VideoSource(write_video(tmp_path / "a.mp4", grey(40)))
    frames = list(video.frames())
    assert [frame.index for frame in frames] == list(range(40))
    assert [shown(frame.pixels) for frame in frames] == [k % 16 for k in range(40)]
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(40) / 25, atol=1e-6)
    info = video.info
    assert (info.width, info.height, info.frames, info.sound, info.variable) == (64, 48, 40, False, False)
    assert info.seconds == pytest.approx(1.6)
    assert info.fps == pytest.approx(25)
    assert info.decoder.startswith("pyav ")
    assert info.decoder.endswith("h264")


def test_sampled_frames_are_those_that_a_player_shows_where_the_rate_varies(tmp_path: Path, write_video: Write) -> None:
    times = np.concatenate([np.arange(8) * 0.02, 0.2 + np.arange(4) * 0.3, 1.5 + np.arange(4) * 0.05])
    video = VideoSource(write_video(tmp_path / "a.mp4", grey(16), times))
    assert video.info.variable
    np.testing.assert_allclose(video.times, times, atol=1e-4)
    for frames, moments in (
        (list(video.frames(num_frames=5)), (np.arange(5) + 0.5) * video.info.seconds / 5),
        (list(video.frames(fps=4)), np.arange(0, video.info.seconds, 0.25)),
    ):
        expected = list(dict.fromkeys(int((times <= moment + 1e-4).sum()) - 1 for moment in moments))
        assert [frame.index for frame in frames] == expected
        assert [shown(frame.pixels) for frame in frames] == expected


def test_a_window_is_sampled_inside_it_and_few_frames_are_not_repeated(tmp_path: Path, write_video: Write) -> None:
    video = VideoSource(write_video(tmp_path / "a.mp4", grey(50)))
    assert [frame.index for frame in video.frames(num_frames=4, window=(0.4, 0.8))] == [11, 13, 16, 18]
    assert [frame.index for frame in video.frames(num_frames=40, window=(0.0, 0.2))] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="not both"):
        list(video.frames(num_frames=4, fps=2))
    with pytest.raises(ValueError, match="positive"):
        list(video.frames(num_frames=0))


def test_jumping_to_key_frames_gives_the_same_frames(
    tmp_path: Path, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = VideoSource(write_video(tmp_path / "a.mp4", grey(400), keys=20))
    jumped = [(f.index, shown(f.pixels)) for f in video.frames(num_frames=5)]
    monkeypatch.setattr(source, "_WORTH_A_JUMP", 10**9)
    assert jumped == [(f.index, shown(f.pixels)) for f in video.frames(num_frames=5)]
    assert [index for index, _ in jumped] == [40, 120, 200, 280, 360]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_the_rotation_of_phone_videos_is_applied(tmp_path: Path, write_video: Write, turn: int) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 240  # bright at the upper left
    path = write_video(tmp_path / "a.mp4", [picture] * 5)
    data = bytearray(path.read_bytes())
    place = data.find(b"tkhd") + 44  # after type, version, times, id, duration, layer, volume
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turn]  # clockwise, as QuickTime counts
    matrix = [cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(data)
    frame = next(VideoSource(path).frames())
    turned = np.rot90(picture, -turn // 90)
    assert frame.pixels.shape == turned.shape
    assert np.abs(frame.pixels.astype(int) - turned).mean() < 12
    assert VideoSource(path).info.rotation == (360 - turn) % 360


def test_a_file_cut_in_the_middle_gives_what_is_there_and_says_so(tmp_path: Path, write_video: Write) -> None:
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(50)]
    path = write_video(tmp_path / "a.mp4", frames, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    video = VideoSource(path)
    assert 20 < video.info.frames < 45
    assert "ends early" in video.info.notes[0]
    assert "of 50 frames" in video.info.notes[0]
    sampled = list(video.frames(num_frames=8))
    assert 6 <= len(sampled) <= 8
    assert all(frame.pixels.shape == (96, 96, 3) for frame in sampled)


def test_damage_inside_costs_frames_and_not_the_video(tmp_path: Path, write_video: Write) -> None:
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(60)]
    path = write_video(tmp_path / "a.mkv", frames)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(data)
    got = list(VideoSource(path).frames())
    assert 20 <= len(got) < 60
    assert [frame.index for frame in got] == sorted({frame.index for frame in got})


def test_broken_files_are_named_by_kind(tmp_path: Path, write_video: Write) -> None:
    whole = write_video(tmp_path / "a.mp4", grey(50, 256, 256)).read_bytes()
    cases = {
        "empty.mp4": (b"", ErrorCode.EMPTY),
        "cut.mp4": (whole[: len(whole) // 2], ErrorCode.TRUNCATED),
        "text.mp4": (b"this is no video at all " * 40, ErrorCode.NOT_MEDIA),
        "list.mp4": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", ErrorCode.NOT_MEDIA),
        "ffconcat.mp4": (b"ffconcat version 1.0\nfile a.mp4\n", ErrorCode.NOT_MEDIA),
        "sound.mp4": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(400), ErrorCode.NOT_MEDIA),
        "box.mp4": (whole[:28] + b"\x00\x00\x00\x08free", ErrorCode.CORRUPT),
    }
    for name, (content, code) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MediaError) as caught:
            VideoSource(tmp_path / name)
        assert caught.value.code == code, (name, caught.value)
        assert caught.value.remedy
    with pytest.raises(MediaError):
        VideoSource(tmp_path / "missing.mp4")


def test_limits_hold_before_anything_is_decoded(
    tmp_path: Path, write_video: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", grey(50))
    for module, name, value in (
        (opening, "MAX_VIDEO_BYTES", 100),
        (packets, "MAX_VIDEO_FRAMES", 49),
        (source, "MAX_VIDEO_SECONDS", 1),
        (source, "MAX_IMAGE_PIXELS", 64 * 47),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            with pytest.raises(LimitError):
                VideoSource(path)


def test_a_recording_without_pictures_is_no_video(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="no picture track"):
        VideoSource(tmp_path / "a.mp4")


def test_frames_are_shrunk_to_the_asked_side(tmp_path: Path, write_video: Write) -> None:
    video = VideoSource(write_video(tmp_path / "a.mp4", grey(4, 640, 360)))
    assert next(video.frames(max_side=160)).pixels.shape == (90, 160, 3)
    assert next(video.frames(max_side=4000)).pixels.shape == (360, 640, 3)


def test_memory_does_not_grow_with_the_length(tmp_path: Path, write_video: Write) -> None:
    path = write_video(tmp_path / "a.mp4", grey(300, 320, 240))
    video = VideoSource(path)
    tracemalloc.start()
    for _ in video.frames():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 320 * 240 * 3
