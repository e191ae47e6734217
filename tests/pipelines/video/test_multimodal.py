"""Pictures and sound to one verdict: who decides, and what a missing part does."""

from __future__ import annotations

import pytest

from deepscan_client.codes import Label, Medium, Reason
from deepscan_client.verdict import DecodeInfo, Evidence, InputInfo, Interval, ModelInfo, OperatingPoint, Verdict
from pipelines.video.multimodal import join


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


def test_a_file_without_sound_is_judged_by_its_pictures() -> None:
    found = join(part(Medium.VIDEO, Label.REAL, 0.2), None, "the file has no sound track")
    assert (found.medium, found.label, found.fake_probability) == (Medium.MULTIMODAL, Label.REAL, 0.2)
    assert found.decode.notes[-1] == "the file has no sound track"
    assert found.reasons == (Reason.NO_SOUND,)
