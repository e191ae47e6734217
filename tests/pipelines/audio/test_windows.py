"""The windows that training and serving share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.audio.windows import (
    CELL,
    CELLS,
    GAP,
    LEAST_SPEECH,
    LEVEL,
    RATE,
    SAMPLES,
    Windower,
    Windows,
    high_pass,
    windows_of,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "voice_windows.npz"


def recording(seconds: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Bursts of noise on an offset, and where they are."""
    rng = np.random.default_rng(seed)
    count = int(seconds * RATE)
    samples = (0.02 + 0.001 * rng.standard_normal(count)).astype(np.float32)
    speech = np.zeros(count // CELL, np.float32)
    place = 0
    while place < len(speech):
        begin, length = place + int(rng.integers(1, 90)), int(rng.integers(2, 160))
        speech[begin : begin + length] = 0.9
        place = begin + length
    loud = np.repeat(speech, CELL) > 0.5
    samples[: len(loud)][loud] += (0.1 * rng.standard_normal(int(loud.sum()))).astype(np.float32)
    return samples, speech


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 40.0), st.integers(1, 60_000))
def test_a_stream_gives_the_windows_of_the_whole(seed: int, seconds: float, block: int) -> None:
    samples, speech = recording(seconds, seed)
    whole = windows_of(samples, speech)
    windower, parts, told = Windower(), [], 0
    for start in range(0, len(samples), block):
        piece = samples[start : start + block]
        until = max(told, min((start + len(piece)) // CELL - seed % 3, len(speech)))
        parts.append(windower.feed(piece, speech[told:until]))
        told = until
    parts.append(windower.finish(speech[told:]))
    streamed = Windows.join(parts)
    for name in ("audio", "mask", "start", "speech"):
        np.testing.assert_array_equal(getattr(streamed, name), getattr(whole, name))


def test_speech_is_covered_and_nothing_else_is_scored() -> None:
    samples, speech = recording(60.0, 5)
    windows = windows_of(samples, speech)
    covered = np.zeros(len(speech) + CELLS)
    for start, mask in zip(windows.start, windows.mask):
        covered[start : start + CELLS] += mask
    spoken = speech > 0.5
    assert (covered[: len(speech)][spoken] == 0).sum() < LEAST_SPEECH * 3
    far = np.convolve(spoken, np.ones(2 * GAP + 1), mode="same") == 0
    assert not covered[: len(speech)][far].any()
    assert (np.diff(windows.start) > 0).all()


def test_no_speech_gives_no_window() -> None:
    assert len(windows_of(np.zeros(5 * RATE, np.float32), np.zeros(5 * RATE // CELL, np.float32))) == 0
    assert len(windows_of(np.zeros(0, np.float32), np.zeros(0, np.float32))) == 0


def test_memory_does_not_grow_with_the_recording() -> None:
    windower = Windower()
    samples, speech = recording(30.0)
    for _ in range(8):
        windower.feed(samples[: len(speech) * CELL], speech)
    assert len(windower._raw) < 45 * RATE


@pytest.mark.parametrize("factor", [0.001, 0.03, 1.0])
def test_level_and_offset_are_taken_out(factor: float) -> None:
    samples, speech = recording(6.0, 3)
    first = windows_of(samples, speech)
    other = windows_of((samples * factor + 0.3 * factor).astype(np.float32), speech)
    np.testing.assert_allclose(other.audio, first.audio, atol=4e-4)
    spoken = np.repeat(first.speech[0], CELL)[:SAMPLES] > 0
    assert np.sqrt((first.audio[0][spoken] ** 2).mean()) == pytest.approx(LEVEL, rel=0.01)


def test_exact_zeros_are_covered_and_padding_is_zero() -> None:
    samples, speech = recording(2.0, 3)
    samples[4000:8000] = 0
    speech[:] = 1
    window = windows_of(samples, speech)
    held = int(window.mask[0].sum()) * CELL
    assert (window.audio[0][:held] != 0).all()
    assert not window.audio[0][held:].any()


def test_the_high_pass_takes_a_constant_and_leaves_speech() -> None:
    time = np.arange(RATE) / RATE
    constant = high_pass(np.full(RATE, 0.4, np.float32), 0, RATE)
    assert np.abs(constant).max() < 1e-6
    for hertz, least in ((10, 0.0), (100, 0.9), (1000, 0.99)):
        wave = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        passed = high_pass(wave, 2000, RATE - 4000)
        share = float(np.sqrt((passed**2).mean() * 2))
        assert least <= share < 1.1
        if hertz == 10:
            assert share < 0.2


def test_golden_tensor() -> None:
    samples, speech = recording(9.0, 11)
    windows = windows_of(samples, speech)
    stored = np.load(GOLDEN)
    np.testing.assert_array_equal(windows.start, stored["start"])
    np.testing.assert_array_equal(windows.mask, stored["mask"])
    np.testing.assert_allclose(windows.audio[:, ::101], stored["audio"], atol=2e-7)
