"""Decode recordings on the CPU: any sound file, or the sound track of a video, to 16 kHz mono, block by block.

The bytes stay in memory: nothing is written to a disk, no other file and no address is opened. Memory is bounded by one
block, whatever the length. All channels are averaged. Nothing is removed or levelled here: that is
``pipelines.audio.windows``, which training uses as well.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from typing import Any, Protocol

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from pydantic import BaseModel, ConfigDict

from cards.limits import MAX_AUDIO_BYTES, MAX_AUDIO_CHANNELS, MAX_AUDIO_SECONDS, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError, MediaError
from pipelines.audio.container import READS, Container, is_torn, recognise, tells_length
from pipelines.options import Options

Samples = npt.NDArray[np.float32]

RATE = 16_000
"""Samples a second of everything behind the decoder."""
_LOSSLESS = ("flac", "alac", "wavpack", "wmalossless")
_LOSSY = (
    *("mp1", "mp2", "mp3", "aac", "aac_latm", "opus", "vorbis", "speex", "ac3", "eac3", "dts"),
    *("amr_nb", "amr_wb", "gsm", "gsm_ms", "ilbc", "g723_1", "g729", "adpcm_g722", "adpcm_g726", "adpcm_g726le"),
    *("wmav1", "wmav2", "wmapro", "wmavoice", "nellymoser", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt"),
    *("pcm_mulaw", "pcm_alaw"),
)
_MOST_DAMAGED = 2_000
"""Damaged packets in a row after which the rest is given up: a hostile file could hold millions."""
_MOST_CHANGES = 64
"""Changes of rate or channels inside one file."""


class AudioInfo(BaseModel):
    """What is known of a recording; travels as JSON to the stages behind the decoder."""

    model_config = ConfigDict(frozen=True)

    sha256: str
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
    """A recording whose header was read. Made by :func:`open_audio`.

    Attributes:
        info: what is known; complete once :meth:`blocks` was read to its end.
    """

    def __init__(self, data: bytes, options: Options | None = None) -> None:
        started = time.monotonic_ns()
        if not data:
            raise MediaError("the file is empty", code=ErrorCode.EMPTY, remedy="send the bytes of a recording")
        if len(data) > MAX_AUDIO_BYTES:
            raise LimitError(
                f"the recording has {len(data):,} bytes, {MAX_AUDIO_BYTES:,} are allowed",
                remedy="send it as FLAC, in mono at 16 kHz, or cut it",
            )
        self._data = data
        self._kind = recognise(data)
        notes: list[str] = []
        with self._open() as container:
            stream = _choose(container, self._kind, notes)
            self._track = stream.index
            context = stream.codec_context
            codec = context.codec.canonical_name
            declared = _declared_seconds(container, stream)
            self._told = declared if tells_length(self._kind, data) else 0.0
            if self._told > MAX_AUDIO_SECONDS:
                raise _too_long(self._told)
            self.info = AudioInfo(
                sha256=hashlib.sha256(data).hexdigest(),
                bytes=len(data),
                format=self._kind.name,
                codec=codec,
                lossy=codec in _LOSSY,
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
            LimitError: it is longer than allowed.
        """
        size = max(1, round(seconds * RATE))
        reading = _Reading()
        waiting: list[Samples] = []
        ready = total = 0
        with self._open() as container:
            for piece in reading.pieces(container, container.streams[self._track]):
                waiting.append(piece)
                ready += len(piece)
                total += len(piece)
                if total > MAX_AUDIO_SECONDS * RATE:
                    raise _too_long(total / RATE)
                if ready >= size:
                    joined = np.concatenate(waiting)
                    whole = ready - ready % size
                    yield from (joined[start : start + size].copy() for start in range(0, whole, size))
                    waiting, ready = [joined[whole:]], ready - whole
        if ready:
            yield np.concatenate(waiting)
        self._finish(reading, total)

    def _open(self) -> InputContainer:
        try:
            return av.open(
                io.BytesIO(self._data),
                mode="r",
                format=self._kind.reader,
                options=_OPTIONS | (_NO_LOOK_INSIDE if self._kind.reader in ("wav", "w64") else {}),
                metadata_errors="replace",
            )
        except Exception as error:  # a hostile header can raise anything inside
            cut = self._kind.reader == "mov" and b"moov" not in self._data
            raise MediaError(
                f"the {self._kind.name} file "
                + ("is cut off before its index" if cut else f"cannot be opened: {str(error)[:160]}"),
                code=ErrorCode.TRUNCATED if cut else ErrorCode.CORRUPT,
                remedy="send the whole file" if cut else "open it in a sound program and save it again",
            ) from error

    def _finish(self, reading: _Reading, total: int) -> None:
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
        early = self._told > seconds + max(0.5, 0.02 * self._told)
        torn = is_torn(self._kind, self._data)
        notes = list(self.info.notes)
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


