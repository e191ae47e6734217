"""``deepscan evaluate``: layouts, manifests, measures, report."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cards import ModelRepository
from deepscan.cli import Exit
from deepscan.evaluate import Report, make_report, summary_lines
from deepscan.inputs import Found
from deepscan.labelled import Item, read_items
from deepscan.scan import Result
from deepscan_client import FakeCall, Medium, RequestError, Track, Verdict, make_verdict
from deepscan_client.verdict import Evidence

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
TRACK = Track(0, 0.0, 1.0, 5, 0.5, 0.9, 0.8)


def photos(folder: Path, spread: dict[str, list[float]]) -> Path:
    """``group/label`` to probabilities; the fake server reads them from the files."""
    for place, values in spread.items():
        for number, value in enumerate(values):
            file = folder / place / f"{number:02d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{'fake' if value >= 0.5 else 'real'} {value}")
    return folder


def test_groups_lie_around_real_and_fake(tmp_path: Path) -> None:
    photos(tmp_path, {"x/real": [0.1], "x/fake": [0.9], "y/z/real/deep/er": [0.2], "y/z/Fake": [0.8], "other": [0.5]})
    (tmp_path / "x" / "real" / "notes.txt").write_text("no photo")
    items = read_items(tmp_path)
    assert [(item.group, item.fake) for item in items] == [
        ("x", True),
        ("x", False),
        ("y/z", True),
        ("y/z", False),
    ]


def test_the_founding_layout_is_one_group(tmp_path: Path) -> None:
    root = photos(tmp_path / "data", {"real": [0.1, 0.2], "fake": [0.9]})
    assert {item.group for item in read_items(root)} == {"data"}


def test_recordings_are_found_by_their_bytes_and_mixed_groups_are_two(tmp_path: Path) -> None:
    photos(tmp_path, {"page/fake/engine/one": [0.9], "mixed/real": [0.1], "mixed/fake": [0.8]})
    wav, flac = b"RIFF\x24\x00\x00\x00WAVEfmt ", b"fLaC" + bytes(40)
    for place, head in {
        "page/real/a.flac": flac,
        "page/real/deep/er/b.data": wav,
        "mixed/real/c.jpg": wav,  # a recording under the name of a photo
        "mixed/fake/d.ogg": b"OggS" + bytes(40),
    }.items():
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(head)
    (tmp_path / "page" / "fake" / "engine" / "one" / "00.jpg").rename(tmp_path / "page" / "fake" / "engine" / "x.wav")
    found = {(Path(item.found.path).name, item.group, item.fake, item.found.medium) for item in read_items(tmp_path)}
    assert found == {
        ("x.wav", "page", True, Medium.AUDIO),
        ("a.flac", "page", False, Medium.AUDIO),
        ("b.data", "page", False, Medium.AUDIO),
        ("00.jpg", "mixed (image)", False, Medium.IMAGE),
        ("00.jpg", "mixed (image)", True, Medium.IMAGE),
        ("c.jpg", "mixed (audio)", False, Medium.AUDIO),
        ("d.ogg", "mixed (audio)", True, Medium.AUDIO),
    }


def heard(probability: float, label: str, seconds: float) -> Verdict:
    evidence = (Evidence("speech", seconds, "s"),)
    return make_verdict(label, probability, medium=Medium.AUDIO, evidence=evidence)


def test_each_medium_is_pooled_by_itself() -> None:
    said = [
        ("a", False, heard(0.1, "real", 4.0)),
        ("a", True, heard(0.9, "fake", 4.0)),
        ("b", False, heard(0.6, "inconclusive", 3.0)),
        ("b", True, heard(0.5, "inconclusive", 1.0)),
        ("c", False, make_verdict("real", 0.2)),
        ("c", True, make_verdict("fake", 0.7)),
    ]
    items = [Item(Found(str(n), verdict.medium), fake, group) for n, (group, fake, verdict) in enumerate(said)]
    results = [Result(item.found, verdict) for item, (_, _, verdict) in zip(items, said, strict=True)]
    report = make_report(items, results, "data")
    photos_row, voices = report.pooled if report.pooled[0].medium is Medium.IMAGE else report.pooled[::-1]
    assert (voices.medium, voices.gradable, voices.gradable_conclusive) == (Medium.AUDIO, 3, 2)
    (pooled,) = voices.quality.groups
    assert (pooled.group, pooled.real, pooled.fake, pooled.auc.value) == ("all recordings", 2, 2, 0.75)
    assert photos_row.quality.groups[0].auc.value == 1.0
    assert (photos_row.gradable, photos_row.quality.items) == (0, 2)  # a photo without a face is not gradable
    assert [group.group for group in report.quality.groups] == ["a", "b", "c"]
    assert any("all recordings: calibration error" in line for line in summary_lines(report))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_manifest_names_photos(tmp_path: Path, form: str) -> None:
    photos(tmp_path, {"a": [0.1], "b": [0.9]})
    rows = [
        {"path": "a/00.jpg", "label": "real", "group": "g"},
        {"path": "b/00.jpg", "label": "1", "group": ""},
    ]
    manifest = tmp_path / f"list.{form}"
    with manifest.open("w", newline="") as stream:
        if form == "csv":
            writer = csv.DictWriter(stream, ["path", "label", "group"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    for items in (read_items(tmp_path, manifest), read_items(manifest)):
        assert [(item.fake, item.group) for item in items] == [(False, "g"), (True, tmp_path.name)]
        assert all(Path(item.found.path).is_file() for item in items)


@pytest.mark.parametrize("text", ["path,label\nx.jpg,maybe\n", "label\nreal\n", ""])
def test_a_wrong_manifest_is_named(tmp_path: Path, text: str) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(text)
    with pytest.raises(RequestError) as caught:
        read_items(tmp_path, manifest)
    assert caught.value.remedy


def test_the_report_says_what_was_measured(deepscan_line: Any, tmp_path: Path) -> None:
    data = photos(
        tmp_path / "data",
        {"easy/real": [0.1, 0.2, 0.3], "easy/fake": [0.7, 0.8, 0.9], "hard/real": [0.2, 0.8], "hard/fake": [0.4, 0.9]},
    )
    (data / "hard" / "fake" / "z.jpg").write_text("noface")
    (data / "hard" / "real" / "z.jpg").write_text("no picture at all")
    out, plot = tmp_path / "report.json", tmp_path / "plot.png"
    outcome = deepscan_line("evaluate", data, "--json", out, "--plot", plot)
    assert outcome.exit_code == Exit.SOME_FAILED
    report = Report.model_validate_json(out.read_text())
    easy, hard = report.quality.groups
    assert (easy.group, easy.auc.value, easy.eer.value, easy.tpr_at_fpr_1.value) == ("easy", 1.0, 0.0, 1.0)
    assert hard.auc.value == pytest.approx(0.75)
    assert hard.auc_unscored_half == pytest.approx((4 * 0.75 + 1) / 6)
    assert (hard.real, hard.fake, hard.unscored, hard.inconclusive) == (2, 3, 1, 1)
    assert hard.false_positive_rate == 0.5
    assert report.quality.mean_auc == pytest.approx(0.875)
    assert report.quality.false_positive_rate.value == pytest.approx(1 / 5)
    assert (report.failed, report.data) == (1, "data")
    assert str(tmp_path) not in out.read_text()
    assert plot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "mean AUC of the groups 0.875" in outcome.stdout
    assert "z.jpg: corrupt" in outcome.stderr


def test_one_class_alone_has_no_auc(deepscan_line: Any, tmp_path: Path) -> None:
    data = photos(tmp_path / "data", {"g$/real": [0.1, 0.6]})
    out = tmp_path / "report.json"
    outcome = deepscan_line("evaluate", data, "--json", out, "--plot", tmp_path / "plot.png")
    assert outcome.exit_code == Exit.DONE
    (group,) = Report.model_validate_json(out.read_text()).quality.groups
    assert group.auc.value is None
    assert group.false_positive_rate == 0.5
    json.loads(out.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_an_empty_folder_is_wrong_usage(deepscan_line: Any, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "lost"):
        outcome = deepscan_line("evaluate", path)
        assert outcome.exit_code == Exit.USAGE
        assert "real" in outcome.stderr


@pytest.mark.triton
def test_the_samples_through_the_real_server(triton_server: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from deepscan.cli import app

    out = tmp_path / "report.json"
    outcome = CliRunner().invoke(
        app, ["evaluate", str(SAMPLES / "evaluation"), "--json", str(out), "--triton", triton_server.grpc_url]
    )
    assert outcome.exit_code == Exit.DONE, outcome.output
    report = Report.model_validate_json(out.read_text())
    assert report.quality.items == len(list((SAMPLES / "evaluation").rglob("*.jpg")))
    stage = ModelRepository().card("image_faces")
    assert stage.tight is not None
    whole = set(stage.calls) - set(stage.tight.instead.values())
    assert {model["name"] for model in report.models} == {*whole, "image_verdict"}


def test_a_folder_of_videos_is_a_group_of_its_own(
    deepscan_line: Any, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    frames = [np.full((32, 32, 3), level, np.uint8) for level in (10, 90, 200)]
    said: dict[bytes, float] = {}
    for place, value in {"swap/real/a": 0.1, "swap/real/b": 0.7, "swap/fake/c": 0.9, "swap/fake/d": 0.2}.items():
        (tmp_path / "in" / place).parent.mkdir(parents=True, exist_ok=True)
        path = write_video(tmp_path / "in" / f"{place}.mp4", frames, keys=1 + len(said))
        path.write_bytes(path.read_bytes() + place.encode())  # no two alike
        said[path.read_bytes()] = value

    def judge(call: FakeCall) -> Verdict:
        value = said[call.video]
        return make_verdict("fake" if value > 0.5 else "real", value, medium=Medium.VIDEO, tracks=(TRACK,))

    deepscan_line.answer = judge
    out = tmp_path / "report.json"
    outcome = deepscan_line("evaluate", tmp_path / "in", "--json", out)
    assert outcome.exit_code == Exit.DONE, outcome.output
    report = Report.model_validate_json(out.read_text())
    (group,) = report.quality.groups
    assert (group.group, group.real, group.fake, group.auc.value) == ("swap", 2, 2, 0.75)
    (pooled,) = report.pooled
    assert (pooled.medium, pooled.gradable, pooled.gradable_conclusive) == (Medium.VIDEO, 4, 4)
    assert {call.model for call in deepscan_line.transport.calls} == {"deepfake_video"}


@pytest.mark.triton
def test_videos_through_the_real_server_and_one_that_is_broken(triton_server: Any, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from deepscan.cli import app

    whole = (SAMPLES / "video" / "portrait.mp4").read_bytes()
    for place, data in {"clips/real/a.mp4": whole, "clips/fake/cut.mp4": whole[: len(whole) // 2]}.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(data)
    out = tmp_path / "report.json"
    arguments = ["evaluate", str(tmp_path / "clips"), "--json", str(out), "--triton", triton_server.grpc_url]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == Exit.SOME_FAILED, outcome.output
    report = Report.model_validate_json(out.read_text())
    assert (report.quality.items, report.failed) == (1, 1)
    assert "cut.mp4: truncated" in outcome.output
    assert "deepfake_video" in {model["name"] for model in report.models}
