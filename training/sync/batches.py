"""Stretches of talking clips for training: lips, and a longer piece of sound that holds their own somewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import fftconvolve
from torch import Tensor

from pipelines.analyzers.lip_sync import speech_by_frame
from pipelines.audio.mel import BANDS, log_mel
from pipelines.audio.source import RATE, Samples
from pipelines.video.lips import MEASURES, MOST
from pipelines.video.lips import RATE as FRAMES_A_SECOND
from training.sync.cache import TalkingClip

FRAMES = 40
"""Frames of a stretch of mouth."""
REACH = 15
"""Greatest offset in frames."""
SAMPLES = RATE // FRAMES_A_SECOND
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Talk:
    """A clip ready for training: ``lips`` [t, 14], ``mels`` [k, 4 t, 40] in variants (the first as it is), ``speech``
    and ``seen`` [t]."""

    name: str
    group: str
    label: int
    lips: Floats
    mels: Floats
    speech: Floats
    seen: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.speech)


def ready(clip: TalkingClip, group: str, variants: int = 0, seed: int = 0) -> Talk:
    """Lips and sound on one clock; ``variants`` damaged copies of the sound beside the clean one."""
    first = round(clip.lips.start * RATE)
    heard = clip.samples[first:]
    count = min(len(clip.lips), len(heard) // SAMPLES)
    rng = np.random.default_rng(seed)
    sounds = [heard, *(damaged(heard, rng) for _ in range(variants))]
    mels = np.stack([log_mel(sound)[: 4 * count] for sound in sounds])
    spoken = speech_by_frame(clip.speech, first, count)
    return Talk(clip.path, group, clip.label, clip.lips.measures[:count], mels, spoken, clip.lips.seen[:count])


def damaged(samples: Samples, rng: np.random.Generator) -> Samples:
    """Sound after a random colour, noise at 5 to 35 dB and a random echo."""
    count = len(samples)
    spectrum = np.fft.rfft(samples)
    bins = np.linspace(0, 1, len(spectrum))
    tilt = np.interp(bins, np.linspace(0, 1, 6), rng.uniform(-9, 9, 6))
    if rng.random() < 0.3:  # a telephone
        tilt = tilt - 60.0 * (bins > rng.uniform(0.4, 0.9))
    sound = np.fft.irfft(spectrum * 10 ** (tilt / 20), count)
    if rng.random() < 0.5:
        length = int(rng.uniform(0.05, 0.25) * RATE)
        echo = rng.standard_normal(length) * np.exp(-6.0 * np.arange(length) / length)
        echo[0] = 0.0
        wet = fftconvolve(sound, echo / np.linalg.norm(echo))[:count]
        sound = sound + rng.uniform(0.1, 0.5) * wet
    colour = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) / (bins + 0.01) ** rng.uniform(0.0, 1.0), count)
    loud, soft = float(np.sqrt(np.mean(sound**2))), float(np.sqrt(np.mean(colour**2)))
    noisy = sound + colour * (loud / max(soft, 1e-9)) * 10 ** (-rng.uniform(5, 35) / 20)
    return np.asarray(noisy, dtype=np.float32)


def draw(talks: Sequence[Talk], batch: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One batch.

    Returns:
        lips float32 [n, 40, 14], mel float32 [n, 4 (40 + 30), 40], and int64 [n]: at which frame of the sound
        the lips' own begins, 0 to 30; and int64 [n]: which clip it is.
    """
    lips = np.empty((batch, FRAMES, MEASURES), np.float32)
    mels = np.zeros((batch, 4 * (FRAMES + 2 * REACH), BANDS), np.float32)
    begins = np.empty(batch, np.int64)
    longer = FRAMES + 2 * REACH
    shares = np.sqrt([len(talk) for talk in talks])
    order = rng.choice(len(talks), batch, p=shares / shares.sum())
    for item, which in enumerate(order):
        talk = talks[int(which)]
        pace = float(rng.uniform(0.85, 1.15)) if rng.random() < 0.5 else 1.0
        pace = min(pace, (len(talk) - 1) / longer)
        first = _start(talk, pace, rng)
        lead = int(rng.integers(0, 2 * REACH + 1))
        # Frames of the sound's piece on the clip's clock; it is moved to lie inside the clip.
        origin = float(np.clip(first - lead * pace, 0, len(talk) - 1 - pace * (longer - 1)))
        lead = int(np.clip(round((first - origin) / pace), 0, 2 * REACH))
        first = origin + lead * pace
        lips[item] = _moved(_at(talk.lips, first + pace * np.arange(FRAMES)), rng)
        mel = talk.mels[int(rng.integers(len(talk.mels)))]
        mels[item] = _masked(_at(mel, 4 * origin + pace * np.arange(4 * longer)), rng)
        begins[item] = lead
    return torch.from_numpy(lips), torch.from_numpy(mels), torch.from_numpy(begins), torch.from_numpy(order)


def _start(talk: Talk, pace: float, rng: np.random.Generator) -> float:
    """A place to begin in a clip where somebody speaks and the face is seen."""
    last = len(talk) - 1 - pace * (FRAMES - 1)
    best, most = 0.0, -1.0
    for _ in range(4):
        first = float(rng.uniform(0, max(0.0, last)))
        span = slice(int(first), int(first + pace * FRAMES))
        good = float(talk.speech[span].mean() * talk.seen[span].mean())
        if good > most:
            best, most = first, good
        if good > 0.5:
            break
    return best


def _at(values: npt.NDArray[np.generic], places: npt.NDArray[np.float64]) -> Floats:
    """Rows at fractional places, mixed of their neighbours."""
    low = np.clip(np.floor(places).astype(int), 0, len(values) - 1)
    high = np.minimum(low + 1, len(values) - 1)
    share = (places - low).clip(0, 1).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(values[low] * (1 - share) + values[high] * share, dtype=np.float32)


def _moved(lips: Floats, rng: np.random.Generator) -> Floats:
    """A stretch of another mouth: wider or narrower movements, each measure a little its own way, and noise."""
    size = np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.1, MEASURES))
    noise = rng.standard_normal(lips.shape) * rng.uniform(0.02, 0.15)
    return np.asarray(np.clip(lips * size + noise, -MOST, MOST), dtype=np.float32)


def _masked(mel: Floats, rng: np.random.Generator) -> Floats:
    """The spectrogram with two bands of frequencies blanked, shifted a little in pitch."""
    mel = np.roll(mel, int(rng.integers(-2, 3)), axis=1)
    for _ in range(2):
        low = int(rng.integers(0, BANDS))
        mel[:, low : low + int(rng.integers(0, 7))] = 0.0
    return mel
