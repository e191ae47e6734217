"""The sweep over recordings: who is asked what, and what the rows count."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.voice_robustness import checks, recordings, result
from deepscan_client import InputError, MediaError, Medium, make_verdict
from deepscan_client.verdict import Verdict
from pipelines.assessment.local import Labelled
from pipelines.assessment.sound_damage import CONDITIONS, RATE, write_sound
from pipelines.assessment.voices import ALL, PAIRED, Heard, LocalVoiceJudge, sound_row, sound_rows, sweep_sounds
from pipelines.audio.source import decode_audio


class ByLevel:
    """Says fake with a probability that is the file's root mean square."""

    def __init__(self) -> None:
        self.asked = 0

    def verdict(self, data: bytes) -> Verdict:
        self.asked += 1
        level = float(np.sqrt(np.mean(decode_audio(data)[0] ** 2)))
        return make_verdict("fake" if level > 0.5 else "real", level, medium=Medium.AUDIO)


def clip(folder: Path, name: str, level: float, seed: int = 0) -> Labelled:
    sound = np.sign(np.sin(np.arange(RATE) * (0.05 + 0.01 * seed))) * level
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_sound(sound.astype(np.float32), "wav", "pcm_s16le"))
    return Labelled(path, "fake" in name, name.split("/")[0])


@pytest.fixture
def items(tmp_path: Path) -> list[Labelled]:
    reals = [clip(tmp_path, f"g{n}/real/{n}.wav", 0.2, n) for n in range(3)]
    return [*reals, *(clip(tmp_path, f"g{n}/fake/{n}.wav", 0.8, n) for n in range(2))]


def judge() -> LocalVoiceJudge:
    return cast(LocalVoiceJudge, ByLevel())


def test_every_recording_meets_every_condition_in_order(items: list[Labelled]) -> None:
    seen: list[str] = []
    swept = sweep_sounds(judge(), items, seen=seen.append)
    assert list(swept) == [condition.name for condition in CONDITIONS]
    assert seen == [str(item.path) for item in items]
    for heard in swept.values():
        assert [each.item for each in heard] == items
    plain = {row.group: row for row in sound_rows(swept, rounds=20) if row.condition == "none"}
    assert list(plain) == [ALL, PAIRED, "g0", "g1", "g2"]
    assert (plain[PAIRED].real, plain[PAIRED].fake) == (2, 2)
    whole = plain[ALL]
    assert (whole.real, whole.fake, whole.auc.value, whole.flagged.value, whole.found.value) == (3, 2, 1.0, 0.0, 1.0)
    assert plain["g2"].auc.value is None


def test_the_order_of_the_folder_changes_nothing(items: list[Labelled]) -> None:
    conditions = [condition for condition in CONDITIONS if condition.noise]

    def told(given: list[Labelled]) -> dict[tuple[str, str], float | None]:
        swept = sweep_sounds(judge(), given, conditions)
        return {
            (name, each.item.path.name + str(each.item.fake)): each.verdict.fake_probability
            for name, heard in swept.items()
            for each in heard
            if each.verdict is not None and "white" in name
        }

    assert told(items) == told(items[::-1])


def test_a_file_that_does_not_decode_has_no_verdict(items: list[Labelled], tmp_path: Path) -> None:
    broken = tmp_path / "g0" / "real" / "broken.wav"
    broken.write_bytes(b"no sound at all")
    swept = sweep_sounds(judge(), [*items, Labelled(broken, False, "g0")], CONDITIONS[:1])
    assert swept["none"][-1].verdict is None
    row = sound_rows(swept, rounds=20)[0]
    assert (row.real, row.unscored, row.flagged.total) == (4, 1, 4)


def test_a_clip_that_the_judge_refuses_is_unscored(items: list[Labelled]) -> None:
    class Refuses:
        def verdict(self, data: bytes) -> Verdict:
            raise MediaError("no", remedy="none")

    swept = sweep_sounds(cast(LocalVoiceJudge, Refuses()), items, CONDITIONS[:1])
    assert all(each.verdict is None for each in swept["none"])
    assert issubclass(MediaError, InputError)


def said(fake: bool, label: str, probability: float | None, group: str = "g") -> Heard:
    return Heard(Labelled(Path("x"), fake, group), make_verdict(label, probability, medium=Medium.AUDIO))


def test_rows_count_flagged_and_conclusive_reals() -> None:
    heard = [
        said(False, "real", 0.1),
        said(False, "inconclusive", 0.4),
        said(False, "fake", 0.7),
        said(False, "inconclusive", None),
        said(True, "fake", 0.9),
        said(True, "inconclusive", 0.5),
    ]
    row = sound_row("white 20 dB", ALL, heard, rounds=20)
    assert (row.flagged.value, row.conclusive.value) == (0.25, 0.5)
    assert (row.found.value, row.fakes_conclusive.value, row.unscored) == (0.5, 0.5, 1)
    assert row.auc.value == pytest.approx(5 / 6)
    told = {(check["name"], check["kind"]): check["met"] for check in checks([row])}
    assert told == {
        ("reals_flagged", "must"): False,
        ("reals_conclusive", "must"): False,
        ("auc", "must"): True,
        ("auc", "aim"): False,
    }
    at_ten = sound_row("white 10 dB", ALL, heard, rounds=20)
    assert [check["name"] for check in checks([at_ten])] == ["reals_flagged"]
    assert not checks([sound_row("none", ALL, heard, rounds=20)])


def test_the_result_file_says_models_rows_and_checks(items: list[Labelled], tmp_path: Path) -> None:
    content: dict[str, Any] = result(sweep_sounds(judge(), items), rounds=20)
    assert {row["condition"] for row in content["rows"]} == {condition.name for condition in CONDITIONS}
    assert content["thresholds"] == [0.5]
    assert len(content["checks"]) == 7 + 5 + 2 * 4  # flagged, conclusive but at 10 dB, must and aim of four AUC
    assert str(tmp_path) not in str(content)


def test_recordings_are_found_among_other_things(items: list[Labelled], tmp_path: Path) -> None:
    (tmp_path / "g0" / "real" / "notes.txt").write_text("nothing")
    (tmp_path / "g0" / "real" / "photo.jpg").write_bytes(b"\xff\xd8\xff" + bytes(20))
    alone = clip(tmp_path / "other", "crowd/x.wav", 0.1)
    found = recordings([tmp_path], [alone.path.parent])
    assert len(found) == len(items) + 1
    assert (found[-1].group, found[-1].fake) == ("crowd", False)
