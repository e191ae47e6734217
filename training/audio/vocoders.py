"""Vocoders of signal processing: WORLD, Griffin-Lim from mel spectra, and linear prediction.

Each takes a sound of 16 kHz and a generator of random numbers, draws its own settings from it, and returns the sound as
it comes back from the vocoder's parameters, in time with the input, with a word that tells the settings.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from training.audio.sounds import RATE, Floats, Sound, fitted, mel_filters
from training.audio.spectra import istft, overlap_add, pitch, stft

Copy = tuple[Sound, str]
Vocoder = Callable[[Sound, np.random.Generator], Copy]


class MissingToolError(ImportError):
    """A package that only makes training data is not installed."""


def _pyworld() -> Any:
    try:
        return importlib.import_module("pyworld")
    except ImportError as error:
        raise MissingToolError("pyworld") from error


def _world_parameters(samples: Sound, rng: np.random.Generator) -> tuple[Floats, Floats, Floats, str]:
    """Pitch [t], spectral envelope and aperiodicity [t, bins] every 5 ms."""
    world = _pyworld()
    signal = samples.astype(np.float64)
    if rng.random() < 0.35:
        name, (f0, times) = "harvest", world.harvest(signal, RATE)
    else:
        name, (f0, times) = "dio", world.dio(signal, RATE)
        f0 = world.stonemask(signal, f0, times, RATE)
    return f0, world.cheaptrick(signal, f0, times, RATE), world.d4c(signal, f0, times, RATE), name


def _coded(envelope: Floats, aperiodicity: Floats, size: int) -> tuple[Floats, Floats]:
    """Envelope in ``size`` cepstral values and aperiodicity in bands, as statistical synthesis has them."""
    world = _pyworld()
    length = (envelope.shape[1] - 1) * 2
    envelope = world.decode_spectral_envelope(world.code_spectral_envelope(envelope, RATE, size), RATE, length)
    bands = world.code_aperiodicity(aperiodicity, RATE)
    return envelope, np.ascontiguousarray(world.decode_aperiodicity(bands, RATE, length))


def world_copy(samples: Sound, rng: np.random.Generator) -> Copy:
    """WORLD with coded parameters (24 to 60 cepstral values); one copy in five keeps them whole."""
    f0, envelope, aperiodicity, name = _world_parameters(samples, rng)
    size = int(rng.choice([0, 24, 32, 40, 60]))
    if size:
        envelope, aperiodicity = _coded(envelope, aperiodicity, size)
    made = _pyworld().synthesize(f0, np.ascontiguousarray(envelope), aperiodicity, RATE)
    return fitted(made, len(samples)), f"{name}-{size or 'whole'}"


def world_conversion(samples: Sound, rng: np.random.Generator) -> Copy:
    """WORLD with another voice: pitch moved, formants moved, coded parameters smoothed as converters do."""
    f0, envelope, aperiodicity, name = _world_parameters(samples, rng)
    higher = rng.random() < 0.5
    tone = float(rng.uniform(1.15, 1.6) if higher else rng.uniform(0.65, 0.87))
    warp = float(rng.uniform(1.03, 1.18) if higher else rng.uniform(0.85, 0.97))
    places = np.clip(np.arange(envelope.shape[1]) / warp, 0, envelope.shape[1] - 1)
    below = np.minimum(places.astype(np.int64), envelope.shape[1] - 2)
    share = places - below
    logs = np.log(envelope + 1e-16)
    envelope = np.exp(logs[:, below] * (1 - share) + logs[:, below + 1] * share)
    size = int(rng.choice([24, 40, 60]))
    envelope, aperiodicity = _coded(np.ascontiguousarray(envelope), aperiodicity, size)
    made = _pyworld().synthesize(f0 * tone, np.ascontiguousarray(envelope), aperiodicity, RATE)
    return fitted(made, len(samples)), f"{name}-{size}-pitch{tone:.2f}-warp{warp:.2f}"


def griffin_lim(samples: Sound, rng: np.random.Generator) -> Copy:
    """Magnitudes from mel bands, phases by fast Griffin-Lim (momentum 0.99), 30 to 60 rounds."""
    size, hop, bands = ((512, 128, 64), (1024, 256, 80), (1024, 200, 80), (1024, 256, 128), (2048, 512, 128))[
        int(rng.integers(5))
    ]
    rounds = int(rng.integers(30, 61))
    filters = mel_filters(RATE, size, bands).astype(np.float64)
    mel = np.maximum(np.abs(stft(samples, size, hop)) @ filters.T, 1e-6)
    size_of = np.maximum(mel @ np.linalg.pinv(filters).T, 1e-7)
    # Multiplicative updates find magnitudes that are not negative and give these mel bands.
    shares = mel @ filters
    for _ in range(12):
        size_of *= shares / np.maximum(size_of @ (filters.T @ filters), 1e-12)
    length = len(samples)
    phases = np.exp(2j * np.pi * rng.random(size_of.shape))
    before = np.zeros_like(phases)
    for _ in range(rounds):
        rebuilt = stft(istft(size_of * phases, size, hop, length), size, hop)[: len(size_of)]
        ahead = rebuilt + 0.99 * (rebuilt - before)
        before = rebuilt
        phases = ahead / np.maximum(np.abs(ahead), 1e-12)
    return fitted(istft(size_of * phases, size, hop, length), length), f"fft{size}-mel{bands}-rounds{rounds}"


def levinson(lags: Floats, order: int) -> tuple[Floats, Floats]:
    """Predictors of many frames at once: from autocorrelations [t, > order] to [t, order + 1] and the error [t]."""
    predictor = np.zeros((len(lags), order + 1))
    predictor[:, 0] = 1.0
    error = lags[:, 0].copy()
    for step in range(1, order + 1):
        reflection = -np.einsum("ti,ti->t", predictor[:, :step], lags[:, step:0:-1]) / error
        predictor[:, 1 : step + 1] += reflection[:, None] * predictor[:, step - 1 :: -1][:, :step]
        error = error * np.maximum(1 - reflection**2, 1e-9)
    return predictor, error


def _pulses(f0: Floats, hop: int, length: int) -> Floats:
    """A train of unit-power pulses at the pitch of the frames; no pulse where it is 0."""
    track = np.repeat(f0, hop)[:length]
    track = np.pad(track, (0, length - len(track)), mode="edge")
    beats = np.floor(np.cumsum(track / RATE))
    train = np.diff(beats, prepend=0.0) > 0
    return np.where(train, np.sqrt(RATE / np.maximum(track, 40.0)), 0.0)


def linear_prediction(samples: Sound, rng: np.random.Generator) -> Copy:
    """Linear prediction of order 14 to 24 with pulses and noise, mixed bands, or the largest values of its error."""
    size, hop, bins = 512, 128, 1024
    order = int(rng.integers(14, 25))
    kind = ("pulse", "mixed", "multipulse")[int(rng.integers(3))]
    window = np.hanning(size + 1)[:-1]
    around = np.pad(samples.astype(np.float64), size)
    frames = np.lib.stride_tricks.sliding_window_view(around, size)[::hop] * window
    lags = np.fft.irfft(np.abs(np.fft.rfft(frames, bins, axis=1)) ** 2, axis=1)[:, : order + 1]
    lags[:, 0] = lags[:, 0] * (1 + 1e-5) + 1e-7
    predictor, error = levinson(lags, order)
    shape = np.fft.rfft(predictor, bins, axis=1)
    gain = np.sqrt(np.maximum(error, 1e-12) / (window**2).sum())
    f0, strength = pitch(samples, hop)
    lead = size // hop
    # Frame k of this analysis begins k hops into the padded sound: its middle is (k - lead / 2) hops into the sound.
    places = np.clip(np.arange(len(frames)) - lead // 2, 0, len(f0) - 1)
    voiced = np.median(np.stack([np.roll(f0, 1), f0, np.roll(f0, -1)]), axis=0)
    pulses = np.pad(_pulses(voiced, hop, len(samples)), size)
    noise = rng.standard_normal(len(around))

    def view(signal: Floats) -> Floats:
        return np.lib.stride_tricks.sliding_window_view(signal, size)[::hop][: len(frames)]

    if kind == "multipulse":
        answer = np.fft.irfft(np.fft.rfft(frames, bins, axis=1) * shape, axis=1)[:, :size]
        least = np.sort(np.abs(answer), axis=1)[:, -size // 10][:, None]
        source = np.fft.rfft(np.where(np.abs(answer) >= least, answer, 0.0), bins, axis=1)
        spectra = source / shape
    else:
        tonal = (voiced[places] > 0)[:, None]
        beat = np.fft.rfft(view(pulses) * window, bins, axis=1)
        hiss = np.fft.rfft(view(noise) * window, bins, axis=1)
        share = np.zeros((1, bins // 2 + 1))
        if kind == "mixed":
            share = 1 / (1 + np.exp(-(np.linspace(0, RATE / 2, bins // 2 + 1)[None] - 2500) / 400))
            share = np.clip(share + (0.7 - strength[places])[:, None], 0, 1)
        source = np.where(tonal, beat * np.sqrt(1 - share) + hiss * np.sqrt(share), hiss)
        spectra = source * gain[:, None] / shape
    pieces = np.fft.irfft(spectra, axis=1)
    made = overlap_add(pieces, hop) / (size / hop / 2)
    return fitted(made[size:], len(samples)), f"{kind}-order{order}"


#: Copies by signal processing: name and vocoder.
CLASSIC: dict[str, Vocoder] = {
    "world": world_copy,
    "world_vc": world_conversion,
    "griffin_lim": griffin_lim,
    "lpc": linear_prediction,
}
