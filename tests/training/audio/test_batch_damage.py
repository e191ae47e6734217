"""Damage of batches: both of a pair alike, what each step does to sounds that are known."""

from __future__ import annotations

import torch

from pipelines.audio.windows import CELL, DITHER, RATE, SAMPLES
from training.audio.batch_damage import Dice, called, coded, damaged, faster, response

CPU = torch.device("cpu")


def noises(pairs: int, cells: int = SAMPLES // CELL) -> torch.Tensor:
    """Pairs of equal noises that last so many cells."""
    made = torch.randn(pairs, 1, SAMPLES, generator=torch.Generator().manual_seed(3)).repeat(1, 2, 1) * 0.06
    made[:, :, cells * CELL :] = 0
    return made


def tone(hertz: float) -> torch.Tensor:
    """A pair of tones."""
    return torch.sin(2 * torch.pi * hertz * torch.arange(SAMPLES) / RATE).repeat(1, 2, 1) * 0.06


def test_both_of_a_pair_get_the_same_and_pairs_get_different_damage() -> None:
    for seed in range(4):
        made, cells = damaged(noises(6, 100), torch.full((6,), 100), Dice(seed, CPU))
        assert torch.isfinite(made).all()
        assert torch.equal(made[:, 0], made[:, 1])
        assert (cells <= 113).all()
        for each, count in zip(made, cells.tolist(), strict=True):
            assert not each[:, count * CELL :].any()
            level = each[0, : count * CELL].square().mean().sqrt()
            assert abs(float(level) - 0.06) < 0.002
        again, _ = damaged(noises(6, 100), torch.full((6,), 100), Dice(seed, CPU))
        assert torch.equal(made, again)
    shapes = torch.fft.rfft(made[:, 0]).abs().reshape(6, -1)[:, :32_000].reshape(6, 32, -1).mean(dim=2)
    assert (shapes[1:] / shapes[:1]).std() > 0.05


def test_speed_moves_a_tone_and_the_end() -> None:
    for factor in (0.9, 1.1):
        made, cells = faster(tone(1000.0), torch.tensor([100]), factor)
        assert cells.tolist() == [int(100 / factor)]
        heard = made[0, 0, : int(cells) * CELL]
        peak = torch.fft.rfft(heard).abs().argmax() * RATE / len(heard)
        assert abs(float(peak) - 1000 * factor) < 1
        assert abs(float(heard.square().mean().sqrt()) - 0.06 * 0.707) < 1e-3


def test_a_response_without_damage_is_one_and_bands_are_cut() -> None:
    gains = response(400, Dice(1, CPU)).abs()[:, 0]
    assert (torch.isclose(gains, torch.ones(()), atol=0.02).all(dim=1)).any()
    assert ((gains[:, -200:].amax(dim=1) < 1e-3) & (gains[:, :4000].amax(dim=1) > 0.1)).float().mean() > 0.05


def test_a_codec_leaves_holes() -> None:
    sound = noises(8)
    made = coded(sound, Dice(5, CPU))
    assert made.shape == sound.shape
    loss = 10 * torch.log10(sound.square().mean(dim=(1, 2)) / (made - sound).square().mean(dim=(1, 2)))
    assert float(loss.min()) > -3
    assert float(loss.min()) < 15 < float(loss.max())


def test_a_telephone_keeps_a_narrow_band_in_coarse_steps() -> None:
    assert not torch.equal(called(tone(1000.0), Dice(5, CPU)), tone(1000.0))
    loss = (called(tone(1000.0), Dice(5, CPU)) - tone(1000.0))[0, 0].square().mean() / tone(1000.0)[
        0, 0
    ].square().mean()
    assert -60 < float(10 * torch.log10(loss)) < -20
    shape = torch.fft.rfft(called(noises(4), Dice(5, CPU))).abs()[:, 0]
    hertz = torch.arange(shape.shape[1]) * (RATE / SAMPLES)
    whole = shape[:, (hertz > 600) & (hertz < 3000)].mean()
    assert shape[:, hertz > 4100].max() < 0.01 * whole
    assert shape[:, hertz < 60].mean() < 0.1 * whole


def test_dither_is_added_where_there_is_recording() -> None:
    quiet = torch.zeros(2, 2, SAMPLES)
    quiet[:, :, : 8 * CELL] = tone(500.0)[:, :, : 8 * CELL]
    made, cells = damaged(quiet, torch.full((2,), 60), Dice(0, CPU))
    for each, count in zip(made, cells.tolist(), strict=True):
        assert float(each[0, (count - 5) * CELL : count * CELL].std()) > DITHER * 0.5
