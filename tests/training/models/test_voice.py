"""The voice networks: the front end against NumPy, what padding changes, local scores, export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from export.networks import INPUTS, example_arrays, half, outputs_of, served_form
from export.torch_graph import parity, to_onnx
from pipelines.audio.windows import CELL, CELLS, SAMPLES
from training.models.registry import NETWORKS, network
from training.models.voice_cepstra import VoiceCepstra
from training.models.voice_deviations import (
    APART,
    FEATURES,
    FILTERS,
    FLOOR,
    PHASES,
    PLACES,
    SIZES,
    Deviations,
    phases,
    rows_of,
)
from training.models.voice_frontend import WHOLE, cosines, filter_bank

VOICES = tuple(name for name, entry in NETWORKS.items() if entry.family == "audio")


def windows(items: int, cells: int = CELLS, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with a slow envelope; ``cells`` of it are recording."""
    rng = np.random.default_rng(seed)
    envelope = 0.02 + np.abs(np.sin(np.arange(SAMPLES) / 3000 + seed))
    audio = (rng.standard_normal((items, SAMPLES)) * envelope * 0.05).astype(np.float32)
    mask = np.ones((items, CELLS), np.float32)
    audio[:, cells * CELL :], mask[:, cells:] = 0, 0
    return torch.from_numpy(audio), torch.from_numpy(mask)


def slopes(series: np.ndarray) -> np.ndarray:
    """Regression over five frames."""
    return (series[3:-1] - series[1:-3] + 2 * (series[4:] - series[:-4])) / 10


