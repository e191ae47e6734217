"""Videos of very large frames take turns, and whoever waits can go away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cards import ModelRepository
from deepscan_client.errors import CancelledError
from pipelines.onnx_infer import OnnxInfer
from pipelines.video import large
from pipelines.video.analyze import VideoAnalyzer
from pipelines.video.large import LARGE_PIXELS, lock_path, taking_turns

Pixels = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def never() -> None:
    raise AssertionError("nobody waits here")


def test_usual_frames_wait_for_nobody() -> None:
    with taking_turns(LARGE_PIXELS + 1, never), taking_turns(LARGE_PIXELS, never):
        assert lock_path().exists()


def test_a_second_large_video_waits_for_the_first_and_then_has_its_turn() -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with taking_turns(LARGE_PIXELS + 1, waits.set):
            order.append("second")

    with taking_turns(LARGE_PIXELS + 1, never):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_who_waits_can_be_cancelled_and_leaves_the_turn_to_others() -> None:
    def leave() -> None:
        raise CancelledError("the caller cancelled the request")

    with (
        taking_turns(LARGE_PIXELS + 1, never),
        pytest.raises(CancelledError),
        taking_turns(LARGE_PIXELS + 1, leave),
    ):
        pytest.fail("two turns at once")
    with taking_turns(LARGE_PIXELS + 1, never):
        pass


def test_a_video_is_watched_in_its_turn(
    tmp_path: Path,
    write_video: Callable[..., Path],
    face_frames: Callable[..., list[Pixels]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(large, "LARGE_PIXELS", 1000)
    path = write_video(tmp_path / "a.mp4", face_frames(10))
    repository = ModelRepository()
    analyzer = VideoAnalyzer(repository, OnnxInfer(repository))
    steps = analyzer.watch(path)
    next(steps)
    patience = time.monotonic() + 3.0  # more than the whole video takes
    with pytest.raises(CancelledError):
        analyzer.evidence(path, stopped=lambda: time.monotonic() > patience)
    steps.close()
    assert analyzer.evidence(path).tracks
