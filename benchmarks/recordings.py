"""Twenty different recordings of 4 s with speech, made from samples by a committed seed.

Each is another cut of the speech at another level, with a dither of its own: no two share bytes, so that no cache of
any layer can help. They are WAV files of 16 kHz and 16 bits.
"""

from __future__ import annotations

import io
import os
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.audio.source import RATE, Samples, decode_audio

SEED = 20_261_125
SECONDS = 4.0
_ROOT = Path(__file__).resolve().parent.parent
SAMPLES = _ROOT / "samples" / "audio"
_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".m4a")


def speech_files() -> list[Path]:
    """Recordings of speech: the project's samples, or real clips of the training data where there are none.

    Raises:
        FileNotFoundError: neither is there.
    """
    data = Path(os.environ.get("DEEPSCAN_DATA", _ROOT.parent / "shared" / "data"))
    for folder in (SAMPLES, data / "train" / "audio" / "real" / "librispeech_train_clean_100_251spk"):
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
        if found:
            return found[:40]
    raise FileNotFoundError(f"{SAMPLES} is missing: restore samples/ from version control")


def read_speech(files: Sequence[Path], seconds: float = 60.0) -> Samples:
    """At least ``seconds`` of speech, float32 [n] at 16 kHz: the files one after another, again and again."""
    parts, total, place = [], 0, 0
    while total < seconds * RATE:
        part, _ = decode_audio(files[place % len(files)].read_bytes())
        parts.append(part * np.float32(0.5 / max(float(np.abs(part).max()), 1e-3)))
        total += len(part)
        place += 1
    return np.concatenate(parts)


def make_recordings(count: int = 20, seed: int = SEED, files: Sequence[Path] | None = None) -> list[bytes]:
    """WAV files of :data:`SECONDS` with speech.

    Args:
        count: how many; equal counts, seeds and files give equal bytes.
        files: recordings of speech; those of :func:`speech_files` where left out.

    Raises:
        FileNotFoundError: there is no speech to cut from.
    """
    speech = read_speech(speech_files() if files is None else files)
    rng = np.random.default_rng(seed)
    length = int(SECONDS * RATE)
    power = np.cumsum(np.concatenate([[0.0], np.square(speech, dtype=np.float64)]))
    loud = power[length:] - power[:-length]
    # No cut that is half silence: all are to cost what speech costs.
    starts = np.flatnonzero(loud >= np.median(loud))
    recordings = []
    for start in rng.choice(starts, count, replace=False).tolist():
        cut = speech[start : start + length] * rng.uniform(0.4, 1.0)
        cut = cut + rng.normal(0, 1e-4, length)
        recordings.append(encode_pcm(cut.astype(np.float32)))
    return recordings


def encode_pcm(samples: Samples) -> bytes:
    """A WAV file of 16 bits, 16 kHz mono."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
    return buffer.getvalue()
