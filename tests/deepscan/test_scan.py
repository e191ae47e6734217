"""``deepscan scan`` from the outside."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from deepscan.cli import Exit
from deepscan.safe import plain
from deepscan.scan import decided
from deepscan_client import Evidence, FakeCall, InputInfo, Label, Medium, Reason, Verdict, make_verdict
from pipelines.image.probe import probe_image

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def heard(*suspicious: tuple[float, float]) -> Verdict:
    """The verdict on ten seconds of sound."""
    info = InputInfo("0" * 64, 20, "wav", duration_s=10.0)
    row = Evidence("a", 1.0, weight=1.0)
    return make_verdict("fake", 0.9, medium=Medium.AUDIO, input=info, evidence=(row,), suspicious=suspicious)


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="ascii").splitlines()]


def test_a_table_with_a_row_for_each_photo(deepscan_line: Any, tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": b"real 0.1", "b.png": b"fake 0.95", "c.webp": b"noface"})
    outcome = deepscan_line("scan", tmp_path)
    assert outcome.exit_code == Exit.DONE
    rows = outcome.stdout.splitlines()
    assert rows[0].split() == ["file", "label", "probability", "found", "decided", "by", "ms"]
    assert rows[1].split()[1:3] == ["real", "0.100"]
    assert rows[2].split()[1:3] == ["fake", "0.950"]
    assert "no_face" in rows[3]
    assert "3 judged" in outcome.stderr


def test_folders_are_walked_and_what_is_not_media_is_counted(deepscan_line: Any, tmp_path: Path) -> None:
    photos = write(
        tmp_path / "in",
        {"b/x.JPG": b"real 0.1", "a.jpg": b"real 0.2", "notes.txt": b"words", "b/c/.hidden": b"", "z": b"\xff\xd8\xff"},
    )
    out = tmp_path / "out.jsonl"
    outcome = deepscan_line("scan", photos, "--jsonl", out)
    assert outcome.exit_code == Exit.SOME_FAILED  # z begins like a JPEG
    assert [Path(line["path"]).relative_to(photos).as_posix() for line in lines_of(out)] == ["a.jpg", "z", "b/x.JPG"]
    assert "2 judged, 1 could not be judged, 2 other files in the folders skipped" in outcome.stderr


def test_bad_files_get_their_line_and_the_others_are_judged(deepscan_line: Any, tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": b"words", "b.jpg": b"real 0.2", "c.mp4": b"\0\0\0\x18ftypisom", "d.jpg": b""})
    os.mkfifo(tmp_path / "pipe")
    names = ["a.txt", "lost.jpg", "b.jpg", "c.mp4", "d.jpg", "pipe", "../../etc"]
    out = tmp_path / "out.jsonl"
    outcome = deepscan_line("scan", *(tmp_path / name for name in names), "--jsonl", out)
    assert outcome.exit_code == Exit.SOME_FAILED
    lines = lines_of(out)
    assert [line["path"] for line in lines] == [str(tmp_path / name) for name in names]
    assert [line.get("error", {}).get("code") for line in lines] == [
        "corrupt",
        "not_found",
        None,
        "corrupt",
        "corrupt",
        "not_media",
        "not_found",
    ]
    assert all(list(line)[:2] == ["path", "medium"] for line in lines if "error" in line)
    assert all(line["error"]["remedy"] for line in lines if "error" in line)
    assert next(iter(lines[2])) == "path"
    assert Verdict.from_dict(lines[2]).label is Label.REAL


def test_photos_and_recordings_of_one_folder(deepscan_line: Any, tmp_path: Path) -> None:
    files = write(
        tmp_path / "in",
        {
            "a.jpg": b"real 0.1",
            "b.wav": b"RIFF____WAVE fake 0.9",
            "c.mp3": b"",
            "d.mp4": b"\0\0\0\x18ftypisom",
            "e.txt": b"x",
        },
    )
    out = tmp_path / "out.jsonl"
    outcome = deepscan_line("scan", files, "--jsonl", out, "--threshold", "0.8")
    assert outcome.exit_code == Exit.SOME_FAILED
    photo, voice, empty, video = lines_of(out)
    assert (photo["medium"], voice["medium"], empty["medium"], video["medium"]) == ("image", "audio", "audio", "video")
    assert Verdict.from_dict(voice).suspicious == ((1.5, 3.0),)
    assert empty["error"]["code"] == "corrupt"
    assert video["error"]["code"] == "corrupt"  # the fake server reads no such bytes
    assert "1 other files in the folders skipped" in outcome.stderr
    asked = {call.model: call.asked for call in deepscan_line.transport.calls}
    assert asked["deepfake_audio"]["confidence_threshold"] == 0.8
    row = next(line for line in outcome.stdout.splitlines() if "b.wav" in line)
    assert "12.3 s" in row


def test_long_recordings_are_heard_with_progress_and_large_ones_one_at_a_time(
    deepscan_line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import deepscan.scan
    import deepscan.show

    monkeypatch.setattr(deepscan.scan, "_TOLD_BYTES", 10)
    monkeypatch.setattr(deepscan.scan, "_LARGE_BYTES", 10)
    told: list[tuple[str, float]] = []
    monkeypatch.setattr(
        deepscan.show.Patience, "hear", lambda self, found, heard: told.append((found.path, heard.seconds))
    )
    deepscan_line.transport.fake.delay = 0.01
    write(tmp_path, {f"{index}.wav": b"RIFF____WAVE real 0.2" for index in range(3)})
    assert deepscan_line("scan", tmp_path).exit_code == Exit.DONE
    assert {call.model for call in deepscan_line.transport.calls} == {"deepfake_audio_stream"}
    assert told == [(str(tmp_path / f"{index}.wav"), 6.0) for index in range(3)]
    assert deepscan_line.transport.most_at_once == 1
    told.clear()
    assert deepscan_line("scan", tmp_path, "--triton", "http://fake:1").exit_code == Exit.DONE
    assert told == []  # over HTTP there is no progress, and none is asked for


HOSTILE = ["two\nlines.jpg", "\x1b[31mred\x1b[0m.jpg", "[red]markup[/red].jpg", "\u202egpj.exe.jpg", "ünïcode ☃.jpg"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_printed_and_not_obeyed(deepscan_line: Any, tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: b"real 0.1"})
    outcome = deepscan_line("scan", tmp_path / name)
    assert outcome.exit_code == Exit.DONE
    assert not set(outcome.output) & set("\x1b\u202e")
    assert plain(name) in outcome.stdout
    lined = deepscan_line("scan", tmp_path / name, "--jsonl", "-")
    (line,) = lined.stdout.splitlines()
    assert json.loads(line)["path"] == str(tmp_path / name)


def test_a_name_that_is_not_utf8_survives(deepscan_line: Any, tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff\xfe.jpg"
    with open(raw, "wb") as stream:  # noqa: PTH123
        stream.write(b"real 0.1")
    outcome = deepscan_line("scan", tmp_path, "--jsonl", "-")
    assert outcome.exit_code == Exit.DONE
    assert os.fsencode(json.loads(outcome.stdout)["path"]) == raw
    assert "\\udcff" in deepscan_line("scan", tmp_path).stdout


def test_markup_in_an_error_is_shown(deepscan_line: Any, tmp_path: Path) -> None:
    outcome = deepscan_line("scan", tmp_path / "[bold]lost[/bold].jpg")
    assert "[bold]lost[/bold].jpg" in outcome.stdout
    assert outcome.exit_code == Exit.SOME_FAILED


def test_answers_come_in_the_order_of_the_input_and_few_are_in_flight(deepscan_line: Any, tmp_path: Path) -> None:
    write(tmp_path, {f"{i:02d}.jpg": f"real 0.{i:02d}".encode() for i in range(40)})
    deepscan_line.transport.fake.delay = 0.002
    out = tmp_path / "out.jsonl"
    assert deepscan_line("scan", tmp_path, "--jsonl", out, "--in-flight", 3).exit_code == Exit.DONE
    assert [line["fake_probability"] for line in lines_of(out)] == [round(i / 100, 2) for i in range(40)]
    assert 2 <= deepscan_line.transport.most_at_once <= 3


def test_threshold_and_heat_maps_are_asked_for(deepscan_line: Any, tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": b"real 0.1"})
    deepscan_line("scan", tmp_path / "a.jpg", "--threshold", "0.8", "--heatmaps", tmp_path / "heat")
    (call,) = deepscan_line.transport.calls
    assert call.asked["confidence_threshold"] == 0.8
    assert call.asked["heatmaps"] is True
    assert not (tmp_path / "heat").exists()  # there was no face to draw


def test_overlays_keep_to_their_folder(deepscan_line: Any, tmp_path: Path) -> None:
    from deepscan_client import Face, HeatMap

    photo = tmp_path / "..\x1b[31m..jpg"
    photo.write_bytes((SAMPLES / "astronaut.jpg").read_bytes())
    info = probe_image(photo.read_bytes()).info
    heat = HeatMap(((3.0, -3.0), (0.0, 0.0)), ((100.0, 0.0, 150.0), (0.0, 100.0, 50.0)))
    face = Face((150, 50, 250, 150), 0.9, (), 0.9, heatmap=heat)
    deepscan_line.answer = lambda call: make_verdict("fake", 0.9, faces=(face,))
    folder = tmp_path / "heat"
    assert deepscan_line("scan", photo, "--heatmaps", folder).exit_code == Exit.DONE
    (file,) = folder.iterdir()
    assert file.name.startswith("00001_")
    assert plain(file.name) == file.name
    drawn = probe_image(file.read_bytes()).info
    assert (drawn.width, drawn.height) == (info.width, info.height)


def test_a_recording_is_drawn_as_a_spectrogram(deepscan_line: Any, tmp_path: Path) -> None:
    import wave

    import numpy as np

    file = tmp_path / "voice.wav"
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(np.random.default_rng(1).integers(-9000, 9000, 32_000, dtype=np.int16).tobytes())
    deepscan_line.answer = lambda call: make_verdict(
        "fake", 0.9, medium=Medium.AUDIO, input=InputInfo("0" * 64, 20, "wav", duration_s=2.0)
    )
    folder = tmp_path / "pictures"
    assert deepscan_line("scan", file, "--pictures", folder).exit_code == Exit.DONE
    (picture,) = folder.iterdir()
    assert picture.name == "00001_voice.png"
    assert probe_image(picture.read_bytes()).info.width > 1000


def test_one_json_document(deepscan_line: Any, tmp_path: Path) -> None:
    write(tmp_path, {"a.jpg": b"real 0.1", "b.jpg": b"x"})
    outcome = deepscan_line("scan", tmp_path, "--json")
    assert [set(item) & {"label", "error"} for item in json.loads(outcome.stdout)] == [{"label"}, {"error"}]


def test_a_defect_of_one_answer_does_not_end_the_scan(deepscan_line: Any, tmp_path: Path) -> None:
    def odd(call: FakeCall) -> Verdict | Exception:
        return ZeroDivisionError("oops") if call.image == b"odd" else make_verdict()

    deepscan_line.answer = odd
    write(tmp_path, {"a.jpg": b"odd", "b.jpg": b"x"})
    outcome = deepscan_line("scan", tmp_path, "--jsonl", "-")
    assert [json.loads(line).get("error", {}).get("code") for line in outcome.stdout.splitlines()] == ["internal", None]


@pytest.mark.parametrize(
    "arguments",
    [[], ["a.jpg", "--threshold", "1.5"], ["a.jpg", "--in-flight", "0"], ["a.jpg", "--jsonl", "/no/such/x"]],
)
def test_wrong_usage(deepscan_line: Any, arguments: list[str]) -> None:
    assert deepscan_line("scan", *arguments).exit_code == Exit.USAGE


def test_a_named_server_that_is_away_is_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from deepscan.cli import app

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = f"127.0.0.1:{probe.getsockname()[1]}"
    outcome = CliRunner().invoke(app, ["scan", str(tmp_path), "--triton", away])
    assert outcome.exit_code == Exit.NO_SERVICE
    assert away in outcome.stderr
    assert "remedy:" in outcome.stderr
    monkeypatch.setenv("DEEPSCAN_TRITON", away)
    assert CliRunner().invoke(app, ["scan", str(tmp_path)]).exit_code == Exit.NO_SERVICE
    assert CliRunner().invoke(app, ["scan", str(tmp_path), "--triton", "ftp://x"]).exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (make_verdict("inconclusive", 0.5, reasons=(Reason.CUSTOM_THRESHOLD, Reason.NEAR_THRESHOLD)), "near_threshold"),
        (make_verdict(evidence=(Evidence("a", 1.0, weight=0.5), Evidence("b", -2.0, weight=0.5))), "b"),
        (make_verdict(evidence=(Evidence("a", 9.0),), reasons=(Reason.UNCALIBRATED,)), "uncalibrated"),
        (make_verdict(evidence=(Evidence("a", 1.0, weight=1.0),), reasons=(Reason.FACES_CUT,)), "a (faces_cut)"),
        (heard((1.0, 2.5)), "a at 1.0-2.5 s"),
        (heard((0.0, 9.5)), "a"),
        (heard((0.0, 0.5), (1.0, 1.5), (2.0, 2.5), (3.0, 3.5)), "a at 0.0-0.5 s, 1.0-1.5 s, 2.0-2.5 s, …"),
    ],
)
def test_what_decided(verdict: Verdict, words: str) -> None:
    assert decided(verdict) == words


@pytest.mark.triton
def test_the_samples_through_the_real_server(triton_server: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from deepscan.cli import app

    text = tmp_path / "a.txt"
    text.write_text("words")
    out, heat = tmp_path / "out.jsonl", tmp_path / "heat"
    arguments = ["scan", str(SAMPLES / "astronaut.jpg"), str(SAMPLES / "coffee.webp"), str(text)]
    outcome = CliRunner().invoke(
        app, [*arguments, "--jsonl", str(out), "--heatmaps", str(heat), "--triton", triton_server.grpc_url]
    )
    assert outcome.exit_code == Exit.SOME_FAILED, outcome.output
    face, none, bad = lines_of(out)
    assert len(face["faces"]) == 1
    assert face["faces"][0]["heatmap"]["values"]
    assert none["reasons"] == ["no_face"]
    assert bad["error"]["code"] == "not_media"
    assert [file.name for file in heat.iterdir()] == ["00001_astronaut.jpg"]
    again = CliRunner().invoke(app, [*arguments[:3], "--jsonl", "-", "--triton", triton_server.http_url])
    said = [Verdict.from_dict(json.loads(line)) for line in again.stdout.splitlines()]
    assert said[0].fake_probability == pytest.approx(face["fake_probability"], abs=1e-6)