def decode_audio(data: bytes, options: Options | None = None) -> tuple[Samples, AudioInfo]:
    """A whole recording, float32 [n] at 16 kHz mono (230 MB an hour), and what is known of it.

    Raises:
        MediaError, LimitError: as :func:`open_audio` and :meth:`AudioSource.blocks`.
    """
    source = open_audio(data, options)
    samples = np.concatenate(list(source.blocks()))
    return samples, source.info


class _Reading:
    """One pass through a file, and what went wrong in it."""

    def __init__(self) -> None:
        self.bytes = self.stored = self.damaged = self.not_numbers = self.values = 0
        self.cut = 0.0
        self.broke_off = False
        self._changes = -1
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[object, ...] = ()
        self._single: bool | None = None
        """Whether the first channel is taken alone, because the channels cancel each other."""

    def pieces(self, container: InputContainer, stream: Any) -> Iterator[Samples]:
        """16 kHz mono, about a second at a time."""
        stream.codec_context.thread_count = 1
        stored_floats = stream.codec_context.name.startswith("pcm_f")
        for frame in self._frames(container, stream):
            yield from self._resampled(frame, stored_floats)
        yield from self._flush()

    def notes(self) -> list[str]:
        """What a reader of the verdict should know."""
        found = []
        if self.damaged:
            found.append(f"damaged packets left out: {self.damaged:,}")
        if self.not_numbers:
            found.append(f"samples that are not numbers, replaced by silence: {self.not_numbers:,}")
        if self.cut > self.values / 1000:
            found.append(
                f"{min(1.0, self.cut / self.values):.1%} of the samples lie above full scale and were cut there"
            )
        if self._single:
            found.append("the channels cancel each other: the first was judged alone")
        if self._changes > 0:
            found.append(f"rate or channels change {self._changes} times inside the file")
        return found

    def _frames(self, container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
        packets = container.demux(stream)
        in_a_row = 0
        while in_a_row < _MOST_DAMAGED:
            try:
                packet = next(packets, None)
            except Exception:  # FFmpeg's errors, and others of PyAV where a track appears in mid-file
                self.broke_off = True
                return
            if packet is None:
                return
            self.bytes += packet.size
            try:
                frames: list[Any] = packet.decode()
            except av.error.EOFError:
                return
            except Exception:  # a hostile packet can raise anything inside
                self.damaged += 1
                in_a_row += 1
                continue
            in_a_row = 0
            for frame in frames:
                if frame.samples and MIN_SAMPLE_RATE <= frame.sample_rate <= MAX_SAMPLE_RATE:
                    yield frame
        self.broke_off = True

    def _resampled(self, frame: AudioFrame, stored_floats: bool) -> Iterator[Samples]:
        shape = (frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.sample_rate)
        if shape != self._shape or self._resampler is None:
            yield from self._flush()
            self._changes += 1
            if self._changes > _MOST_CHANGES or frame.layout.nb_channels > MAX_AUDIO_CHANNELS:
                raise MediaError(
                    "rate or channels change too often inside the file",
                    code=ErrorCode.CORRUPT,
                    remedy="open it in a sound program and save it again",
                )
            self._shape = shape
            # Packed: PyAV 18 reads beyond the planes of planar sound of eight channels and more.
            self._resampler = av.AudioResampler(format="flt", rate=RATE, frame_size=RATE)
        if stored_floats:
            frame = self._mended(frame)
        frame.pts = None
        self.stored += frame.samples
        for answer in self._resampler.resample(frame):
            yield self._mono(answer)

    def _flush(self) -> Iterator[Samples]:
        if self._resampler is not None:
            for answer in self._resampler.resample(None):
                yield self._mono(answer)
            self._resampler = None

    def _mended(self, frame: AudioFrame) -> AudioFrame:
        """The frame with silence where a value is not a number and with the others within -1 to 1.

        Before resampling, which would spread such a value over its neighbours.
        """
        values: npt.NDArray[Any] = frame.to_ndarray()
        with np.errstate(invalid="ignore"):
            good = np.isfinite(values)
            outside = good & (np.abs(values) > 1.0)
        if good.all() and not outside.any():
            return frame
        share = frame.samples * RATE / frame.sample_rate / values.size
        self.not_numbers += int(np.ceil((values.size - good.sum()) * share))
        self.cut += float(outside.sum()) * share
        values = np.clip(np.where(good, values, 0), -1.0, 1.0).astype(values.dtype)
        mended = AudioFrame.from_ndarray(values, format=frame.format.name, layout=frame.layout.name)
        mended.sample_rate = frame.sample_rate
        return mended

    def _mono(self, frame: AudioFrame) -> Samples:
        """The mean of the channels, float32 [n] within -1 to 1."""
        values = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T
        if not np.isfinite(values.sum()):
            good = np.isfinite(values)
            self.not_numbers += int((~good).any(axis=0).sum())
            values = np.where(good, values, 0)
        mixed = values.mean(axis=0, dtype=np.float32) if len(values) > 1 else values[0]
        if len(values) > 1 and self._single is None:
            loud = float(np.square(values, dtype=np.float32).mean())
            if loud > 1e-8:  # -80 dB: there is sound to decide by
                self._single = float(np.square(mixed).mean()) < 0.01 * loud
        if self._single:
            mixed = values[0]
        self.values += len(mixed)
        outside = int((np.abs(mixed) > 1.0).sum())
        self.cut += outside
        return np.clip(mixed, -1.0, 1.0) if outside else np.ascontiguousarray(mixed, dtype=np.float32)


def _is_read(name: str) -> bool:
    return name in _LOSSY or name in _LOSSLESS or name.startswith("pcm_")


def _all_decoders() -> Iterator[str]:
    for name in sorted(av.codec.codecs_available):
        try:
            codec = av.codec.Codec(name, "r")
        except ValueError:  # writes only
            continue
        if codec.type == "audio" and _is_read(codec.canonical_name):
            yield name


_OPTIONS = {
    # A reader that wants another file or an address finds no protocol to open it with.
    "protocol_whitelist": "none",
    # Pictures of a video are never decoded, not even to look at them.
    "codec_whitelist": ",".join(_all_decoders()),
}
_NO_LOOK_INSIDE = {"probesize": "4096"}
"""FFmpeg searches megabytes of 16-bit WAV for DTS and Dolby inside, which takes longer than decoding it: 3.5 ms each
time that 64 kB are looked through, 0.2 ms for these."""


def _choose(container: InputContainer, kind: Container, notes: list[str]) -> AudioStream:
    """The sound track to judge: the one marked as default, else the first."""
    tracks = list(container.streams.audio)
    if not tracks:
        raise MediaError(
            f"the {kind.name} file has no sound track", code=ErrorCode.NO_SOUND, remedy="send a recording with sound"
        )
    preferred = [track for track in tracks if track.disposition & av.stream.Disposition.default]
    stream = (preferred or tracks)[0]
    if len(tracks) > 1:
        notes.append(f"track {tracks.index(stream) + 1} of {len(tracks)} sound tracks")
    context = stream.codec_context
    name = context.codec.canonical_name if context is not None else "an unknown codec"
    if context is None or not _is_read(name):
        raise MediaError(f"sound in {name} is not read", code=ErrorCode.UNSUPPORTED, remedy=f"send {READS}")
    if not MIN_SAMPLE_RATE <= context.sample_rate <= MAX_SAMPLE_RATE:
        raise MediaError(
            f"{context.sample_rate:,} samples a second; {MIN_SAMPLE_RATE:,} to {MAX_SAMPLE_RATE:,} are read",
            code=ErrorCode.UNSUPPORTED if context.sample_rate else ErrorCode.CORRUPT,
            remedy="save it again at 16 to 48 kHz",
        )
    if not 1 <= context.channels <= MAX_AUDIO_CHANNELS:
        raise MediaError(
            f"{context.channels} channels; 1 to {MAX_AUDIO_CHANNELS} are read",
            code=ErrorCode.UNSUPPORTED if context.channels else ErrorCode.CORRUPT,
            remedy="save it again in mono or stereo",
        )
    return stream


def _declared_seconds(container: InputContainer, stream: AudioStream) -> float:
    """Length as the header says, 0 where it does not."""
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, (container.duration or 0) / 1e6)


def _too_long(seconds: float) -> LimitError:
    return LimitError(
        f"the recording is {seconds:,.0f} s long or longer, {MAX_AUDIO_SECONDS:,} s are allowed",
        code=ErrorCode.TOO_LONG,
        remedy="cut it into parts",
    )
