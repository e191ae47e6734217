"""The validation report finds what was planted, and a broken file never ends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from training.data.layout import read_data
from training.data.manifest import Row
from training.data.validate import main, validate
from training.data.validate_report import Problem, Report
from training.data.validate_show import show

Write = Callable[..., Path]


def picture(seed: int, side: int = 128) -> NDArray[np.uint8]:
    """A pattern that no other seed comes near."""
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def put(root: Path, name: str, pixels: NDArray[np.uint8], quality: int = 92) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for k in range(4):
        put(tmp_path, f"real/train/r{k}.jpg", picture(k))
        put(tmp_path, f"fake/train/f{k}.jpg", picture(100 + k))
    put(tmp_path, "real/val/v0.jpg", picture(50))
    put(tmp_path, "fake/val/v1.jpg", picture(51))
    return tmp_path


def check(data: Path) -> Report:
    return validate(read_data(data), data)


def found(report: Report, kind: str) -> list[Problem]:
    return [problem for problem in report.problems if problem.kind == kind]


def test_clean_data_has_nothing_to_fix(data: Path) -> None:
    report = check(data)
    assert report.items == report.readable == 10
    assert report.must_fix == ()
    assert {(b.split, b.real, b.fake) for b in report.balance} == {("train", 4, 4), ("val", 1, 1)}
    source = report.sources[0]
    assert source.side == (128, 128, 128)
    assert source.formats == {"JPEG": 5}
    assert [problem.detail for problem in found(report, "licence")] == [
        "image source fake: 5 items without a licence",
        "image source real: 5 items without a licence",
    ]


def test_broken_empty_and_foreign_files_are_named_and_the_rest_is_read(data: Path) -> None:
    whole = (data / "real/train/r0.jpg").read_bytes()
    (data / "real/train/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (data / "real/train/empty.png").write_bytes(b"")
    (data / "fake/train/text.jpg").write_bytes(b"no picture")
    (data / "fake/train/noise.webp").write_bytes(np.random.default_rng(0).bytes(500))
    rows = [*read_data(data), Row("real/train/gone.jpg", 0, "real", (), "", "no")]
    report = validate(rows, data)
    assert {(p.kind, p.paths[0]) for p in report.must_fix} == {
        ("broken", "real/train/cut.jpg"),
        ("empty", "real/train/empty.png"),
        ("broken", "fake/train/text.jpg"),
        ("broken", "fake/train/noise.webp"),
        ("missing", "real/train/gone.jpg"),
    }
    assert report.readable == 10
    assert all(problem.remedy for problem in report.problems)


def test_a_recompressed_copy_across_the_split_is_a_leak(data: Path) -> None:
    smaller = cv2.resize(picture(2), (96, 96), interpolation=cv2.INTER_AREA)
    put(data, "real/val/other_name.jpg", np.asarray(smaller, np.uint8), 60)
    report = check(data)
    assert [(p.kind, set(p.paths)) for p in report.must_fix] == [
        ("leak", {"real/train/r2.jpg", "real/val/other_name.jpg"})
    ]


def test_the_same_bytes_in_both_classes_contradict_each_other(data: Path) -> None:
    put(data, "fake/train/copy.jpg", picture(3))
    (problem,) = check(data).must_fix
    assert problem.kind == "contradiction"
    assert set(problem.paths) == {"real/train/r3.jpg", "fake/train/copy.jpg"}


def test_a_fake_that_looks_like_its_original_is_worth_a_look_only(data: Path) -> None:
    changed = picture(1) // 2 + 20
    put(data, "real/train/r1.jpg", changed)
    changed[60:76, 60:76] += 25  # no saturation: the pattern stays
    put(data, "fake/train/swapped.jpg", changed)
    report = check(data)
    assert report.must_fix == ()
    assert [(p.severity, set(p.paths)) for p in found(report, "near_duplicate")] == [
        ("look", {"real/train/r1.jpg", "fake/train/swapped.jpg"})
    ]


def test_an_identity_in_train_and_val_is_a_leak_though_the_pictures_differ(data: Path) -> None:
    rows = [
        Row("real/train/r0.jpg", 0, "a", ("p:7",), "x", "no", "image", "train"),
        Row("real/val/v0.jpg", 0, "a", ("p:7",), "x", "no", "image", "val"),
        Row("fake/train/f0.jpg", 1, "a", ("p:8",), "x", "no", "image", "train"),
        Row("fake/val/v1.jpg", 1, "a", (), "x", "no", "image", "val"),
    ]
    (problem,) = validate(rows, data).must_fix
    assert problem.kind == "leak"
    assert "p:7" in problem.detail
    assert problem.paths == ("real/train/r0.jpg", "real/val/v0.jpg")


def test_flat_pictures_are_no_copies_of_each_other(data: Path) -> None:
    for k in range(3):
        put(data, f"real/train/flat{k}.jpg", np.full((64, 64, 3), 40 + 60 * k, np.uint8))
    assert found(check(data), "near_duplicate") == []


def test_balance_and_formats_that_give_the_class_away_are_told(data: Path, tmp_path: Path) -> None:
    for k in range(20):
        path = data / f"fake/train/png{k}.png"
        cv2.imwrite(str(path), picture(200 + k))
    report = check(data)
    assert "6.0 to 1" in found(report, "balance")[0].detail
    assert {problem.detail.split(" is ")[0] for problem in found(report, "format")} == {"image: JPEG", "image: PNG"}
    rows = [row for row in read_data(data) if row.label]
    assert {problem.severity for problem in found(validate(rows, data), "balance")} == {"fix"}


def test_clips_and_recordings_are_read_too(tmp_path: Path, write_video: Write) -> None:
    import av

    for word in ("real", "fake"):
        (tmp_path / f"{word}_videos/train").mkdir(parents=True)
        (tmp_path / f"{word}_audio/train").mkdir(parents=True)
        frames = [picture(k + 7 * len(word)) for k in range(10)]
        write_video(tmp_path / f"{word}_videos/train/{word}.mp4", frames if word == "real" else frames[::-1])
        with av.open(str(tmp_path / f"{word}_audio/train/a.wav"), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=16000)
            tone = (np.sin(np.arange(8000) * (0.1 if word == "real" else 0.2)) * 9000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    (tmp_path / "fake_videos/train/cut.mp4").write_bytes((tmp_path / "real_videos/train/real.mp4").read_bytes()[:900])
    (tmp_path / "fake_audio/train/text.flac").write_bytes(b"no sound")
    report = check(tmp_path)
    assert {(p.kind, p.paths[0]) for p in report.must_fix} == {
        ("broken", "fake_videos/train/cut.mp4"),
        ("broken", "fake_audio/train/text.flac"),
    }
    facts = {(each.medium, each.label): each for each in report.sources}
    assert facts["video", "real"].seconds == (0.4, 0.4, 0.4)
    assert facts["audio", "real"].seconds == (0.5, 0.5, 0.5)
    assert facts["audio", "real"].formats == {"pcm_s16le 16000 Hz": 1}


def test_the_command_prints_json_and_its_exit_code_says_whether_something_must_be_fixed(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(data), "--json"]) == 0
    assert Report.model_validate(json.loads(capsys.readouterr().out)).items == 10
    (data / "real/train/\x1b[31mred.jpg").write_bytes(b"")
    assert main([str(data)]) == 1
    told = capsys.readouterr().out
    assert "10 of 11 files can be read, 1 cannot; 1 findings must be fixed" in told
    assert "\x1b[31mred" not in told
    assert main([str(data / "nothing")]) == 2
    assert "remedy" in capsys.readouterr().err


def test_a_long_list_is_shortened_for_a_person(data: Path) -> None:
    for k in range(30):
        (data / f"real/train/e{k:02d}.jpg").write_bytes(b"")
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    show(check(data), console)
    text = console.export_text()
    assert "and 18 more" in text
    assert text.count("has no bytes") == 12
