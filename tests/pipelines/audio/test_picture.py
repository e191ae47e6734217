"""The picture of a recording: what is drawn lies where it was heard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from deepscan_client import InputInfo, Label, Medium, Reason, Verdict, make_verdict
from pipelines import chart
from pipelines.audio import picture
from pipelines.audio.picture import RATE, WIDTH, draw_recording, spectrogram


def heard(seconds: float, **changes: object) -> Verdict:
    info = InputInfo("0" * 64, 100, "wav", duration_s=seconds)
    said = {"label": "fake", "fake_probability": 0.9, "medium": Medium.AUDIO, "input": info}
    return make_verdict(**(said | changes))  # type: ignore[arg-type]


def tone(hertz: float, seconds: float) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def test_a_tone_lies_at_its_frequency_and_its_time() -> None:
    silence = np.zeros(2 * RATE, np.float32)
    rows = spectrogram([silence, tone(2000, 2.0)], 4.0, columns=400)
    assert rows.shape == (256, 400)
    loud = np.argwhere(rows > -6)
    assert 256 - loud[:, 0].mean() == pytest.approx(2000 / 31.25, abs=2)
    assert loud[:, 1].min() == pytest.approx(200, abs=6)
    assert loud[:, 1].max() >= 395
    assert (rows[:, :190] == -80).all()


def test_blocks_do_not_change_the_spectrogram() -> None:
    sound = np.random.default_rng(3).standard_normal(3 * RATE).astype(np.float32)
    whole = spectrogram([sound], 3.0)
    parts = spectrogram(np.array_split(sound, 7), 3.0)
    assert np.allclose(whole, parts, atol=1e-3)


def test_an_hour_is_drawn_block_by_block() -> None:
    taken = 0

    def blocks() -> Iterator[NDArray[np.float32]]:
        nonlocal taken
        for _ in range(120):
            taken += 1
            yield tone(1000, 1.0).repeat(30)[: 30 * RATE]

    assert draw_recording(blocks(), heard(3600.0)).shape[1] > WIDTH
    assert taken == 120


@pytest.mark.parametrize("samples", [0, 1, 100, 5000])
def test_a_very_short_recording_has_a_picture(samples: int) -> None:
    verdict = heard(samples / RATE, label=Label.INCONCLUSIVE, fake_probability=None, reasons=(Reason.TOO_SHORT,))
    drawn = draw_recording([np.zeros(samples, np.float32)] if samples else [], verdict)
    assert drawn.dtype == np.uint8
    assert drawn.ndim == 3


def test_stretches_and_suspicious_seconds_are_marked_where_they_are() -> None:
    verdict = heard(10.0, timeline=((0.0, 5.0, 0.1), (5.0, 10.0, 0.9)), suspicious=((5.0, 7.5),))
    drawn = draw_recording([tone(500, 10.0)], verdict)
    below = chart.TOP + picture._HEIGHT + picture._GAP
    bars = drawn[below + chart.CURVE - 5, chart.LEFT : chart.LEFT + WIDTH]
    assert (bars[100:500] == chart.BLUE).all()
    assert (bars[700:1100] == chart.RED).all()
    marks = (drawn[below - 5, chart.LEFT : chart.LEFT + WIDTH] == chart.RED).all(axis=1)
    assert np.flatnonzero(marks).min() == pytest.approx(WIDTH / 2, abs=2)
    assert np.flatnonzero(marks).max() == pytest.approx(WIDTH * 0.75, abs=2)
    without = draw_recording([tone(500, 10.0)], heard(10.0))
    assert not (without[below - 5] == chart.RED).all(axis=1).any()
