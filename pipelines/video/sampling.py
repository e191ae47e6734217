"""Which frames of a file are looked at: by number, by rate, or five a second, and never more than the limit."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cards.limits import MAX_JUDGED_FRAMES
from pipelines.infer import Infer
from pipelines.options import Options
from pipelines.video.animation import AnimationSource, HeldPicture, is_animation
from pipelines.video.evidence import VideoFacts
from pipelines.video.frame import HeldFrame
from pipelines.video.leaving import Check
from pipelines.video.source import VideoSource
from pipelines.video.staged import StagedSource

DEFAULT_FPS = 5.0
NO_GPU = "decoded by PyAV: the profile cpu has no GPU that decodes"
ON_GPU = "decoded by NVDEC: the profile has a GPU, and its first frame is the one that PyAV sees"
"""Notes that say why; what else there is to say, :mod:`pipelines.video.staged` and :mod:`pipelines.video.animation` do.
"""
_BLOCK = 1 << 22
"""Bytes that are hashed at a time."""
Source = VideoSource | AnimationSource
Held = HeldFrame | HeldPicture


class OpenVideo:
    """A video whose packets were read, and the sampling that its options ask for.

    Args:
        source: the frames.
        facts: of the file.
        window: some seconds, from and to, that are looked at as thickly as asked; all of them where left out.
    """

    def __init__(self, source: Source, facts: VideoFacts, window: tuple[float, float] | None = None) -> None:
        self._source, self._facts, self._window = source, facts, window
        options, info = facts.options, source.info
        seconds = info.seconds if window is None else window[1] - window[0]
        asked = min(options.num_frames or round((options.fps or DEFAULT_FPS) * seconds), info.frames)
        self._count: int | None = options.num_frames
        self._fps = None if options.num_frames else options.fps or DEFAULT_FPS
        self.thin = asked > MAX_JUDGED_FRAMES and window is None
        """Whether the limit made the sampling thinner than asked."""
        if self.thin:
            asked = self._count = MAX_JUDGED_FRAMES
            self._fps = None
        self.wanted = max(1, asked)
        self.step_s = seconds / self.wanted

    @property
    def facts(self) -> VideoFacts:
        """Of the file, with the decoder that has run so far."""
        info = self._source.info
        plain = type(self._source) is VideoSource
        why = (NO_GPU,) if plain else (ON_GPU,) if info.decoder.startswith("dali") else ()
        return replace(self._facts, decoder=info.decoder, notes=(*why, *info.notes))

    @property
    def damaged(self) -> int:
        """Frames that were damaged and left out so far."""
        return self._source.damaged

    def frames(self) -> Iterator[Held]:
        """The sampled frames in the order of time."""
        return self._source.held(num_frames=self._count, fps=self._fps, window=self._window)

    def closer(self, window: tuple[float, float]) -> OpenVideo:
        """Some seconds of the same file, sampled as usual, without heat maps."""
        options = self._facts.options.model_copy(update={"num_frames": None, "fps": None, "heatmaps": False})
        return OpenVideo(self._source, replace(self._facts, options=options), window)


def open_source(path: Path, threads: int = 1, check: Check | None = None, stage: Infer | None = None) -> Source:
    """The frames of a file, by what its first bytes say it is.

    Args:
        path: the file; threads: for the decoder.
        check: called between two packets or pictures; what it raises ends the work.
        stage: reaches the GPU's decoder, which is asked where it reads such a file.

    Raises:
        MediaError: missing, empty, not a video, or nothing of it decodes.
        LimitError: too many bytes, pixels, seconds or frames.
    """
    head = b""
    if path.is_file():
        with path.open("rb") as stream:
            head = stream.read(16)
    if is_animation(head):
        return AnimationSource(path, check)
    return VideoSource(path, threads, check) if stage is None else StagedSource(path, stage, threads, check)


def open_video(path: Path, options: Options, check: Check | None = None, stage: Infer | None = None) -> OpenVideo:
    """Read a file's packets and say what is in it; ``check`` and ``stage`` as of :func:`open_source`.

    Raises:
        MediaError: missing, empty, not a video, or nothing of it decodes.
        LimitError: too many bytes, pixels, seconds or frames.
    """
    started = time.monotonic_ns()
    source = open_source(path, check=check, stage=stage)
    info = source.info
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            if check is not None:
                check()
    facts = VideoFacts(
        sha256=digest.hexdigest(),
        bytes=path.stat().st_size,
        format=info.format,
        codec=info.codec,
        width=info.width,
        height=info.height,
        rotation=info.rotation,
        seconds=info.seconds,
        frames=info.frames,
        fps=info.fps,
        sound=info.sound,
        decoder=info.decoder,
        notes=info.notes,
        cut_off=info.cut_off,
        hidden=info.hidden,
        options=options,
        started_ns=started,
        probe_ms=(time.monotonic_ns() - started) / 1e6,
    )
    return OpenVideo(source, facts)
