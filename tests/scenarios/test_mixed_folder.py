"""A folder of photos, recordings, a video and other files is scanned: everything gets its line, in order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from deepscan.cli import Exit, app
from deepscan_client import Medium, Verdict

pytestmark = pytest.mark.triton

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def test_a_mixed_folder_is_scanned(triton_server: Any, tmp_path: Path, write_video: Callable[..., Path]) -> None:
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    for source, name in (
        ("astronaut.jpg", "a photo.jpg"),
        ("audio/thanks.wav", "b voice.WAV"),
        ("audio/voicemail.mp3", "c voice without a suffix"),
        ("coffee.webp", "deep/d nobody.webp"),
        ("audio/next_caller.ogg", "deep/er/e voice.ogg"),
    ):
        shutil.copy(SAMPLES / source, folder / name)
    (folder / "f words.wav").write_text("words that call themselves a recording")
    (folder / "g notes.txt").write_text("words")
    write_video(folder / "h film.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 12)
    out, pictures = tmp_path / "out.jsonl", tmp_path / "pictures"
    arguments = ["scan", folder, "--jsonl", out, "--pictures", pictures, "--triton", triton_server.grpc_url]
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert outcome.exit_code == Exit.SOME_FAILED, outcome.output
    lines = [json.loads(line) for line in out.read_text(encoding="ascii").splitlines()]
    assert [Path(line["path"]).name[0] for line in lines] == ["a", "b", "c", "f", "h", "d", "e"]
    told = {Path(line["path"]).name[0]: line for line in lines}
    assert {name: line["medium"] for name, line in told.items()} == {
        "a": "image",
        "b": "audio",
        "c": "audio",
        "d": "image",
        "e": "audio",
        "f": "audio",
        "h": "video",
    }
    for name in "bce":
        verdict = Verdict.from_dict(told[name])
        assert verdict.medium is Medium.AUDIO
        assert verdict.fake_probability is not None
        assert verdict.timeline
    assert told["f"]["error"]["code"] == "not_media"
    assert (told["h"]["label"], told["h"]["reasons"]) == ("inconclusive", ["no_face"])
    assert "6 judged, 1 could not be judged, 1 other files in the folders skipped" in outcome.stderr
    # Boxes on the photo with a face, and a timeline for each recording and for the video.
    drawn = sorted(path.name for path in pictures.iterdir())
    assert [name.split("_", 1)[0] + Path(name).suffix for name in drawn] == [
        "00001.jpg",
        "00002.png",
        "00003.png",
        "00005.png",
        "00007.png",
    ]
    picture = cv2.imread(str(pictures / drawn[1]))
    assert picture is not None
    assert picture.shape[1] > 1000
