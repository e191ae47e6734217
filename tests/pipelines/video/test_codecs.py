"""Every codec that a video may come in: its frames are counted, in time, in order and in their colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.video import source as video_source
from pipelines.video.sampling import Source, open_source

Pixels = NDArray[np.uint8]
Write = Callable[..., Path]
WIDTH, HEIGHT, COUNT = 96, 64, 40
RED, GREEN, BLUE = (200, 40, 40), (40, 170, 60), (50, 60, 200)
LEVELS = 20 + 13 * np.arange(16)
NEAR = 9
"""Grey levels by which a flat colour may be off, after a lossy codec."""


@dataclass(frozen=True)
class Coded:
    """How a film is written: file, encoder, planes, what the encoder is told, and the codec's name in the end."""

    file: str
    encoder: str
    codec: str
    layout: str = "yuv420p"
    coding: dict[str, str] = field(default_factory=dict)


QUIET = {"x265-params": "log-level=none:pools=none:frame-threads=1"}
FILMS = {
    "H.264": Coded("a.mp4", "libx264", "h264", coding={"bf": "3"}),
    "H.264, 4:4:4": Coded("a.mp4", "libx264", "h264", "yuv444p"),
    "H.264, 10 bits": Coded("a.mp4", "libx264", "h264", "yuv420p10le"),
    "HEVC": Coded("a.mp4", "libx265", "hevc", coding=QUIET),
    "HEVC, 10 bits": Coded("a.mkv", "libx265", "hevc", "yuv420p10le", QUIET),
    "VP8": Coded("a.webm", "libvpx", "vp8"),
    "VP9": Coded("a.webm", "libvpx-vp9", "vp9"),
    "AV1": Coded("a.mp4", "libsvtav1", "av1", coding={"svtav1-params": "lp=1"}),
    "AV1, 10 bits": Coded("a.webm", "libsvtav1", "av1", "yuv420p10le", {"svtav1-params": "lp=1"}),
    "MPEG-4": Coded("a.mp4", "mpeg4", "mpeg4", coding={"bf": "2"}),
    "MPEG-4 in AVI": Coded("a.avi", "mpeg4", "mpeg4"),
    "ProRes 422": Coded("a.mov", "prores_ks", "prores", "yuv422p10le", {"profile": "standard"}),
    "ProRes 422 HQ": Coded("a.mov", "prores_ks", "prores", "yuv422p10le", {"profile": "hq"}),
    "ProRes 4444": Coded("a.mov", "prores_ks", "prores", "yuv444p10le", {"profile": "4444"}),
    "ProRes 4444 with alpha": Coded("a.mov", "prores_ks", "prores", "yuva444p10le", {"profile": "4444"}),
}


