"""A file of several picture tracks: one is judged, and that there are more is told."""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest

from cards import ModelRepository
from deepscan_client import Reason
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.source import VideoSource
from pipelines.video.verdict import VideoJudge
from tests.pipelines.test_video_source import grey

PICTURE = (Path(__file__).resolve().parents[3] / "samples" / "astronaut.jpg").read_bytes()
ONE_MORE = "one more picture track is in the file: it was not judged, and another player may show it"


def write_tracks(path: Path, counts: list[int], cover: bool = False) -> Path:
    """A video whose picture tracks have so many frames, and a cover."""
    with av.open(str(path), "w") as container:
        streams = []
        for _ in counts:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            streams.append(stream)
        if cover and path.suffix == ".mkv":
            container.add_attachment("cover.jpg", "image/jpeg", PICTURE)
        elif cover:
            still = container.add_stream("mjpeg", rate=25)
            still.width, still.height, still.pix_fmt = 64, 48, "yuvj420p"
            still.disposition = av.stream.Disposition.attached_pic
            packet = av.Packet(PICTURE)
            packet.stream, packet.pts, packet.dts = still, 0, 0
            container.mux(packet)
        for stream, count in zip(streams, counts):
            for pixels in grey(count):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "avi", "ts"])
def test_a_second_picture_track_is_noted(tmp_path: Path, kind: str) -> None:
    info = VideoSource(write_tracks(tmp_path / f"a.{kind}", [20, 20])).info
    assert (info.frames, info.hidden, info.cut_off, info.notes) == (20, False, False, (ONE_MORE,))
    assert VideoSource(write_tracks(tmp_path / f"b.{kind}", [20])).info.notes == ()


def test_the_track_that_is_marked_is_judged_else_that_of_most_frames(tmp_path: Path) -> None:
    """Of an MP4 FFmpeg enables the first: a player shows it, also where another is longer."""
    notes = ("2 more picture tracks are in the file: they were not judged, and another player may show them",)
    path = write_tracks(tmp_path / "a.mp4", [5, 30, 20])
    info = VideoSource(path).info
    assert (info.frames, info.notes) == (5, notes)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 7
    assert data[place] == 3
    data[place] = 2  # in the film, and not enabled
    path.write_bytes(data)
    info = VideoSource(path).info
    assert (info.frames, info.notes) == (30, notes)


def test_a_cover_is_no_second_track(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        with av.open(str(write_tracks(tmp_path / name, [20], cover=True))) as container:
            assert len(container.streams.video) == 2, name
        info = VideoSource(tmp_path / name).info
        assert (info.frames, info.notes) == (20, ()), name


def test_a_still_is_no_second_track(tmp_path: Path) -> None:
    """As cameras write one beside the film."""
    assert VideoSource(write_tracks(tmp_path / "a.mp4", [20, 1])).info.notes == ()


def test_the_still_of_an_animated_avif_is_no_second_track(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.fromarray(pixels) for pixels in grey(5)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "AVIF", save_all=True, append_images=pictures[1:], duration=40)
    (tmp_path / "a.avif").write_bytes(buffer.getvalue())
    info = VideoSource(tmp_path / "a.avif").info
    assert (info.frames, info.notes) == (5, ())


def test_the_verdict_has_the_note(tmp_path: Path) -> None:
    repository = ModelRepository()
    analyzer, judge = VideoAnalyzer(repository, OnnxInfer(repository)), VideoJudge(repository)
    verdict = analyze_video(write_tracks(tmp_path / "a.mp4", [5, 5]), analyzer, judge, Options(num_frames=2))
    assert ONE_MORE in verdict.decode.notes
    assert Reason.HIDDEN_FRAMES not in verdict.reasons
