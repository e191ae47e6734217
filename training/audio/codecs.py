"""Sound there and back through lossy codecs, in memory, with their delays taken out."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from scipy.signal import fftconvolve

from training.audio.sounds import RATE, Sound, fitted, resample

PAD_SECONDS = 0.1


@dataclass(frozen=True)
class Codec:
    """An encoder with the rates at which it runs and its bit rates (bits a second; one where the codec fixes it).

    ``container`` is named where a decoder needs what only a file tells it, ``late`` is the delay in samples where it
    is known and cannot be measured (AMR's filters turn phases).
    """

    encoder: str
    decoder: str
    rates: tuple[int, ...]
    bit_rates: tuple[int, ...]
    container: str = ""
    late: int | None = None


CODECS: dict[str, Codec] = {
    "mp3": Codec("libmp3lame", "mp3", (16_000, 24_000, 44_100), (32_000, 48_000, 64_000, 96_000, 128_000)),
    "aac": Codec("aac", "aac", (16_000, 24_000, 44_100), (24_000, 32_000, 48_000, 64_000, 96_000)),
    "opus": Codec("libopus", "libopus", (16_000, 24_000, 48_000), (8_000, 12_000, 16_000, 24_000, 32_000)),
    "wma": Codec("wmav2", "wmav2", (16_000, 44_100), (32_000, 64_000), "asf"),
    "mulaw": Codec("pcm_mulaw", "pcm_mulaw", (8_000,), (64_000,)),
    "alaw": Codec("pcm_alaw", "pcm_alaw", (8_000,), (64_000,)),
    "g722": Codec("g722", "g722", (16_000,), (64_000,)),
    "g726": Codec("g726", "g726", (8_000,), (24_000, 32_000), "wav"),
    "adpcm": Codec("adpcm_ima_wav", "adpcm_ima_wav", (8_000, 16_000), (64_000,), "wav"),
    "amr": Codec("libopencore_amrnb", "libopencore_amrnb", (8_000,), (4_750, 7_400, 12_200), late=40),
    "g723": Codec("g723_1", "g723_1", (8_000,), (6_300,)),
}
#: Names by how often each is met: files and streams, calls, recorders.
FILES = ("mp3", "aac", "opus", "wma")
CALLS = ("opus", "mulaw", "alaw", "amr", "g722", "g726", "adpcm", "g723")


class MissingCodecError(ValueError):
    """This FFmpeg has no such encoder or decoder."""


def _context(name: str, mode: str) -> AudioCodecContext:
    try:
        context = av.CodecContext.create(name, mode)  # type: ignore[call-overload]
    except (av.FFmpegError, ValueError) as error:
        raise MissingCodecError(name) from error
    assert isinstance(context, AudioCodecContext)
    return context


def _frame(samples: Sound, rate: int) -> av.AudioFrame:
    whole = np.clip(np.round(samples * 32767), -32768, 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    return frame


def _joined(frames: Iterable[av.AudioFrame], rate: int) -> Sound:
    """Frames mixed down, as one sound."""
    plain = av.AudioResampler(format="flt", layout="mono", rate=rate)
    blocks = [part.to_ndarray().reshape(-1) for frame in frames for part in plain.resample(frame)]
    blocks += [part.to_ndarray().reshape(-1) for part in plain.resample(None)]
    return np.concatenate(blocks).astype(np.float32) if blocks else np.zeros(0, np.float32)


def _through_file(samples: Sound, codec: Codec, rate: int, bit_rate: int) -> Sound:
    """The same through a file in memory."""
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format=codec.container) as container:
            stream = container.add_stream(codec.encoder, rate=rate, layout="mono")
            assert isinstance(stream, av.AudioStream)
            stream.bit_rate = bit_rate
            if codec.encoder == "g726":
                stream.options = {"code_size": str(bit_rate // 8000)}
            for packet in [*stream.encode(_frame(samples, rate)), *stream.encode(None)]:
                container.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        raise MissingCodecError(codec.encoder) from error
    with av.open(io.BytesIO(buffer.getvalue()), "r") as read:
        return _joined(read.decode(read.streams.audio[0]), rate)


def _through(samples: Sound, codec: Codec, rate: int, bit_rate: int) -> Sound:
    """Encode and decode, with whatever delay the codec has."""
    if codec.container:
        return _through_file(samples, codec, rate, bit_rate)
    encoder = _context(codec.encoder, "w")
    formats = [form.name for form in encoder.codec.audio_formats or ()]
    encoder.sample_rate, encoder.layout = rate, "mono"
    encoder.format = formats[0] if formats else "s16"
    encoder.bit_rate, encoder.time_base = bit_rate, Fraction(1, rate)
    decoder = _context(codec.decoder, "r")
    packets = [*encoder.encode(_frame(samples, rate)), *encoder.encode(None)]
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    decoder.sample_rate, decoder.layout = rate, "mono"
    if encoder.bit_rate:
        decoder.bit_rate = encoder.bit_rate
    return _joined((made for packet in [*packets, None] for made in decoder.decode(packet)), rate)


@functools.lru_cache(maxsize=128)
def delay(name: str, rate: int, bit_rate: int) -> int:
    """Samples by which this codec is late at ``rate`` (negative: early), measured once on a gliding sound."""
    known = CODECS[name].late
    if known is not None:
        return known
    rng = np.random.default_rng(0)
    length = rate
    tone = 120 + 60 * np.sin(np.arange(length) * 7 / rate) + np.cumsum(rng.normal(0, 0.3, length)) * 0.1
    phase = 2 * np.pi * np.cumsum(tone) / rate
    buzz = sum(np.cos(number * phase) / number for number in range(1, 12))
    envelope = np.convolve(np.repeat(rng.uniform(0, 1, 12) ** 2, -(-length // 12))[:length], np.ones(200) / 200, "same")
    sound = ((buzz + 0.05 * rng.standard_normal(length)) * envelope * 0.15).astype(np.float32)
    made = fitted(_through(np.pad(sound, rate // 10), CODECS[name], rate, bit_rate), 2 * length)
    match = fftconvolve(made.astype(np.float64), np.pad(sound, rate // 10)[::-1].astype(np.float64))
    return int(np.argmax(np.abs(match))) - (len(np.pad(sound, rate // 10)) - 1)


def recode(samples: Sound, name: str, rate: int, bit_rate: int) -> Sound:
    """A sound of 16 kHz through a codec that runs at ``rate``: float32 of the same length, in time with the input.

    Raises:
        MissingCodecError: FFmpeg was built without it.
    """
    codec = CODECS[name]
    pad = round(PAD_SECONDS * rate)
    inner = np.pad(resample(samples, RATE, rate), pad)
    made = _through(inner, codec, rate, bit_rate)
    late = pad + delay(name, rate, bit_rate)
    made = made[late:] if late >= 0 else np.pad(made, (-late, 0))
    return fitted(resample(made[: len(inner)], rate, RATE), len(samples))


@functools.cache
def available(name: str) -> bool:
    """Whether this FFmpeg carries a codec both ways."""
    try:
        codec = CODECS[name]
        recode(np.zeros(1600, np.float32), name, codec.rates[0], codec.bit_rates[0])
    except (MissingCodecError, av.FFmpegError):
        return False
    return True
