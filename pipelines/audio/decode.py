"""A short recording in one piece, for the stage ``audio_decode``. Its GPU twin is the one of ``export/dali_audio.py``.

DALI reads WAV, FLAC and OGG as PyAV does, to the last bit. Its resampler does not: it has no filter before it leaves
samples out, so that everything above 8 kHz folds back into the band. So the twin hands on samples at the stored rate,
and :func:`at_16_khz` brings them to 16 kHz by the same resampler as everywhere else.
"""

from __future__ import annotations

import av
import numpy as np
from av.audio.frame import AudioFrame

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import LimitError
from pipelines.audio.source import RATE, AudioInfo, Samples, open_audio

WHOLE_SECONDS = 60
"""Longest recording that goes through the stage in one piece; longer ones are decoded block by block."""
_DALI_READS = {"wav": ("pcm_",), "flac": ("flac",), "ogg": ("vorbis", "flac")}


def dali_reads(info: AudioInfo) -> bool:
    """Whether DALI gives the same samples for this recording, so that it may be sent there.

    One channel only: DALI averages channels also where they cancel each other, which PyAV's way notices.
    """
    codecs = _DALI_READS.get(info.format, ())
    return info.codec.startswith(codecs or ("-",)) and info.channels == 1 and 0 < info.duration_s <= WHOLE_SECONDS


def decode_whole(data: bytes) -> tuple[Samples, AudioInfo]:
    """Samples at 16 kHz mono, float32 [n].

    Raises:
        MediaError, LimitError: as :func:`pipelines.audio.source.open_audio`, and where it is longer than a minute.
    """
    source = open_audio(data)
    blocks: list[Samples] = []
    for block in source.blocks(WHOLE_SECONDS):
        if blocks:
            raise LimitError(
                f"the recording is longer than {WHOLE_SECONDS} s",
                code=ErrorCode.TOO_LONG,
                remedy="ask deepfake_audio, which takes it block by block",
            )
        blocks.append(block)
    return blocks[0], source.info


def at_16_khz(samples: Samples, rate: float) -> Samples:
    """What DALI decoded, float32 [n] at the stored rate, as PyAV's way would give it: float32 [m] in -1 to 1."""
    if round(rate) == RATE:
        return np.clip(samples, -1.0, 1.0)
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples, dtype=np.float32)[None], format="flt", layout="mono")
    frame.sample_rate = round(rate)
    resampler = av.AudioResampler(format="flt", rate=RATE)
    parts = [part.to_ndarray()[0] for given in (frame, None) for part in resampler.resample(given)]
    joined: Samples = np.concatenate([np.zeros(0, np.float32), *parts])
    return np.clip(joined, -1.0, 1.0)
