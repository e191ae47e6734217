"""Pictures and sound to one verdict: who decides, and what a missing part does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client.codes import Label, Medium, Reason
from deepscan_client.verdict import DecodeInfo, Evidence, InputInfo, Interval, ModelInfo, OperatingPoint, Verdict
from pipelines.audio.analyze import VoiceAnalyzer
from pipelines.audio.source import RATE, decode_audio
from pipelines.audio.verdict import VoiceJudge
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video.analyze import VideoAnalyzer
from pipelines.video.multimodal import Watchers, analyze_multimodal, join, moved
from pipelines.video.verdict import UNHEARD, VideoJudge
from tests.pipelines.video.test_in_step import VOICE, grown, write_talking


def part(
    medium: Medium,
    label: Label,
    probability: float | None,
    threshold: float = 0.5,
    reasons: tuple[Reason, ...] = (),
) -> Verdict:
    """A verdict of one part."""
    own = "frame_cnn" if medium is Medium.VIDEO else "voice_cepstra"
    return Verdict(
        medium=medium,
        input=InputInfo("ab" * 32, 100, "mp4"),
        label=label,
        fake_probability=probability,
        interval=None if probability is None else Interval(probability / 2, probability),
        reasons=reasons,
        operating_point=OperatingPoint(threshold, 0.05),
        evidence=() if probability is None else (Evidence(own, 1.0, weight=1.0),),
        faces=(),
        decode=DecodeInfo(f"decoder of {medium.value}", notes=(f"note of {medium.value}",)),
        models=(ModelInfo(own, "1", "0" * 12), ModelInfo("voice_activity", "1", "0" * 12)),
        timing_ms={"total": 10.0},
        suspicious=((1.0, 2.0),) if medium is Medium.AUDIO else (),
    )


def both(seen: tuple[Label, float | None], heard: tuple[Label, float | None]) -> Verdict:
    return join(part(Medium.VIDEO, *seen), part(Medium.AUDIO, *heard))


def test_one_false_part_makes_the_whole_false() -> None:
    found = both((Label.REAL, 0.1), (Label.FAKE, 0.8))
    assert (found.medium, found.label, found.fake_probability) == (Medium.MULTIMODAL, Label.FAKE, 0.8)
    assert found.interval == Interval(0.4, 0.8)
    found = both((Label.FAKE, 0.7), (Label.REAL, 0.2))
    assert (found.label, found.fake_probability) == (Label.FAKE, 0.7)
    rows = {row.name: row for row in found.evidence}
    assert rows["pictures"].score == 0.7
    assert "decides" in rows["pictures"].note
    assert "decides" not in rows["sound"].note
    assert {"frame_cnn", "voice_cepstra"} <= set(rows)
    assert [model.name for model in found.models] == ["frame_cnn", "voice_activity", "voice_cepstra"]
    assert found.timing_ms["total"] == 20.0
    assert found.suspicious == ((1.0, 2.0),)
    assert Verdict.from_json(found.to_json()) == found


def test_the_points_of_both_parts_are_kept() -> None:
    seen = part(Medium.VIDEO, Label.REAL, 0.3, threshold=0.6)
    heard = part(Medium.AUDIO, Label.FAKE, 0.3, threshold=0.2)
    found = join(seen, heard)
    assert found.operating_point.threshold == 0.2
    assert {name: point.threshold for name, point in found.part_points.items()} == {"pictures": 0.6, "sound": 0.2}
    assert Verdict.from_json(found.to_json()).part_points == found.part_points
    assert join(seen, None).part_points == {}


def test_parts_that_are_both_all_but_sure_are_told_apart() -> None:
    found = both((Label.FAKE, 1 - 1e-7), (Label.FAKE, 1 - 1e-8))
    assert found.fake_probability == 1 - 1e-8


def test_two_real_parts_are_real_and_the_nearer_one_speaks() -> None:
    found = both((Label.REAL, 0.1), (Label.REAL, 0.4))
    assert (found.label, found.fake_probability) == (Label.REAL, 0.4)
    seen = part(Medium.VIDEO, Label.REAL, 0.3, threshold=0.35)
    found = join(seen, part(Medium.AUDIO, Label.REAL, 0.4, threshold=0.9))
    assert found.fake_probability == 0.3  # nearer to its own threshold
    assert found.operating_point.threshold == 0.35


@pytest.mark.parametrize(("label", "probability"), [(Label.REAL, 0.1), (Label.FAKE, 0.9)])
def test_a_part_that_cannot_be_judged_does_not_speak_but_is_told(label: Label, probability: float) -> None:
    silent = part(Medium.AUDIO, Label.INCONCLUSIVE, None, reasons=(Reason.NO_SPEECH,))
    found = join(part(Medium.VIDEO, label, probability), silent)
    assert (found.label, found.fake_probability) == (label, probability)
    assert Reason.NO_SPEECH in found.reasons
    faceless = part(Medium.VIDEO, Label.INCONCLUSIVE, None, reasons=(Reason.NO_FACE,))
    found = join(faceless, part(Medium.AUDIO, label, probability))
    assert (found.label, found.fake_probability) == (label, probability)
    assert Reason.NO_FACE in found.reasons
    assert found.decode.decoder == "decoder of video"


def test_what_nobody_can_tell_is_inconclusive() -> None:
    found = both((Label.INCONCLUSIVE, None), (Label.INCONCLUSIVE, None))
    assert (found.label, found.fake_probability) == (Label.INCONCLUSIVE, None)
    found = both((Label.INCONCLUSIVE, 0.6), (Label.INCONCLUSIVE, None))
    assert (found.label, found.fake_probability) == (Label.INCONCLUSIVE, 0.6)


def test_pictures_that_are_nearly_fake_are_not_made_real_by_sound() -> None:
    doubtful = part(Medium.VIDEO, Label.INCONCLUSIVE, 0.49, reasons=(Reason.NEAR_THRESHOLD,))
    found = join(doubtful, part(Medium.AUDIO, Label.REAL, 0.1))
    assert found.label is Label.INCONCLUSIVE
    assert Reason.NEAR_THRESHOLD in found.reasons
    assert join(doubtful, part(Medium.AUDIO, Label.FAKE, 0.9)).label is Label.FAKE


def test_a_file_without_sound_is_judged_by_its_pictures() -> None:
    found = join(part(Medium.VIDEO, Label.REAL, 0.2), None, "the file has no sound track")
    assert (found.medium, found.label, found.fake_probability) == (Medium.MULTIMODAL, Label.REAL, 0.2)
    assert found.decode.notes[-1] == "the file has no sound track"
    assert found.reasons == (Reason.NO_SOUND,)


def test_sound_stands_on_the_clock_of_the_pictures_and_inside_the_length() -> None:
    seen, heard = part(Medium.VIDEO, Label.REAL, 0.1), part(Medium.AUDIO, Label.FAKE, 0.8)
    seen = replace(seen, input=replace(seen.input, duration_s=2.0))
    heard = replace(heard, input=replace(heard.input, duration_s=3.0), timeline=((0.0, 1.0, 0.1), (1.0, 3.0, 0.9)))
    late = join(seen, moved(heard, 0.5))
    assert late.timeline == ((0.5, 1.5, 0.1), (1.5, 3.5, 0.9))
    assert late.suspicious == ((1.5, 2.5),)
    assert late.input.duration_s == 3.5
    early = join(seen, moved(heard, -1.5))  # its first second has no picture
    assert early.timeline == ((0.0, 1.5, 0.9),)
    assert early.suspicious == ((0.0, 0.5),)
    assert early.input.duration_s == 2.0


def all_watchers() -> Watchers:
    repository = ModelRepository()
    infer = OnnxInfer(repository)
    return Watchers(
        (VideoAnalyzer(repository, infer), VideoJudge(repository)),
        (VoiceAnalyzer(repository, infer), VoiceJudge(repository)),
    )


def test_sound_that_begins_late_is_suspicious_where_it_is_heard(tmp_path: Path) -> None:
    watchers = all_watchers()
    voice = np.resize(decode_audio(VOICE.read_bytes())[0], 4 * RATE)
    frames = [np.full((48, 64, 3), 90, np.uint8)] * 50
    at_once, late = (
        analyze_multimodal(write_talking(tmp_path / f"{begin}.mkv", frames, voice, begin), watchers, options=Options())
        for begin in (0.0, 1.5)
    )
    assert at_once.timeline
    assert UNHEARD not in at_once.decode.notes
    assert np.array(late.timeline)[:, :2] == pytest.approx(np.array(at_once.timeline)[:, :2] + 1.5, abs=0.05)
    assert late.input.duration_s == pytest.approx(5.5, abs=0.1)
    assert Reason.CUT_OFF not in {*at_once.reasons, *late.reasons}  # neither track is as long as the file


def test_the_sound_of_a_video_is_judged_however_large_the_file_is(tmp_path: Path) -> None:
    voice = np.resize(decode_audio(VOICE.read_bytes())[0], 4 * RATE)
    path = grown(write_talking(tmp_path / "large.mp4", [np.full((48, 64, 3), 90, np.uint8)] * 50, voice))
    found = analyze_multimodal(path, all_watchers(), options=Options(num_frames=2))
    assert Reason.NO_SOUND not in found.reasons
    assert found.timeline
    assert found.input.bytes == path.stat().st_size
    assert len(found.input.sha256) == 64
