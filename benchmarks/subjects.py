"""What can be measured: the public model of each medium, its inputs, and its chain in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.inputs import make_photos
from benchmarks.recordings import make_recordings
from cards.repository import ModelRepository
from deepscan_client import DeepScanClient
from deepscan_client.verdict import Verdict
from pipelines.infer import Infer

Judge = Callable[[bytes], Verdict]


@dataclass(frozen=True)
class Subject:
    """One medium.

    Attributes:
        model: the public model; tensor: its input.
        item, one: what an input is called, and in a sentence.
        make: the inputs.
        judge: the whole chain over networks that somebody runs.
        fits: an objection to an input after its verdict and the networks that were called; empty where it fits.
        ask: the same through a server.
    """

    model: str
    tensor: str
    item: str
    one: str
    make: Callable[[], list[bytes]]
    judge: Callable[[ModelRepository, Infer], Judge]
    fits: Callable[[Verdict, Sequence[str]], str]
    ask: Callable[[DeepScanClient, bytes], Verdict]


def _judge_photo(repository: ModelRepository, infer: Infer) -> Judge:
    from pipelines.image.analyze import PhotoAnalyzer, analyze_image
    from pipelines.image.verdict import PhotoJudge

    analyzer, judge = PhotoAnalyzer(repository, infer), PhotoJudge(repository)
    return lambda data: analyze_image(data, analyzer, judge)


def _judge_recording(repository: ModelRepository, infer: Infer) -> Judge:
    from pipelines.audio.analyze import VoiceAnalyzer, analyze_audio
    from pipelines.audio.verdict import VoiceJudge

    analyzer, judge = VoiceAnalyzer(repository, infer), VoiceJudge(repository)
    return lambda data: analyze_audio(data, analyzer, judge)


def _one_face(verdict: Verdict, calls: Sequence[str]) -> str:
    if len(verdict.faces) == 1 and list(calls).count("face_detector") == 1:
        return ""
    return f"has {len(verdict.faces)} faces after calls of {list(calls)}: one face is wanted"


def _scored(verdict: Verdict, calls: Sequence[str]) -> str:
    if verdict.fake_probability is not None:
        return ""
    return f"has no score after calls of {list(calls)} ({', '.join(map(str, verdict.reasons))}): speech is wanted"


IMAGE = Subject(
    model="deepfake_image",
    tensor="IMAGE",
    item="photo",
    one="A photo of 640 px with one face",
    make=make_photos,
    judge=_judge_photo,
    fits=_one_face,
    ask=lambda client, data: client.detect_image(data),
)
AUDIO = Subject(
    model="deepfake_audio",
    tensor="AUDIO",
    item="recording",
    one="A recording of 4 s",
    make=make_recordings,
    judge=_judge_recording,
    fits=_scored,
    ask=lambda client, data: client.detect_audio(data),
)
SUBJECTS = {"image": IMAGE, "audio": AUDIO}
