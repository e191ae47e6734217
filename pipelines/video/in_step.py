"""Is the main face of a video in step with its sound: lips at the native rate, the sound track, and what they say.

A second look at the file, at every frame of at most twenty seconds: about 6 ms a frame on one core, most of it for the
mesh. Evidence without weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepscan_client.errors import CancelledError, InputError
from deepscan_client.verdict import Evidence
from pipelines.analyzers.biometrics import watched
from pipelines.analyzers.landmarks import MESH
from pipelines.analyzers.lip_sync import NETWORK, Sync, lip_sync
from pipelines.audio.source import RATE, Samples, open_audio
from pipelines.audio.speech import MODEL as SPEECH
from pipelines.audio.speech import SpeechMeter
from pipelines.infer import Infer
from pipelines.video.evidence import TrackEvidence
from pipelines.video.lips import read_lips
from pipelines.video.sound import on_picture_clock, sound_delay
from pipelines.video.source import Frame, VideoSource

LARGEST = 640
"""Longer side in pixels of the frames that the lips are read from."""
MOST_FPS = 30.0
"""Frames a second that are looked at; of faster videos every second or fourth."""
_TAIL_S = 1.0
"""Sound that is heard beyond the last frame: it may come late."""


@dataclass(frozen=True)
class InStep:
    """What was measured, and the weights of the networks that took part: name to sha256."""

    evidence: tuple[Evidence, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    sync: Sync | None = None


def in_step(path: Path | str, track: TrackEvidence, infer: Infer, stopped: Callable[[], bool] | None = None) -> InStep:
    """Measure one face against the sound of its file; nothing is said where there is no sound, no speech or no face.

    Args:
        path: a video file that :class:`~pipelines.video.source.VideoSource` reads.
        track: times and landmarks of the face, in pixels of the upright frame.
        infer: runs ``face_mesh``, ``voice_activity`` and ``av_sync``.
        stopped: asked before each frame.

    Raises:
        CancelledError: ``stopped`` returned True.
        deepscan_client.errors.DeepScanError: a network did not answer.
    """
    window = watched(track.times)
    if window is None:
        return InStep()
    try:
        samples = _heard(Path(path), window[1] + _TAIL_S)
        video = VideoSource(path)
        meter = SpeechMeter(infer)
        speech = np.concatenate([meter.feed(samples), meter.finish()])
        first = int(window[0] * RATE / 512)
        if not (speech[first:] > 0.5).any():
            return InStep()
        factor = min(1.0, LARGEST / max(video.info.width, video.info.height))
        frames = _frames(video, (window[0], window[1] + 1e-6), stopped or (lambda: False))
        lips = read_lips(frames, track.times, track.landmarks, infer, factor)
    except InputError:
        return InStep()  # no sound, or a part of the file that does not decode: the pictures were judged already
    found = lip_sync(lips, samples, speech, infer)
    if found is None:
        return InStep()
    return InStep(found.rows(), {NETWORK: found.record, MESH: lips.record, SPEECH: meter.record}, found)


def _heard(path: Path, end: float) -> Samples:
    """The sound track from the first frame until ``end`` seconds, 16 kHz mono.

    Raises:
        MediaError, LimitError: there is none, it does not decode, or the file is too large to be read for it.
    """
    delay = sound_delay(path)
    wanted = int((end - min(delay, 0.0)) * RATE)
    parts: list[NDArray[np.float32]] = []
    for block in open_audio(path.read_bytes()).blocks():
        parts.append(block)
        if sum(map(len, parts)) >= wanted:
            break
    return on_picture_clock(np.concatenate(parts), delay)[: int(end * RATE)]


def _frames(video: VideoSource, window: tuple[float, float], stopped: Callable[[], bool]) -> Iterator[Frame]:
    last = -np.inf
    for frame in video.frames(window=window, max_side=LARGEST):
        if stopped():
            raise CancelledError("the caller cancelled the request")
        if frame.time - last >= 0.9 / MOST_FPS:
            last = frame.time
            yield frame
