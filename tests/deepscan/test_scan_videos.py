"""Videos on the command line: verdicts, progress, pictures, annotated videos, pages."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deepscan.cli import Exit
from deepscan.inputs import medium_of
from deepscan_client import (
    ErrorCode,
    Evidence,
    FakeCall,
    InputInfo,
    MediaError,
    Medium,
    OperatingPoint,
    Progress,
    Reason,
    Track,
    TrackBox,
    TrackHeatMap,
    Verdict,
    make_verdict,
)

BOXES = tuple(TrackBox(place / 5, (10.0 + 4 * place, 20.0, 40.0 + 4 * place, 60.0)) for place in range(10))
TRACK = Track(0, 0.0, 1.8, 10, 0.97, 0.9, 0.8, boxes=BOXES, scores={"frame_cnn": 2.5}, face_px=40.0)
STILL = Track(1, 0.0, 1.8, 10, 0.3, 0.9, 0.1, boxes=(), reasons=(Reason.STILL_FACE,))
SEEN = make_verdict(
    "fake",
    0.93,
    medium=Medium.VIDEO,
    input=InputInfo("0" * 64, 10, "mp4", 160, 120, duration_s=2.0, codec="h264", fps=25.0, frames=50),
    tracks=(TRACK, STILL),
    timeline=((0.0, 1.0, 0.1), (1.0, 2.0, 0.99)),
)
JOINED = dataclasses.replace(
    SEEN,
    medium=Medium.MULTIMODAL,
    evidence=(
        Evidence("pictures", 0.1, "probability", note="real by itself"),
        Evidence("frame_cnn", -9.0, weight=1.0),
        Evidence("sound", 0.93, "probability", note="fake by itself, decides"),
        Evidence("voice_raw", 2.0, weight=1.0),
    ),
    suspicious=((0.5, 1.0),),
)

PORTRAIT = Path(__file__).resolve().parents[2] / "samples" / "video" / "portrait.mp4"


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    """All frames of a film, UINT8 [h, w, 3] RGB."""
    import av

    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


@pytest.fixture
def clip(tmp_path: Path, write_video: Callable[..., Path]) -> Path:
    """Two seconds of grey, 160 x 120."""
    (tmp_path / "in").mkdir()
    return write_video(tmp_path / "in" / "<b>clip.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 50)


@pytest.fixture
def speaking(clip: Path) -> Path:
    """The same with a sound track, beside it."""
    import av

    path = clip.parent / "speaking.mp4"
    with av.open(str(clip)) as silent, av.open(str(path), "w") as container:
        pictures = container.add_stream_from_template(silent.streams.video[0])
        sound: Any = container.add_stream("aac", rate=16_000, layout="mono")
        for packet in silent.demux(video=0):
            if packet.dts is not None:
                packet.stream = pictures
                container.mux(packet)
        for place in range(30):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 16_000, place * 1024
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


@pytest.fixture
def line(deepscan_line: Any) -> Any:
    said = {"deepfake_video": SEEN, "deepfake_multimodal": JOINED}

    def judge(call: FakeCall) -> Verdict:
        return said.get(call.model, make_verdict("real", 0.1))

    deepscan_line.answer = judge
    return deepscan_line


def test_a_video_gets_a_verdict_beside_a_photo(line: Any, clip: Path, tmp_path: Path) -> None:
    (clip.parent / "a.jpg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "out.jsonl"
    outcome = line("scan", clip.parent, "--jsonl", out, "--num-frames", 7, "--threshold", 0.4)
    assert outcome.exit_code == Exit.DONE, outcome.output
    verdicts = [json.loads(each) for each in out.read_text().splitlines()]
    assert [each["medium"] for each in verdicts] == ["video", "image"]
    assert Verdict.from_dict(verdicts[0]).tracks == SEEN.tracks
    asked = next(call for call in line.transport.calls if call.model == "deepfake_video")
    assert asked.video == clip.read_bytes()
    assert (asked.asked["num_frames"], asked.asked["confidence_threshold"]) == (7, 0.4)
    row = next(each for each in outcome.stdout.splitlines() if "clip.mp4" in each)
    assert "2 faces, 2.0 s" in row


def test_a_rate_and_the_analyzers_are_asked_for_and_nothing_where_they_are_not(
    line: Any, clip: Path, tmp_path: Path
) -> None:
    for name, data in (("a.jpg", b"\xff\xd8\xff"), ("b.wav", b"RIFF____WAVE")):
        (clip.parent / name).write_bytes(data)
    assert line("scan", clip.parent, "--fps", 2.5, "--analyzers").exit_code == Exit.DONE
    asked = {call.model: call.asked for call in line.transport.calls}
    assert (asked["deepfake_video"]["fps"], asked["deepfake_video"]["analyzers"]) == (2.5, True)
    assert asked["deepfake_audio"]["analyzers"] is True
    line.transport.calls.clear()
    assert line("scan", clip.parent).exit_code == Exit.DONE
    assert [set(call.asked) for call in line.transport.calls] == [{"request_id"}] * 3


def test_with_sound_videos_that_have_a_sound_track_are_judged_with_it(
    line: Any, clip: Path, speaking: Path, tmp_path: Path
) -> None:
    (clip.parent / "bad.mp4").write_bytes(b"\0\0\0\x18ftypisom and frames")
    folders = [tmp_path / name for name in ("pictures", "annotated", "pages")]
    drawn = ("--pictures", folders[0], "--annotate", folders[1], "--html", folders[2])
    outcome = line("scan", clip.parent, "--with-sound", "--fps", 2, "--jsonl", tmp_path / "out", *drawn)
    assert outcome.exit_code == Exit.DONE, outcome.output
    assert line.media == {Medium.VIDEO, Medium.MULTIMODAL}
    asked = {call.video: call for call in line.transport.calls}
    assert asked[speaking.read_bytes()].model == "deepfake_multimodal"
    assert "AUDIO" not in asked[speaking.read_bytes()].inputs  # its own sound track
    assert asked[speaking.read_bytes()].asked["fps"] == 2
    assert asked[clip.read_bytes()].model == "deepfake_video"
    assert asked[b"\0\0\0\x18ftypisom and frames"].model == "deepfake_video"  # which says what is wrong with it
    lines = {Path(each["path"]).name: each for each in map(json.loads, (tmp_path / "out").read_text().splitlines())}
    assert lines["speaking.mp4"]["medium"] == "multimodal"
    row = next(each for each in outcome.stdout.splitlines() if "speaking.mp4" in each)
    assert "2 faces, 2.0 s" in row
    assert "sound at 0.5-1.0 s" in row
    for folder in folders:
        assert len([each for each in folder.iterdir() if "speaking" in each.name]) == 1
    page = next(each for each in folders[2].iterdir() if "speaking" in each.name).read_text()
    assert "Decided by the sound" in page
    line.transport.calls.clear()
    assert line("scan", speaking).exit_code == Exit.DONE
    assert line.transport.calls[-1].model == "deepfake_video"


def test_close_looks_at_a_face_do_not_follow_the_sound(line: Any, speaking: Path, tmp_path: Path) -> None:
    heat = TrackHeatMap(0.2, 1, "gA==", ((60.0, 0.0, 10.0), (0.0, 60.0, 20.0)))
    maps = tuple(dataclasses.replace(heat, time=box.time) for box in BOXES)
    points = {"pictures": OperatingPoint(0.777), "sound": JOINED.operating_point}
    tracks = (dataclasses.replace(TRACK, heatmaps=maps),)
    said = dataclasses.replace(JOINED, tracks=tracks, part_points=points)
    line.answer = lambda call: said
    assert line("scan", speaking, "--with-sound", "--html", tmp_path / "pages").exit_code == Exit.DONE
    (call,) = line.transport.calls
    assert call.asked["heatmaps"] is True
    (page,) = (tmp_path / "pages").iterdir()
    assert page.read_text().count('alt="the face with its heat map"') == 6
    assert "probability around it" not in page.read_text()
    assert "By itself a face is fake from 0.777 on." in page.read_text()


def test_a_page_holds_what_the_analyzers_measured_and_how_well_it_stands(line: Any, clip: Path, tmp_path: Path) -> None:
    pulse = Evidence("pulse", 72.04, "beats a minute", note="of the cheeks", confidence=0.625)
    line.answer = lambda call: dataclasses.replace(SEEN, evidence=(Evidence("frame_cnn", 2.5, weight=0.7), pulse))
    assert line("scan", clip, "--analyzers", "--html", tmp_path / "pages").exit_code == Exit.DONE
    (page,) = (tmp_path / "pages").iterdir()
    rows = page.read_text().partition('<table id="evidence">')[2].partition("</table>")[0].split("<tr>")[1:]
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows]
    assert cells == [
        ["what", "value", "unit", "confidence", "weight", "note"],
        ["frame_cnn", "2.500", "logit", "\N{EN DASH}", "0.700", ""],
        ["pulse", "72.040", "beats a minute", "0.62", "\N{EN DASH}", "of the cheeks"],
    ]


def test_progress_of_each_video_is_a_bar_of_its_own(
    line: Any, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import deepscan.show
    from deepscan.inputs import Found

    monkeypatch.setattr(deepscan.show.sys.stderr, "isatty", lambda: True, raising=False)
    with deepscan.show.Patience("scanning", after=0.0) as progress:
        progress.hear(Found("\x1b[31ma.mp4", Medium.VIDEO), Progress(3.0, 4.0, 0.5))
        progress.hear(Found("b.mp4", Medium.VIDEO), Progress(3.0))
        assert progress._progress is not None
        told = {task.fields["name"]: (task.completed, task.fields["count"]) for task in progress._progress.tasks}
        assert told["\\x1b[31ma.mp4"] == (0.75, "75% 0.50")
        assert told["b.mp4"] == (0.0, "3 s")
        progress.advance("b.mp4")
        assert len(progress._progress.tasks) == 2


def test_what_was_taken_for_a_photo_and_moves_is_judged_as_a_video(line: Any, tmp_path: Path) -> None:
    def judge(call: FakeCall) -> Verdict | Exception:
        if call.model == "deepfake_video":
            return SEEN
        return MediaError("it is animated", code=ErrorCode.ANIMATED, remedy="judge it as a video")

    line.answer = judge
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = line("scan", tmp_path / "a.png", "--json", "--num-frames", 7)
    assert outcome.exit_code == Exit.DONE, outcome.output
    assert json.loads(outcome.stdout)[0]["medium"] == "video"
    assert line.transport.calls[-1].asked["num_frames"] == 7


@pytest.mark.parametrize("form", ["gif", "png"])
def test_a_file_is_read_on_to_where_it_tells_that_it_moves(tmp_path: Path, form: str) -> None:
    profile = np.random.default_rng(0).bytes(9000)
    first, *more = [Image.effect_noise((200, 200), 90 + place) for place in range(3)]
    first.save(tmp_path / "a", form, save_all=True, append_images=more, icc_profile=profile)
    first.save(tmp_path / "b", form, icc_profile=profile)
    assert [medium_of(str(tmp_path / name)) for name in ("a", "b")] == [Medium.VIDEO, Medium.IMAGE]


def test_a_lost_video_and_a_folder_named_like_one_get_error_lines(line: Any, tmp_path: Path) -> None:
    outcome = line("scan", tmp_path / "lost.mp4", "--json")
    assert outcome.exit_code == Exit.SOME_FAILED
    assert json.loads(outcome.stdout)[0]["error"]["code"] == "not_found"
    assert line.transport.calls == []


def test_what_people_look_at(line: Any, clip: Path, tmp_path: Path) -> None:
    import av

    folders = {name: tmp_path / name for name in ("pictures", "annotated", "pages")}
    options = ("--pictures", folders["pictures"], "--annotate", folders["annotated"], "--html", folders["pages"])
    assert line("scan", clip, *options).exit_code == Exit.DONE
    (picture,), (film,), (page,) = (list(folder.iterdir()) for folder in folders.values())
    assert [each.name for each in (picture, film, page)] == [f"00001__b_clip{end}" for end in (".png", ".mp4", ".html")]
    drawn = cv2.imread(str(picture))
    assert drawn is not None
    assert drawn.shape[1] == 1280
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, len(frames)) == ("h264", 50)
        assert float((stream.duration or 0) * (stream.time_base or 0)) == pytest.approx(2.0, abs=0.1)
    assert frames[0].shape == (120, 160, 3)
    red = frames[25][:, :, 0].astype(int) - frames[25][:, :, 1]
    rows, columns = np.nonzero(red[:110] > 60)
    assert 20 <= np.median(columns) <= 90  # the box at 1.0 s
    assert rows.min() < 30
    text = page.read_text()
    assert "data:image/png;base64," in text
    assert "&lt;b&gt;clip.mp4" in text
    assert "<b>clip" not in text
    assert "still_face" in text
    assert "http" not in text.replace("http-equiv", "")


def test_one_odd_file_does_not_end_the_drawing_of_the_others(line: Any, clip: Path, tmp_path: Path) -> None:
    """A picture of one pixel, and a file that nobody expected to fail."""
    import av

    import pipelines.video.overlay

    with av.open(str(clip.parent / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1, 1, "bgr0"
        frame = av.VideoFrame.from_ndarray(np.zeros((1, 1, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    films = tmp_path / "films"
    assert line("scan", clip.parent, "--annotate", films, "--pictures", tmp_path / "p").exit_code == Exit.DONE
    assert [each.name for each in sorted(films.iterdir())] == ["00001__b_clip.mp4", "00002_a.mp4"]
    assert decoded(films / "00002_a.mp4")[0].shape == (2, 2, 3)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("nobody expected this")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines.video.overlay, "write_annotated", fail)
        outcome = line("scan", clip.parent, "--annotate", tmp_path / "none")
    assert outcome.exit_code == Exit.DONE
    assert "2 judged" in outcome.stderr
    assert "ZeroDivisionError: nobody expected this" in outcome.stderr


@pytest.mark.parametrize("name", [b"\xff\xfe<b>.mp4", "𝒜".encode() * 62 + b".mp4", "a\n\u202e\"'&;.mp4".encode()])
def test_a_page_of_a_file_with_any_name(line: Any, clip: Path, tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(clip.parent) + b"/" + name))
    clip.rename(path)
    folders = [tmp_path / "annotated", tmp_path / "pages"]
    outcome = line("scan", path, "--annotate", folders[0], "--html", folders[1], "--jsonl", tmp_path / "out")
    assert outcome.exit_code == Exit.DONE, outcome.output
    assert [len(list(folder.iterdir())) for folder in folders] == [1, 1]
    text = next(folders[1].iterdir()).read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "\u202e" not in text
    assert json.loads((tmp_path / "out").read_text())["path"] == str(path)


def test_a_page_of_a_photo_and_of_a_file_without_a_picture(line: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    assert line("scan", tmp_path / "a.jpg", "--html", tmp_path / "pages").exit_code == Exit.DONE
    (page,) = (tmp_path / "pages").iterdir()
    assert "probability of a fake 0.100" in page.read_text()


@pytest.mark.triton
def test_the_annotated_video_carries_heat_maps_on_the_face_and_nowhere_else(triton_server: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from deepscan.cli import app
    from deepscan_client import DeepScanClient
    from pipelines.image.overlay import heat_layer
    from pipelines.video.overlay import box_at, heat_at

    out, films, pages = tmp_path / "out.jsonl", tmp_path / "annotated", tmp_path / "pages"
    options = ["--annotate", films, "--html", pages, "--jsonl", out, "--triton", triton_server.grpc_url]
    outcome = CliRunner().invoke(app, ["scan", str(PORTRAIT), *map(str, options)])
    assert outcome.exit_code == Exit.DONE, outcome.output
    before, after = decoded(PORTRAIT), decoded(films / "00001_portrait.mp4")
    assert len(before) == len(after) == 50
    (line,) = out.read_text().splitlines()
    assert json.loads(line)["tracks"][0]["heatmaps"] == []  # drawn, and then not kept
    with DeepScanClient(triton_server.grpc_url) as client:
        plain, verdict = client.detect_video(PORTRAIT), client.detect_video(PORTRAIT, heatmaps=True)
    (track,) = verdict.tracks
    assert len(track.heatmaps) == len(track.boxes) == track.frames
    assert plain.tracks[0].heatmaps == ()
    assert verdict.fake_probability == plain.fake_probability

    for place in (3, 24, 41):  # between two looks as well
        heat, box = heat_at(track, place / 25), box_at(track, place / 25)
        assert heat is not None
        assert box is not None
        values = np.array(heat.values, np.float32)
        layer = heat_layer(values, np.array(heat.to_photo), *before[place].shape[:2])
        change = after[place].astype(int) - before[place]
        free = np.ones(change.shape[:2], bool)  # of words, the lines of the box, and the timeline
        x0, y0, x1, y1 = map(round, box)
        free[y0 - 24 : y0 + 4, x0 - 4 : x0 + 110] = False
        free[y0 - 4 : y1 + 5, [*range(x0 - 4, x0 + 5), *range(x1 - 4, x1 + 5)]] = False
        free[y1 - 4 : y1 + 5, x0 - 4 : x1 + 5] = False
        free[-16:] = False
        bluer = change[..., 2] - change[..., 0]
        strong = free & (layer[..., 1] > 0.95)
        told = strong & (np.abs(layer[..., 0]) > 1.5)
        assert told.sum() > 1000
        assert np.mean(np.sign(bluer[told]) == -np.sign(layer[told][:, 0])) > 0.95
        assert np.median(np.abs(bluer[told])) > 30
        elsewhere = np.abs(change[free & (layer[..., 1] == 0)])
        assert np.percentile(elsewhere, 99) < 16  # what a codec does

    (page,) = pages.iterdir()
    text = page.read_text()
    assert text.count('alt="the face with its heat map"') == len(verdict.timeline)
    assert track.heatmaps[0].cells not in text
