"""A report over recordings, alone and beside photos, with a judge that goes by level."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cards import ModelRepository
from deepscan.cli import Exit, app
from deepscan.reporting import voices
from deepscan.reporting.measure import Plan
from deepscan.reporting.model import FullReport
from deepscan.reporting.page import page
from deepscan.reporting.voices import measure_voices, picture_of_sound, voice_steps
from deepscan_client import Medium, make_verdict
from deepscan_client.verdict import Evidence, Verdict
from pipelines.assessment.local import Labelled
from pipelines.assessment.sound_damage import CONDITIONS, RATE, write_sound
from pipelines.audio.source import decode_audio

SAMPLES = Path(__file__).resolve().parents[3] / "samples" / "evaluation"


class ByLevel:
    """Says fake with a probability that is the file's root mean square."""

    def __init__(self, repository: ModelRepository) -> None:
        pass

    def verdict(self, data: bytes) -> Verdict:
        level = float(np.sqrt(np.mean(decode_audio(data)[0] ** 2)))
        evidence = (Evidence("frame_cnn", level, "log-odds"), Evidence("pitch", 120.0, "Hz"))
        return make_verdict("fake" if level > 0.5 else "real", level, medium=Medium.AUDIO, evidence=evidence)


@pytest.fixture(autouse=True)
def _judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "LocalVoiceJudge", ByLevel)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two groups; one real recording is loud, and so a mistake."""
    for place, level in {"a/real/0": 0.1, "a/real/1": 0.7, "a/fake/0": 0.6, "b/real/0": 0.2, "b/fake/0": 0.9}.items():
        sound = np.sign(np.sin(np.arange(RATE) * 0.05)) * level
        file = tmp_path / "data" / f"{place}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(write_sound(sound.astype(np.float32), "wav", "pcm_s16le"))
    return tmp_path / "data"


def labelled(folder: Path) -> list[Labelled]:
    return [
        Labelled(path, path.parent.name == "fake", path.parent.parent.name) for path in sorted(folder.rglob("*.wav"))
    ]


def test_recordings_are_measured_with_what_damage_does(folder: Path) -> None:
    seen: list[str] = []
    items, plan = labelled(folder), Plan(robustness=2)
    report = measure_voices(items, ModelRepository(), "data", plan, seen.append)
    assert (report.medium, report.item, report.failed) == (Medium.AUDIO, "recording", 0)
    assert [group.group for group in report.quality.groups] == ["a", "b"]
    assert [mistake.path for mistake in report.mistakes] == [str(folder / "a" / "real" / "1.wav")]
    assert report.mistakes[0].picture.startswith("data:image/jpeg")
    assert {row.condition for row in report.sounds} == {condition.name for condition in CONDITIONS}
    assert {row.family: row.detector for row in report.families}["ensemble"] == "verdict"
    assert len(seen) == voice_steps(items, plan)
    assert FullReport.model_validate_json(report.model_dump_json()) == report


def test_the_page_shows_recordings_alone(folder: Path, tmp_path: Path) -> None:
    html = tmp_path / "r.html"
    done = CliRunner().invoke(app, ["report", str(folder), "-o", str(html), "--robustness", "1"])
    assert done.exit_code == Exit.DONE, done.output
    text = html.read_text(encoding="utf-8")
    assert '<table id="sounds">' in text
    assert "5 recordings judged" in text
    assert '<table id="skin">' not in text
    assert "5 recordings measured" in done.output


def test_photos_and_recordings_stand_in_one_report_and_share_no_number(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES, folder / "faces")
    html, numbers = tmp_path / "r.html", tmp_path / "r.json"
    arguments = ["report", str(folder), "-o", str(html), "--json", str(numbers), "--robustness", "0", "--mosaics", "0"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == Exit.DONE, done.output
    report = FullReport.model_validate_json(numbers.read_text(encoding="utf-8"))
    assert report.voices is not None
    assert (report.quality.items, report.voices.quality.items) == (8, 5)
    text = page(report)
    assert "<h1>Recordings</h1>" in text
    for name in ("groups", "voice-groups", "skin"):
        assert f'<table id="{name}">' in text
    assert '<table id="voice-skin">' not in text


def test_a_recording_is_drawn_high_frequencies_at_the_top(tmp_path: Path) -> None:
    import base64

    import cv2

    at = np.arange(2 * RATE) / RATE
    tone = (0.5 * np.sin(2 * np.pi * 7000 * at)).astype(np.float32)
    file = tmp_path / "tone.wav"
    file.write_bytes(write_sound(tone, "wav", "pcm_s16le"))
    data = base64.b64decode(picture_of_sound(file).partition(",")[2])
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert pixels.shape == (128, 320)
    assert int(np.argmax(pixels.mean(axis=1))) == pytest.approx(128 * (1 - 7000 / 8000), abs=3)
