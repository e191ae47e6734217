"""Decode recordings on the CPU: any sound file, or the sound track of a video, to 16 kHz mono, block by block.

Nothing is written to a disk, no other file and no address is opened. Memory is bounded by one block, whatever the
length; the bytes of a recording stay in it, while a video is read from its file and only its sound is demuxed. All
channels are averaged. Nothing is removed or levelled here: that is ``pipelines.audio.windows``, which training uses as
well.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.stream import Discard
from pydantic import BaseModel, ConfigDict

from cards.limits import MAX_AUDIO_BYTES, MAX_AUDIO_SECONDS
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.audio.container import is_torn, recognise, tells_length
from pipelines.audio.reading import Reading
from pipelines.audio.track import choose_track, declared_seconds, is_lossy, open_container
from pipelines.audio.wave import check_wave
from pipelines.options import Options
from pipelines.video.leaving import Check, WatchedFile, checker

Samples = npt.NDArray[np.float32]

RATE = 16_000
"""Samples a second of everything behind the decoder."""
_HEAD = 1 << 20
"""Bytes of a video that tell what kind of file it is, and how an AVI stores its sound."""
_TAIL = 1 << 17
"""Bytes at its end that tell whether an OGG is whole."""


class AudioInfo(BaseModel):
    """What is known of a recording; travels as JSON to the stages behind the decoder."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    """Empty for the sound track of a video, whose own verdict knows it."""
    bytes: int
    format: str
    """Kind of file: wav, flac, ogg, mp3, m4a, mp4, webm, ..."""
    codec: str
    lossy: bool
    """Whether the codec loses something; what was lost before this file was written is not known from it."""
    sample_rate: int
    """As stored."""
    channels: int
    duration_s: float
    """As the header says, 0 where it does not; measured, once the blocks were read to their end."""
    bit_rate: int
    """Bits a second of the sound, 0 where unknown."""
    decoder: str
    cut_off: bool = False
    """The file ends early or parts of it are damaged: what could be decoded is there."""
    notes: tuple[str, ...]
    options: Options
    started_ns: int
    """``time.monotonic_ns()`` at the start of the request; one clock for all processes of a machine."""
    probe_ms: float


class Sound(Protocol):
    """What an analyzer hears: a recording that is decoded block by block, whoever decodes it."""

    @property
    def info(self) -> AudioInfo:
        """What is known; complete once the blocks were read to their end."""
        ...

    def blocks(self, seconds: float = 30.0) -> Iterator[Samples]:
        """Samples as float32 [n] in -1 to 1, 16 kHz mono."""
        ...


class AudioSource:
    """A recording whose header was read. Made by :func:`open_audio` and :func:`open_track`.

    Attributes:
        info: what is known; complete once :meth:`blocks` was read to its end.
    """

    def __init__(self, data: bytes | Path, options: Options | None = None, check: Check | None = None) -> None:
        started = time.monotonic_ns()
        self._data, self._check = data, check or checker(None)
        if isinstance(data, bytes):
            head, size = data, len(data)
        else:
            head, size = _part(data, 0, _HEAD), data.stat().st_size
        if not size:
            raise MediaError("the file is empty", code=ErrorCode.EMPTY, remedy="send the bytes of a recording")
        if isinstance(data, bytes) and size > MAX_AUDIO_BYTES:
            raise LimitError(
                f"the recording has {size:,} bytes, {MAX_AUDIO_BYTES:,} are allowed",
                remedy="send it as FLAC, in mono at 16 kHz, or cut it",
            )
        self._kind = recognise(head)
        notes: list[str] = []
        with self._open() as container:
            stream = choose_track(container, self._kind, notes)
            self._track = stream.index
            context = stream.codec_context
            codec = context.codec.canonical_name
            if self._kind.reader in ("wav", "w64", "avi"):
                check_wave(head)
            declared = declared_seconds(container, stream)
            # Without a length of its own, the sound of a video would be measured by the pictures.
            own = bool(stream.duration) or len(container.streams) == 1
            self._told = declared if own and tells_length(self._kind, head) else 0.0
            if self._told > MAX_AUDIO_SECONDS and isinstance(data, bytes):
                raise _too_long(self._told)
            self.info = AudioInfo(
                sha256=hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else "",
                bytes=size,
                format=self._kind.name,
                codec=codec,
                lossy=is_lossy(codec),
                sample_rate=context.sample_rate,
                channels=context.channels,
                duration_s=declared,
                bit_rate=stream.bit_rate or 0,
                decoder=f"pyav {av.__version__}, {context.name}",
                notes=tuple(notes),
                options=options or Options(),
                started_ns=started,
                probe_ms=(time.monotonic_ns() - started) / 1e6,
            )

    def blocks(self, seconds: float = 30.0) -> Iterator[Samples]:
        """Decode from the beginning: float32 [n] in -1 to 1, 16 kHz mono; all blocks are equally long but the last.

        Raises:
            MediaError: nothing decodes, no samples, or none that is a number.
            LimitError: a recording is longer than allowed; the sound track of a video ends there, and a note says so.
            CancelledError: by ``check``.
        """
        size = max(1, round(seconds * RATE))
        reading = Reading(RATE)
        waiting: list[Samples] = []
        ready = total = 0
        with self._open() as container:
            for piece in reading.pieces(container, container.streams[self._track]):
                self._check()
                waiting.append(piece)
                ready += len(piece)
                total += len(piece)
                if total > MAX_AUDIO_SECONDS * RATE:
                    if isinstance(self._data, bytes):
                        raise _too_long(total / RATE)
                    break
                if ready >= size:
                    joined = np.concatenate(waiting)
                    whole = ready - ready % size
                    yield from (joined[start : start + size].copy() for start in range(0, whole, size))
                    waiting, ready = [joined[whole:]], ready - whole
        self._check()  # whoever went away looks like the end of the file
        if ready:
            yield np.concatenate(waiting)
        self._finish(reading, total)

    @contextmanager
    def _open(self) -> Iterator[InputContainer]:
        """The open file. Of a video, pictures are not even demuxed."""
        with ExitStack() as held:
            file: Any
            if isinstance(self._data, bytes):
                file = io.BytesIO(self._data)
            else:
                file = WatchedFile(held.enter_context(self._data.open("rb")), self._check)
            try:
                container = held.enter_context(open_container(file, self._kind))
            except MediaError:
                self._check()
                raise
            for stream in container.streams:
                if stream.type != "audio":
                    stream.discard = Discard.all
            yield container

    def _is_torn(self) -> bool:
        if isinstance(self._data, bytes):
            return is_torn(self._kind, self._data)
        size = self.info.bytes
        ogg = self._kind.reader == "ogg"
        return is_torn(self._kind, _part(self._data, max(0, size - _TAIL) if ogg else 0, _TAIL), size)

    def _finish(self, reading: Reading, total: int) -> None:
        """The measured facts, or the error where there is nothing to judge."""
        if not total:
            broken = reading.damaged or reading.broke_off
            raise MediaError(
                "nothing of the recording decodes"
                if broken
                else f"a recording of {reading.stored} samples is no sound",
                code=ErrorCode.CORRUPT if broken else ErrorCode.EMPTY,
                remedy="open it in a sound program and save it again" if broken else "record it again",
            )
        if reading.not_numbers > reading.values / 2:
            raise MediaError(
                f"{reading.not_numbers:,} of {reading.values:,} samples are not numbers",
                code=ErrorCode.CORRUPT,
                remedy="save it again as 16-bit WAV or FLAC",
            )
        seconds = total / RATE
        full = total > MAX_AUDIO_SECONDS * RATE
        early = not full and self._told > seconds + max(0.5, 0.02 * self._told)
        torn = self._is_torn()
        notes = list(self.info.notes)
        if full:
            notes.append(f"only the first {MAX_AUDIO_SECONDS:,} s were judged")
        if early:
            notes.append(f"the file ends early: {seconds:.1f} of {self._told:.1f} s are there")
        elif reading.broke_off or torn:
            notes.append(f"the file breaks off after {seconds:.1f} s")
        notes += reading.notes()
        self.info = self.info.model_copy(
            update={
                "duration_s": seconds,
                "bit_rate": self.info.bit_rate or round(reading.bytes * 8 / seconds),
                "cut_off": early or torn or reading.broke_off or reading.damaged > 0,
                "notes": tuple(dict.fromkeys(notes)),
            }
        )


def open_audio(data: bytes, options: Options | None = None) -> AudioSource:
    """Read a recording's header.

    Args:
        data: the bytes as the caller sent them: a sound file, or a video with sound.
        options: travel along with the result.

    Raises:
        MediaError: empty, not a recording, without a sound track, corrupt, or a codec that is not read.
        LimitError: too many bytes or seconds.
    """
    return AudioSource(data, options)


def open_track(path: Path, options: Options | None = None, check: Check | None = None) -> AudioSource:
    """Read the header of a video's sound track. The video is read from its file, whatever its size, and not kept.

    Args:
        path: a video that :mod:`pipelines.video.source` opened, which is where its bytes and seconds are limited.
        options: travel along with the result.
        check: called for each read and each second of sound; what it raises ends the work.

    Raises:
        MediaError: without a sound track, corrupt, or a codec that is not read.
        CancelledError: by ``check``.
    """
    return AudioSource(path, options, check)


def decode_audio(data: bytes, options: Options | None = None) -> tuple[Samples, AudioInfo]:
    """A whole recording, float32 [n] at 16 kHz mono (230 MB an hour), and what is known of it.

    Raises:
        MediaError, LimitError: as :func:`open_audio` and :meth:`AudioSource.blocks`.
    """
    source = open_audio(data, options)
    samples = np.concatenate(list(source.blocks()))
    return samples, source.info


def _part(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def _too_long(seconds: float) -> LimitError:
    return LimitError(
        f"the recording is {seconds:,.0f} s long or longer, {MAX_AUDIO_SECONDS:,} s are allowed",
        code=ErrorCode.TOO_LONG,
        remedy="cut it into parts",
    )
