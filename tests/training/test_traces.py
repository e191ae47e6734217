"""Traces of synthesis: the spectra say what was put in, and the pictures stay what they were."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data as pictures

from training.data.traces import PERIODS, drawn_kernel, enlarged, peak_tile, spectral_peaks, upsampled

Array = NDArray[Any]
PHOTO = np.asarray(cv2.resize(pictures.astronaut()[:300, 50:350], (256, 256), interpolation=cv2.INTER_AREA), np.uint8)  # type: ignore[no-untyped-call]
GREY = np.full((96, 80, 3), 128, np.uint8)


def spectrum(pixels: Array) -> Array:
    """Magnitude of the green channel's two-dimensional spectrum without its mean."""
    green = pixels[..., 1].astype(float)
    return np.asarray(np.abs(np.fft.fft2(green - green.mean())) / green.size)


@pytest.mark.parametrize("factor", [2, 4])
def test_kernels_are_small_and_their_phases_nearly_alike(factor: int) -> None:
    rng = np.random.default_rng(0)
    sides, uneven = set(), []
    for _ in range(40):
        kernel = drawn_kernel(factor, rng)
        sides.add(len(kernel))
        phases = [kernel[row::factor, column::factor].sum() for row in range(factor) for column in range(factor)]
        assert np.mean(phases) == pytest.approx(1, abs=1e-5)
        uneven.append(np.std(phases))
    assert max(sides) <= 2 * factor
    assert len(sides) >= 2
    assert min(uneven) > 0.0005
    assert max(uneven) < 0.08


@pytest.mark.parametrize("factor", [2, 4])
def test_enlarging_keeps_place_and_level(factor: int) -> None:
    """A dot comes back where it was, within a pixel; a plain field stays plain where the phases are alike."""
    kernel = np.ones((factor, factor), np.float32)
    low = np.zeros((20, 24, 3), np.float32)
    low[9, 11] = 100
    made = enlarged(low, factor, kernel)
    assert made.shape == (20 * factor, 24 * factor, 3)
    middle = np.argwhere(made[..., 0] > 50).mean(axis=0)
    assert middle == pytest.approx([9.5 * factor - 0.5, 11.5 * factor - 0.5], abs=0.01)  # nearest-neighbour's own block
    np.testing.assert_allclose(enlarged(np.full((6, 6, 3), 7, np.float32), factor, kernel), 7, rtol=1e-5)


@pytest.mark.parametrize("shape", [(256, 256), (201, 155)])
def test_an_upsampled_photo_is_the_photo_with_a_grid_in_it(shape: tuple[int, int]) -> None:
    photo = PHOTO[: shape[0], : shape[1]]
    for seed in range(12):
        fake = upsampled(photo, np.random.default_rng(seed))
        np.testing.assert_array_equal(fake, upsampled(photo, np.random.default_rng(seed)))
        assert fake.shape == photo.shape
        assert fake.dtype == np.uint8
        assert 0.2 < np.abs(fake.astype(int) - photo).mean() < 12
        moved, _ = cv2.phaseCorrelate(photo[..., 1].astype(float), fake[..., 1].astype(float))
        assert np.abs(moved).max() < 0.8


def test_a_plain_field_shows_the_checkerboard_at_half_or_a_quarter_of_the_sampling_frequency() -> None:
    strong = 0
    for seed in range(20):
        found = spectrum(upsampled(GREY, np.random.default_rng(seed)))
        rows, columns = np.nonzero(found > 1e-3)
        assert all(row * 4 % 96 == 0 and column * 4 % 80 == 0 for row, column in zip(rows, columns))
        strong += found.max() > 0.1
    assert strong > 12


@pytest.mark.parametrize("period", PERIODS)
def test_a_tile_has_no_mean_and_unit_deviation(period: int) -> None:
    rng = np.random.default_rng(period)
    for _ in range(10):
        tile = peak_tile(period, rng)
        assert tile.shape == (period, period, 3)
        np.testing.assert_allclose(tile.mean(axis=(0, 1)), 0, atol=1e-5)
        assert tile.std() == pytest.approx(1, rel=1e-4)


def test_peaks_lie_at_fractions_of_the_sampling_frequency_and_are_faint() -> None:
    photo = np.asarray(cv2.GaussianBlur(PHOTO, (0, 0), 2.0), np.uint8)
    before, places = spectrum(photo), np.arange(256) % 16 == 0
    grid = places[:, None] & places[None]
    grid[0], grid[:, 0] = False, False  # a photo's own border lies on the axes
    ratios = []
    for seed in range(20):
        fake = spectral_peaks(photo, np.random.default_rng(seed))
        assert np.abs(fake.astype(int) - photo).mean() < 6
        after = spectrum(fake)
        peaks = after[grid].max() / before[grid].max()
        ratios.append(peaks)
    assert np.median(ratios) > 2
    plain = spectrum(spectral_peaks(np.full((128, 128, 3), 128, np.uint8), np.random.default_rng(1)))
    rows, columns = np.nonzero(plain > 0.05)
    assert len(rows)
    assert all(row % 8 == 0 and column % 8 == 0 for row, column in zip(rows, columns))