def spread(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighed variance over the frames."""
    mean = np.average(values, axis=0, weights=weight)
    return np.average((values - mean) ** 2, axis=0, weights=weight)


def coherence(product: np.ndarray, size: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """How far complex numbers of a band point one way."""
    return np.sqrt(np.abs(product @ bank) ** 2 + 1) / (size @ bank + 1)


def reference_deviations(audio: np.ndarray, cells: int) -> np.ndarray:
    """Features of one window in plain NumPy, with complex numbers, frame by frame."""
    found = []
    for size in SIZES:
        hop, bank = size // 2, filter_bank(size, FILTERS).numpy().astype(np.float64)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
        window /= np.sqrt((window**2).sum() * FLOOR)
        until = min(WHOLE, cells * CELL)
        frames = [audio[start : start + size] * window for start in range(0, until - size + 1, hop)]
        bins = np.fft.rfft(np.array(frames, np.float64), axis=1)[:, : size // 2]
        bands = np.log(np.abs(bins) ** 2 @ bank + 1)
        level = bands.mean(axis=1)
        loud = 1 / (1 + np.exp(-4 * (level - level.mean()) / (level.std() + 1e-3)))
        coefficients, own, weight = bands @ cosines(FILTERS, FILTERS).numpy(), bands, loud
        for order in range(3):
            if order:
                coefficients, own, weight = slopes(coefficients), slopes(own), weight[2:-2]
            everywhere = np.ones(len(weight))
            for values, share in ((coefficients, everywhere), (coefficients, weight), (own, weight)):
                found.append(np.log(spread(values, share) + 1e-6) / 2)
        about = bands - np.average(bands, axis=0, weights=loud)
        for apart in APART:
            both = np.average(about[:, apart:] * about[:, :-apart], axis=0, weights=loud)
            alone = spread(bands, loud)
            found.append(both / np.sqrt(alone[apart:] * alone[:-apart] + 1e-6))
        if size in PHASES:
            near = bins[:, 1:] * bins[:, :-1].conj()
            found.append(np.sqrt(spread(coherence(near, np.abs(near), bank[:-1]), loud)))
            turn = bins[2:] * bins[1:-1].conj() ** 2 * bins[:-2]
            root = np.sqrt(np.abs(turn) + 1)
            found.append(np.sqrt(spread(coherence(turn / root, root, bank), loud[2:])))
    return np.concatenate(found)


@pytest.mark.parametrize("cells", [CELLS, 70])
def test_deviations_equal_numpy(cells: int) -> None:
    audio, mask = windows(1, cells)
    with torch.inference_mode():
        whole, _ = VoiceCepstra().front(audio, mask)
    assert whole.shape == (1, FEATURES)
    np.testing.assert_allclose(whole[0].numpy(), reference_deviations(audio[0].numpy(), cells), atol=2e-3)


def test_a_stretch_of_a_steady_window_has_the_features_of_the_window() -> None:
    audio, mask = windows(1)
    audio = 0.05 * torch.randn(1, SAMPLES, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        whole, local = Deviations()(audio, mask)
    inner = local[0, 4:-4].mean(dim=0)
    assert float(torch.corrcoef(torch.stack([whole[0], inner]))[0, 1]) > 0.98
    torch.testing.assert_close(inner, whole[0], atol=0.35, rtol=0)


def test_coherence_is_one_for_a_pulse_and_for_a_steady_tone() -> None:
    """A pulse turns every bin by the same angle as its neighbour, a tone each frame by the same as the one before."""
    bins, frames = 64, WHOLE // CELL - 1
    bank = torch.ones(bins, 1) / bins
    generator = torch.Generator().manual_seed(1)
    places = torch.arange(bins) * 0.3
    starts = torch.rand(frames, 1, generator=generator) * 6
    random = torch.rand(frames, bins, generator=generator) * 6
    tones = torch.rand(1, bins, generator=generator) * 6
    strength = 1e3 * (1 + 0.5 * (torch.arange(frames) % 2))[:, None]
    weight = torch.ones(1, frames)

    def deviations(angle: torch.Tensor) -> tuple[float, float]:
        real, imaginary = strength * torch.cos(angle), strength * torch.sin(angle)
        pulse, steady = phases(real[None], imaginary[None], bank, weight, rows_of(CELL))
        return float(pulse[0, 0]), float(steady[0, 0])

    pulse = deviations(places + starts)
    tone = deviations(tones * (1 + torch.arange(frames)[:, None]))
    noise = deviations(random)
    assert pulse[0] < 1e-3 < noise[0]
    assert tone[1] < 1e-3 < noise[1]


def test_local_deviations_follow_the_place() -> None:
    audio, mask = windows(1)
    audio[:, : SAMPLES // 2] *= 0.0
    audio[:, : SAMPLES // 2] += 0.03 * torch.sin(torch.arange(SAMPLES // 2) / 3.0)
    with torch.inference_mode():
        _, local = VoiceCepstra().front(audio, mask)
    assert local.shape == (1, PLACES, FEATURES)
    steady, noisy = local[0, 5:11, :FILTERS].mean(), local[0, 21:27, :FILTERS].mean()
    assert steady < noisy - 1.0


@pytest.mark.parametrize("name", VOICES)
def test_what_lies_behind_the_mask_changes_little(name: str) -> None:
    torch.manual_seed(1)
    model = network(name).build().eval()
    audio, mask = windows(2, 80)
    with torch.inference_mode():
        before = model(audio, mask)
        audio[:, 82 * CELL :] = 0.05
        after = model(audio, mask)
    assert before.frames.shape == (2, PLACES)
    scale = 1.0 + before.logit.abs().max()
    torch.testing.assert_close(before.logit, after.logit, atol=0.02 * float(scale), rtol=0)


@pytest.mark.parametrize("name", VOICES)
def test_a_network_learns_from_a_few_windows(name: str) -> None:
    torch.manual_seed(2)
    model = network(name).build().train()
    quiet, mask = windows(3)
    loud = quiet + 0.01 * torch.randn_like(quiet)
    audio, labels = torch.cat([quiet, loud]), torch.tensor([0.0] * 3 + [1.0] * 3)
    # A step moves the log-odds by the rate times the sum of all features, of which the linear head has thousands.
    rate = 1e-4 if name == "voice_cepstra" else 3e-3
    optimiser = torch.optim.AdamW(model.parameters(), rate)
    losses = []
    for _ in range(6):
        answer = model(audio, mask.repeat(2, 1))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(answer.logit[:, 0], labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", VOICES)
def test_the_exported_graph_answers_alike(name: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    entry = network(name)
    served = served_form(entry, half(entry.build(), entry.example()), None)
    arrays = example_arrays(entry, entry.size, 5)
    names = INPUTS["audio"]
    graph = to_onnx(served, [torch.from_numpy(arrays[key][:2]) for key in names], names, name, outputs_of(entry))
    path = tmp_path / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    errors = parity(served, path, arrays, outputs=outputs_of(entry))
    assert max(errors.values()) < 2e-4
    # Digital silence: the floor under the logarithm must have survived the exporter.
    silent = {"AUDIO": np.zeros((3, SAMPLES), np.float32), "MASK": np.ones((3, CELLS), np.float32)}
    for answer in onnxruntime.InferenceSession(str(path)).run(list(outputs_of(entry)), silent):
        assert np.isfinite(answer).all()


def test_raw_network_stays_within_its_budget() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = network("voice_raw").build().eval()
    with FlopCounterMode(display=False) as counted:
        model(*network("voice_raw").example(1))
    assert counted.get_total_flops() / 2 < 0.5e9
