"""One pass through a recording's packets: decoded, resampled, averaged to one channel, and what went wrong on the way.

Damage costs what is damaged and no more: a packet that does not decode is left out, a value that is not a number
becomes silence, and both are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from numpy.typing import NDArray

from cards.limits import MAX_AUDIO_CHANNELS, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import MediaError

Mono = NDArray[np.float32]

_MOST_DAMAGED = 2_000
"""Damaged packets in a row after which the rest is given up: a hostile file could hold millions."""
_MOST_CHANGES = 64
"""Changes of rate or channels inside one file."""
_PAUSES, _NOT_SENT = {"amrnb": (8, 8_000), "amrwb": (9, 16_000)}, 15
"""A phone stops sending in pauses. Type of the frame that tells a pause's noise, and samples a second, by decoder; and
the type of one that was not sent (3GPP TS 26.101 and 26.201; RFC 4867, section 5.3)."""


class Reading:
    """One pass through a file, and what went wrong in it.

    Args:
        rate: samples a second of what comes out.

    Attributes:
        bytes: of all packets; stored: samples of each channel, at the stored rate.
        values: samples that came out; not_numbers: of these, those that are silence because they were no numbers;
            cut: of these, those that lay above full scale (in parts, where the stored rate differs).
        damaged: packets left out; broke_off: the file ended otherwise than by its end.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.bytes = self.stored = self.damaged = self.not_numbers = self.values = 0
        self.cut = 0.0
        self.broke_off = False
        self._changes = -1
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[object, ...] = ()
        self._single: bool | None = None
        """Whether the first channel is taken alone, because the channels cancel each other."""

    def pieces(self, container: InputContainer, stream: Any) -> Iterator[Mono]:
        """Mono, float32 [n] in -1 to 1, about a second at a time.

        Raises:
            MediaError: rate or channels change too often, or there are too many channels.
        """
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
                pause = _pause(packet, stream)
                frames: list[Any] = packet.decode() if pause is None else [pause]
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

    def _resampled(self, frame: AudioFrame, stored_floats: bool) -> Iterator[Mono]:
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
            self._resampler = av.AudioResampler(format="flt", rate=self._rate, frame_size=self._rate)
        if stored_floats:
            frame = self._mended(frame)
        frame.pts = None
        self.stored += frame.samples
        for answer in self._resampler.resample(frame):
            yield self._mono(answer)

    def _flush(self) -> Iterator[Mono]:
        if self._resampler is not None:
            for answer in self._resampler.resample(None):
                yield self._mono(answer)
            self._resampler = None

    def _mended(self, frame: AudioFrame) -> AudioFrame:
        """The frame with silence where a value is not a number and with the others within -1 to 1.

        Before resampling, which would spread such a value over its neighbours.
        """
        values: NDArray[Any] = frame.to_ndarray()
        with np.errstate(invalid="ignore"):
            good = np.isfinite(values)
            outside = good & (np.abs(values) > 1.0)
        if good.all() and not outside.any():
            return frame
        share = frame.samples * self._rate / frame.sample_rate / values.size
        self.not_numbers += int(np.ceil((values.size - good.sum()) * share))
        self.cut += float(outside.sum()) * share
        values = np.clip(np.where(good, values, 0), -1.0, 1.0).astype(values.dtype)
        mended = AudioFrame.from_ndarray(values, format=frame.format.name, layout=frame.layout.name)
        mended.sample_rate = frame.sample_rate
        return mended

    def _mono(self, frame: AudioFrame) -> Mono:
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


def _pause(packet: Packet[Any], stream: AudioStream) -> AudioFrame | None:
    """20 ms of silence for a frame of a pause in AMR, which FFmpeg does not decode; None for any other packet."""
    kind, rate = _PAUSES.get(stream.codec_context.name, (0, 0))
    if not rate or packet.size not in (1, 6) or bytes(packet)[0] >> 3 & 15 not in (kind, _NOT_SENT):
        return None
    frame = AudioFrame.from_ndarray(np.zeros((1, rate // 50), np.float32), format="fltp", layout="mono")
    frame.sample_rate = rate
    return frame