def painted(count: int = COUNT) -> list[Pixels]:
    """Frame k: red, green and blue above, and below them grey of the level ``LEVELS[k % 16]``."""
    frames = []
    for place in range(count):
        pixels = np.full((HEIGHT, WIDTH, 3), LEVELS[place % 16], np.uint8)
        for part, colour in enumerate((RED, GREEN, BLUE)):
            pixels[: HEIGHT // 2, part * WIDTH // 3 : (part + 1) * WIDTH // 3] = colour
        frames.append(pixels)
    return frames


def check_pictures(source: Source, times: NDArray[np.float64]) -> None:
    """Each frame once, at its time, with its level below and its colours above."""
    frames = list(source.frames())
    assert source.info.frames == len(frames) == len(times)
    assert [frame.index for frame in frames] == list(range(len(times)))
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=0.002)
    for place, frame in enumerate(frames):
        assert frame.pixels.shape == (HEIGHT, WIDTH, 3)
        level = float(np.median(frame.pixels[HEIGHT // 2 + 8 :]))
        assert np.abs(LEVELS - level).argmin() == place % 16, place
        for part, colour in enumerate((RED, GREEN, BLUE)):
            middle = frame.pixels[8 : HEIGHT // 2 - 8, part * WIDTH // 3 + 8 : (part + 1) * WIDTH // 3 - 8]
            assert np.abs(middle.mean(axis=(0, 1)) - colour).max() < NEAR, (place, colour)
    assert source.damaged == 0
    assert not source.info.cut_off


@pytest.mark.parametrize("name", FILMS)
def test_frames_times_and_colours_of_every_codec(tmp_path: Path, write_video: Write, name: str) -> None:
    film = FILMS[name]
    try:
        av.codec.Codec(film.encoder, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"this build of PyAV {av.__version__} does not write {film.encoder}")
    path = tmp_path / film.file
    write_video(path, painted(), codec=film.encoder, layout=film.layout, coding=film.coding)
    source = open_source(path)
    check_pictures(source, np.arange(COUNT) / 25)
    info = source.info
    assert (info.width, info.height, info.codec) == (WIDTH, HEIGHT, film.codec)
    assert info.seconds == pytest.approx(COUNT / 25, abs=0.01)
    assert info.fps == pytest.approx(25, rel=0.01)
    assert not info.variable
    assert info.decoder.startswith("pyav ")


@pytest.mark.parametrize("name", ["H.264", "HEVC", "VP9", "AV1", "MPEG-4", "ProRes 422"])
def test_a_jump_into_the_middle_gives_the_frame_that_was_asked_for(
    tmp_path: Path, write_video: Write, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Also where frames are stored in another order than shown, and where a key frame has leading pictures."""
    film = FILMS[name]
    path = tmp_path / film.file
    write_video(path, painted(160), keys=20, codec=film.encoder, layout=film.layout, coding=film.coding)
    jumped = list(open_source(path).frames(num_frames=4))
    assert [frame.index for frame in jumped] == [20, 60, 100, 140]
    monkeypatch.setattr(video_source, "_WORTH_A_JUMP", 10**9)
    for frame, read in zip(jumped, open_source(path).frames(num_frames=4), strict=True):
        assert frame.time == read.time
        np.testing.assert_array_equal(frame.pixels, read.pixels)


@pytest.mark.parametrize(
    ("kind", "more"), [("gif", {}), ("webp", {"lossless": True}), ("webp", {"quality": 90}), ("png", {})]
)
def test_frames_times_and_colours_of_animations(tmp_path: Path, kind: str, more: dict[str, object]) -> None:
    """Also where each picture is shown for another time. A GIF counts hundredths of a second."""
    shown = [40 + 10 * (place % 3) for place in range(COUNT)]
    pictures = [Image.fromarray(frame) for frame in painted()]
    path = tmp_path / f"a.{kind}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=shown, **more)
    source = open_source(path)
    check_pictures(source, np.concatenate([[0], np.cumsum(shown[:-1])]) / 1000)
    assert (source.info.format, source.info.codec) == (kind, kind)
    assert source.info.seconds == pytest.approx(sum(shown) / 1000)
    assert source.info.variable
    assert source.info.decoder.startswith("pillow ")


@pytest.mark.parametrize(("kind", "more"), [("gif", {"disposal": 2}), ("webp", {"lossless": True}), ("png", {})])
def test_what_is_transparent_lies_on_grey(tmp_path: Path, kind: str, more: dict[str, object]) -> None:
    pictures = []
    for place in range(4):
        pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        pixels[: HEIGHT // 2] = (200, 40, 40 + 20 * place, 255)
        pixels[-1, -1] = 255  # an encoder leaves out what lies around the opaque part
        pictures.append(Image.fromarray(pixels))
    path = tmp_path / f"a.{kind}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80, **more)
    frames = list(open_source(path).frames())
    assert len(frames) == 4
    for place, frame in enumerate(frames):
        assert np.abs(frame.pixels[: HEIGHT // 2].mean(axis=(0, 1)) - (200, 40, 40 + 20 * place)).max() < NEAR
        assert np.abs(frame.pixels[HEIGHT // 2 : -1].astype(int) - 128).max() <= 1
