"""The clips of the video benchmarks, an hour of them, and how leaving is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cancellation import CASES, MUST_S, Case, Row, checks, leave
from benchmarks.films import write_film, write_loop
from deepscan_client import DeepScanClient
from pipelines.audio.source import decode_audio
from pipelines.video.source import VideoSource


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    write_film(path, 2)
    return path


def test_a_film_and_its_loop_have_even_frames_and_sound(film: Path) -> None:
    loop = film.with_name("loop.mp4")
    write_loop(film, loop, 8)
    for path, seconds in ((film, 2), (loop, 8)):
        video = VideoSource(path)
        assert (video.info.frames, video.info.width, video.info.height) == (25 * seconds, 1280, 720)
        np.testing.assert_allclose(np.diff(video.times), 1 / 25, atol=1e-3)
        samples, info = decode_audio(path.read_bytes())
        assert len(samples) == pytest.approx(16_000 * seconds, abs=700)
        assert not info.cut_off
    once, twice = (next(VideoSource(loop).frames(window=(at, at + 0.1))).pixels for at in (0.4, 2.4))
    np.testing.assert_array_equal(once, twice)


def test_the_slowest_of_a_case_counts() -> None:
    (found,) = checks([Row("a", (0.1, MUST_S + 0.5), (0.0, 0.0))])
    assert (found["measured"], found["met"]) == (MUST_S + 0.5, False)


@pytest.mark.triton
def test_leaving_is_measured_on_a_real_server(triton_server: Any, film: Path) -> None:
    loop = film.with_name("longer.mp4")
    write_loop(film, loop, 40)
    with DeepScanClient(triton_server.grpc_url) as client:
        freed, ended = leave(client, triton_server.folder / "uploads", loop, CASES[0])
        assert 0 <= ended <= freed
        with pytest.raises(ValueError, match="before"):
            leave(
                client, triton_server.folder / "uploads", film, Case("never", options={"num_frames": 2}, wait_s=300.0)
            )
