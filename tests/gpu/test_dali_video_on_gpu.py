"""The committed DALI pipeline on a GPU decodes pieces of videos as PyAV does, down to the verdict.

Written where no GPU is: it has not run yet. Its twins are tests/export/test_dali_video.py and
tests/pipelines/video/test_staged.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cards.repository import ModelRepository
from export.dali import FILE, PIN
from pipelines.infer import Arrays, Call
from pipelines.onnx_infer import OnnxInfer
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.source import VideoSource
from pipelines.video.staged import STAGE, StagedSource
from pipelines.video.verdict import VideoJudge

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "video" / "portrait.mp4"
REPOSITORY = ModelRepository()


class GpuStage:
    """The file that Triton's DALI backend loads, on the first GPU, and the networks in ONNX Runtime."""

    def __init__(self) -> None:
        dali: Any = pytest.importorskip("nvidia.dali", reason=f"DALI is not installed: pip install {PIN}")
        content = (REPOSITORY.folder("video_decode") / FILE).read_bytes()
        self._pipeline = dali.Pipeline.deserialize(content, device_id=0)
        self._pipeline.build()
        self._networks = OnnxInfer(REPOSITORY)

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        if calls[0].model != STAGE:
            return self._networks.run(calls)
        (call,) = calls
        for name in ("VIDEO", "FRAMES"):
            self._pipeline.feed_input(name, list(call.inputs[name]))
        (answer,) = self._pipeline.run()
        return [{"PIXELS": np.array(answer.as_cpu()[0])[None]}]


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "codec", "coding"),
    [
        ("a.mp4", "libx264", {"bf": "3"}),
        ("a.mkv", "libx264", {"bf": "3"}),
        ("b.mp4", "libx265", {"x265-params": "keyint=12:log-level=none"}),
        ("a.webm", "libvpx-vp9", {}),
    ],
)
@pytest.mark.parametrize("colours", [None, 1])
def test_frames_and_times_are_those_of_pyav(
    tmp_path: Path, write_video: Callable[..., Path], name: str, codec: str, coding: dict[str, str], colours: int | None
) -> None:
    frames = [frame.pixels for frame in VideoSource(SAMPLE).frames()]
    path = write_video(tmp_path / name, frames, codec=codec, coding=coding, colours=colours)
    stage = GpuStage()
    for sampling in ({}, {"fps": 5.0}, {"num_frames": 3}):
        video = StagedSource(path, stage)
        ours = list(video.frames(**sampling))
        expected = list(VideoSource(path).frames(**sampling))
        assert video.info.decoder.startswith("dali"), video.info.notes
        assert video.info.notes == ()
        assert [(frame.index, frame.time) for frame in ours] == [(frame.index, frame.time) for frame in expected]
        for frame, other in zip(ours, expected):
            # DALI on the CPU differs by 1.3 and neighbouring frames by 4.5 or more.
            assert np.abs(frame.pixels.astype(int) - other.pixels).mean() < 2.0


@pytest.mark.gpu
def test_the_verdict_does_not_flip() -> None:
    stage, judge = GpuStage(), VideoJudge(REPOSITORY)
    ours = analyze_video(SAMPLE, VideoAnalyzer(REPOSITORY, stage, profile="onnx"), judge)
    expected = analyze_video(SAMPLE, VideoAnalyzer(REPOSITORY, stage), judge)
    assert ours.decode.decoder == "dali (nvdec), h264"
    assert ours.label is expected.label
