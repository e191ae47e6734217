"""Is the main face of a video in step with its sound: lips at the native rate, the sound track, and what they say.

A second look at the file, at every frame of at most twenty seconds: about 15 ms of one core a frame, most of it for the
mesh. Evidence without weight.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepscan_client.errors import InputError
from pipelines.analyzers.biometrics import watched
from pipelines.analyzers.landmarks import MESH
from pipelines.analyzers.lip_sync import NETWORK, Sync, lip_sync
from pipelines.audio.source import RATE, Samples, open_audio, open_track
from pipelines.audio.speech import CELL, SpeechMeter
from pipelines.audio.speech import MODEL as SPEECH
from pipelines.infer import Infer
from pipelines.video.body import followed_track
from pipelines.video.close import TOO_SHORT
from pipelines.video.evidence import VideoEvidence
from pipelines.video.frame import Frame
from pipelines.video.leaving import Check, checker
from pipelines.video.lips import Lips, read_lips
from pipelines.video.sound import known_delay, sound_delay
from pipelines.video.source import VideoSource

NAME = "lip_sync"
NOBODY_SPEAKS = "no two seconds of those that were read have speech and a face that is seen"
LARGEST = 640
"""Longer side in pixels of the frames that the lips are read from."""
MOST_FPS = 30.0
"""Frames a second that are looked at; of faster videos every second or fourth."""
_TAIL_S = 1.0
"""Sound that is heard beyond the last frame: it may come late."""
_LEAD_S = 30.0
"""Sound that is heard before those seconds, where there is so much: whether somebody speaks is told from it too."""


@dataclass(frozen=True)
class InStep:
    """What was measured or why nothing was, and the weights of the networks that took part: name to sha256."""

    sync: Sync | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Heard:
    """The sound that lips are laid against.

    Attributes:
        start: seconds from the video's first frame to the first sample.
        samples: 16 kHz mono; speech: its probability in cells of 32 ms.
        record: sha256 of the weights that heard it.
    """

    start: float
    samples: Samples
    speech: NDArray[np.float32]
    record: str


def with_lip_sync(
    evidence: VideoEvidence,
    path: Path,
    infer: Infer,
    stopped: Callable[[], bool] | None = None,
    audio: bytes | None = None,
) -> VideoEvidence:
    """Evidence with the lip-sync of the main face, where the file has sound, and the milliseconds that it took.

    Args:
        evidence: of the whole video; path: the file that it is of.
        infer: runs ``face_mesh``, ``voice_activity`` and ``av_sync``.
        stopped: asked before each frame.
        audio: a recording that begins with the video, instead of its own sound track.

    Raises:
        deepscan_client.errors.CancelledError: ``stopped`` returned True.
        deepscan_client.errors.DeepScanError: a network did not answer.
    """
    track = followed_track(evidence)
    if track is None or (audio is None and not evidence.facts.sound):
        return evidence
    start = time.monotonic_ns()
    return told(evidence, in_step(path, track.times, track.landmarks, infer, stopped, audio), start)


def told(evidence: VideoEvidence, found: InStep, started_ns: int) -> VideoEvidence:
    """Evidence with what was measured since ``started_ns``."""
    if found.missing:
        evidence = evidence.noted(f"lip-sync left out: {found.missing}")
    return replace(
        evidence,
        weights={**evidence.weights, **found.weights},
        ms={**evidence.ms, NAME: (time.monotonic_ns() - started_ns) / 1e6},
        more={**evidence.more, NAME: () if found.sync is None else found.sync.rows()},
    )


def in_step(
    path: Path,
    times: NDArray[np.float64],
    landmarks: NDArray[np.float32],
    infer: Infer,
    stopped: Callable[[], bool] | None = None,
    audio: bytes | None = None,
) -> InStep:
    """Measure one face against the sound of its file; without sound, speech or a face, say what is missing.

    Args:
        path: a video file; times: seconds of the face's detections, rising, [k]; landmarks: [k, 5, 2] in pixels of the
            upright frame.
        infer, stopped, audio: as of :func:`with_lip_sync`; so are the errors.
    """
    window = watched(times)
    check = checker(stopped)
    if window is None:
        return InStep(missing=TOO_SHORT)
    heard = hear(path, window, infer, check, audio)
    if isinstance(heard, str):
        return InStep(missing=heard)
    try:
        video = VideoSource(path, check=check)
        factor = min(1.0, LARGEST / max(video.info.width, video.info.height))
        frames = _frames(video, (window[0], window[1] + 1e-6), check)
        lips = read_lips(frames, times, landmarks, infer, factor)
    except InputError as error:  # a part of the file that does not decode: the pictures were judged already
        return InStep(missing=error.message)
    return laid_against(lips, heard, infer)


def hear(
    path: Path, window: tuple[float, float], infer: Infer, check: Check, audio: bytes | None = None
) -> Heard | str:
    """The sound for the lips of a window in seconds, or why it is of no use to them."""
    start = max(0.0, window[0] - _LEAD_S)
    try:
        samples = _samples(path, (start, window[1] + _TAIL_S), check, audio)
    except InputError as error:
        return f"no sound ({error.message})"
    meter = SpeechMeter(infer)
    speech = np.concatenate([meter.feed(samples), meter.finish()])
    spoken = (speech[int((window[0] - start) * RATE / CELL) :] > 0.5).any()
    return Heard(start, samples, speech, meter.record) if spoken else NOBODY_SPEAKS


def laid_against(lips: Lips, heard: Heard, infer: Infer) -> InStep:
    """Lips laid against sound."""
    found = lip_sync(lips, heard.samples, heard.speech, infer, heard.start)
    if found is None:
        return InStep(missing=NOBODY_SPEAKS)
    return InStep(found, {NETWORK: found.record, MESH: lips.record, SPEECH: heard.record})


def _samples(path: Path, window: tuple[float, float], check: Check, audio: bytes | None) -> Samples:
    """The sound of so many seconds after the first frame, 16 kHz mono, silence where it begins later; what comes before
    is decoded, but not kept.

    Raises:
        MediaError, LimitError: there is none, or it does not decode.
        CancelledError: by ``check``.
    """
    source = open_track(path, check=check) if audio is None else open_audio(audio)
    delay = known_delay(sound_delay(path)) if audio is None else 0.0
    first, count = round((window[0] - delay) * RATE), int((window[1] - window[0]) * RATE)
    parts: list[Samples] = [np.zeros(max(0, -first), np.float32)]
    place = 0
    for block in source.blocks():
        parts.append(block[max(0, first - place) : max(0, first + count - place)])
        place += len(block)
        if place >= first + count:
            break
    return np.concatenate(parts)[:count]


def _frames(video: VideoSource, window: tuple[float, float], check: Check) -> Iterator[Frame]:
    last = -np.inf
    for frame in video.frames(window=window, max_side=LARGEST):
        check()
        if frame.time - last >= 0.9 / MOST_FPS:
            last = frame.time
            yield frame
