"""One verdict on pictures and sound together.

Either may be false by itself, so the part that lies farthest above its own threshold decides: its probability,
threshold and interval are those of the whole. No data of ours tells how the two depend on each other, so nothing is
fitted here; the price is that false alarms of both parts add up. A part that could not be judged (no sound, no speech,
no face) does not speak, and its reasons stand in the verdict. Whether lips and sound are in step is evidence without a
weight.

The Triton model ``deepfake_multimodal`` and the inference engine both call :func:`analyze_multimodal`; the gateway and
the client ask that model. Nothing else joins the two parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cards.limits import MAX_AUDIO_BYTES
from deepscan_client.codes import Label, Medium, Reason
from deepscan_client.errors import InputError
from deepscan_client.verdict import Evidence, Progress, Verdict
from pipelines.assessment.curves import log_odds
from pipelines.audio.analyze import VoiceAnalyzer
from pipelines.audio.source import AudioSource, open_audio, open_track
from pipelines.audio.verdict import VoiceJudge
from pipelines.options import Options
from pipelines.video.analyze import Beside, VideoAnalyzer
from pipelines.video.leaving import Check, checker
from pipelines.video.sound import sound_delay
from pipelines.video.verdict import VideoJudge

PICTURES, SOUND = "pictures", "sound"


@dataclass(frozen=True)
class Watchers:
    """Those that judge the parts; ``voice`` is None where a repository holds no models for recordings."""

    video: tuple[VideoAnalyzer, VideoJudge]
    voice: tuple[VoiceAnalyzer, VoiceJudge] | None


def analyze_multimodal(
    path: Path,
    watchers: Watchers,
    audio: bytes | Path | None = None,
    options: Options | None = None,
    report: Callable[[Progress], object] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Verdict:
    """Pictures and sound of a file, or a video with a recording of its own, to one verdict in one process.

    Args:
        path: the video; audio: a recording that belongs to it, a file or its bytes; its own sound track where left out.
        options, report, stopped: as of :func:`pipelines.video.analyze.analyze_video`.

    Raises:
        deepscan_client.errors.InputError: the video, or the recording that was given, cannot be judged. A video without
            sound, or with a sound track that does not decode, is judged by its pictures.
        deepscan_client.errors.CancelledError: ``stopped`` returned True.
    """
    analyzer, judge = watchers.video
    asked = options or Options()
    audio = _read(audio) if isinstance(audio, Path) else audio
    evidence = analyzer.evidence(path, asked, report, stopped, Beside(audio))
    seen = judge.verdict(evidence, alone=False)
    heard: Verdict | None = None
    note = ""
    if watchers.voice is not None and (audio is not None or evidence.facts.sound):
        try:
            check = checker(stopped, asked.request_id)
            for_sound = _for_sound(asked)
            source = open_track(path, for_sound, check) if audio is None else open_audio(audio, for_sound)
            heard = _heard(source, watchers.voice, check)
            heard = moved(heard, sound_delay(path)) if audio is None else heard
        except InputError as error:
            if audio is not None:
                raise
            note = f"the sound track was not judged: {error.message}"
    elif audio is None and not evidence.facts.sound:
        note = "the file has no sound track: the pictures alone were judged"
    else:
        note = "no models for recordings are here: the pictures alone were judged"
    return join(seen, heard, note)


def _heard(source: AudioSource, voice: tuple[VoiceAnalyzer, VoiceJudge], check: Check) -> Verdict:
    """The verdict on the sound; ``check`` is called before each half minute of it.

    Raises:
        InputError: it cannot be judged.
        CancelledError: by ``check``.
    """
    analyzer, judge = voice
    steps = analyzer.listen(source)
    while True:
        check()
        try:
            next(steps)
        except StopIteration as end:
            return judge.verdict(source.info, end.value)


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAX_AUDIO_BYTES + 1)  # one byte too many is refused by its reader


def _for_sound(options: Options) -> Options:
    return Options(
        confidence_threshold=options.confidence_threshold, analyzers=options.analyzers, request_id=options.request_id
    )


def moved(heard: Verdict, delay: float) -> Verdict:
    """A verdict on sound that begins so many seconds after the first frame, on the clock of the pictures; negative
    where it begins before them, and then what comes earlier has no place in it."""
    length = heard.input.duration_s
    return replace(
        heard,
        input=replace(heard.input, duration_s=None if length is None else max(0.0, length + delay)),
        timeline=tuple((max(0.0, a + delay), b + delay, p) for a, b, p in heard.timeline if b + delay > 0.0),
        suspicious=tuple((max(0.0, a + delay), b + delay) for a, b in heard.suspicious if b + delay > 0.0),
    )


def join(seen: Verdict, heard: Verdict | None, note: str = "") -> Verdict:
    """The verdict on both parts. Its length is that of the longer one, so that the timeline fits into it.

    Args:
        seen: of the pictures; heard: of the sound, None where there is none.
        note: why the sound was not judged, for ``decode.notes``.
    """
    notes = (*seen.decode.notes, *((note,) if note else ()))
    if heard is None:
        reasons = tuple(dict.fromkeys((*seen.reasons, Reason.NO_SOUND)))
        return replace(seen, medium=Medium.MULTIMODAL, reasons=reasons, decode=replace(seen.decode, notes=notes))
    first, second = _decides(seen, heard)
    which = PICTURES if first is seen else SOUND
    lengths = [part.input.duration_s for part in (seen, heard) if part.input.duration_s is not None]
    notes = (*notes, f"sound: {heard.decode.decoder}", *(f"sound: {each}" for each in heard.decode.notes))
    label = first.label
    # A part that is nearly a fake is a doubt, not a part that could not be judged.
    if label is Label.REAL and second.label is Label.INCONCLUSIVE and Reason.NEAR_THRESHOLD in second.reasons:
        label = second.label
    return replace(
        first,
        medium=Medium.MULTIMODAL,
        input=replace(seen.input, duration_s=max(lengths, default=None)),
        label=label,
        reasons=tuple(dict.fromkeys((*first.reasons, *second.reasons))),
        evidence=(*_rows(seen, PICTURES, which), *_rows(heard, SOUND, which)),
        faces=(),
        tracks=seen.tracks,
        decode=replace(seen.decode, notes=notes),
        models=tuple({model.name: model for model in (*seen.models, *heard.models)}.values()),
        timing_ms={
            **seen.timing_ms,
            **{f"{SOUND}_{name}": value for name, value in heard.timing_ms.items()},
            "total": seen.timing_ms.get("total", 0.0) + heard.timing_ms.get("total", 0.0),
        },
        suspicious=heard.suspicious,
        part_points={PICTURES: seen.operating_point, SOUND: heard.operating_point},
        provenance={**heard.provenance, **seen.provenance},
        request_id=seen.request_id,
    )


def _decides(seen: Verdict, heard: Verdict) -> tuple[Verdict, Verdict]:
    """The part that decides, then the other: one that was judged before one that was not, fake before real, then the
    one that lies higher above its threshold."""
    return (seen, heard) if _rank(seen) >= _rank(heard) else (heard, seen)


def _rank(verdict: Verdict) -> tuple[int, float]:
    order = {Label.FAKE: 2, Label.REAL: 1, Label.INCONCLUSIVE: 0}[verdict.label]
    if verdict.fake_probability is None:
        return -1, -math.inf
    said, threshold = log_odds((verdict.fake_probability, verdict.operating_point.threshold)).tolist()
    return order, said - threshold


def _rows(part: Verdict, name: str, which: str) -> tuple[Evidence, ...]:
    """Evidence of one part; the first row says what the part came to."""
    if part.fake_probability is None:
        return part.evidence
    told = f"{part.label.value} by itself{', decides' if name == which else ''}"
    return (Evidence(name, part.fake_probability, "probability", note=told), *part.evidence)
