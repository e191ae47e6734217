"""What happens to a recording on its way: the conditions of the robustness sweep for voices.

Each condition gives a file as a user would send it: MP3 and Opus are really encoded, a telephone's eight kilohertz are
really in the file, so that decoding and all measures of the sound see what they see in service. Noise is drawn from a
seed, so that the same clip is damaged in the same way each time.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from scipy import signal

RATE = 16_000
Sound = NDArray[np.float32]
_TALKERS = 5
_BAND = (300.0, 3400.0)
"""Hertz that a telephone line carries (ITU-T G.712)."""


@dataclass(frozen=True)
class SoundCondition:
    """A kind of damage.

    Attributes:
        name: in the report.
        noise: ``white``, ``babble`` or empty; snr_db: power of the clip over power of the noise.
        telephone: band of a telephone line, eight kilohertz, mu-law.
        container, codec, rate, bit_rate: of the file that is sent.
    """

    name: str
    noise: str = ""
    snr_db: float = 0.0
    telephone: bool = False
    container: str = "wav"
    codec: str = "pcm_s16le"
    rate: int = RATE
    bit_rate: int = 0

    def apply(self, samples: Sound, voices: Sequence[Sound] = (), seed: int = 0) -> bytes:
        """The damaged clip as a file.

        Args:
            samples: float32 [n] in -1 to 1, 16 kHz mono.
            voices: of other people, for babble.
            seed: of the noise.

        Raises:
            ValueError: babble without voices, or a noise that is none.
        """
        sound = samples
        if self.noise:
            rng = np.random.default_rng(seed)
            noise = _noise(self.noise, len(samples), voices, rng)
            sound = samples + noise * np.float32(_rms(samples) * 10 ** (-self.snr_db / 20) / max(_rms(noise), 1e-9))
            # A recorder turns its level down; it does not clip because of noise.
            sound = sound * np.float32(min(1.0, 0.99 / max(float(np.abs(sound).max(initial=0.0)), 1e-9)))
        if self.telephone:
            sound = signal.sosfiltfilt(signal.butter(6, _BAND, "bandpass", fs=RATE, output="sos"), sound)
        return write_sound(np.asarray(sound, np.float32), self.container, self.codec, self.rate, self.bit_rate)


CONDITIONS = (
    SoundCondition("none"),
    SoundCondition("mp3 64 kbit/s", container="mp3", codec="libmp3lame", rate=44_100, bit_rate=64_000),
    SoundCondition("opus 16 kbit/s", container="ogg", codec="libopus", rate=48_000, bit_rate=16_000),
    SoundCondition("telephone 8 kHz", telephone=True, codec="pcm_mulaw", rate=8_000),
    SoundCondition("white 20 dB", noise="white", snr_db=20),
    SoundCondition("white 10 dB", noise="white", snr_db=10),
    SoundCondition("babble 20 dB", noise="babble", snr_db=20),
    SoundCondition("babble 10 dB", noise="babble", snr_db=10),
)


def write_sound(samples: Sound, container: str, codec: str, rate: int = RATE, bit_rate: int = 0) -> bytes:
    """A file of samples (float32 [n], 16 kHz mono), resampled to ``rate`` and encoded by PyAV."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        if bit_rate:
            stream.bit_rate = bit_rate
        context = stream.codec_context
        resampler = av.AudioResampler(format=context.format.name, layout="mono", rate=rate, frame_size=_frame(context))
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def _frame(context: av.AudioCodecContext) -> int:
    """Samples that the encoder wants at a time; 0 for any number."""
    context.open(strict=False)
    return int(context.frame_size or 0)


def _noise(kind: str, length: int, voices: Sequence[Sound], rng: np.random.Generator) -> Sound:
    if kind == "white":
        return rng.standard_normal(length).astype(np.float32)
    if kind != "babble":
        raise ValueError(f"no noise {kind!r}: there are white and babble")
    heard = [voice for voice in voices if len(voice) >= RATE // 2 and _rms(voice) > 1e-4]
    if not heard:
        raise ValueError("babble needs other voices")
    total = np.zeros(length, np.float32)
    for place in rng.choice(len(heard), _TALKERS, replace=len(heard) < _TALKERS):
        voice = heard[int(place)]
        turned = np.roll(voice, -int(rng.integers(len(voice))))
        total += np.resize(turned / np.float32(_rms(voice)), length)
    return total


def _rms(samples: Sound) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
