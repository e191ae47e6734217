"""DALI on the CPU decodes pieces of videos as PyAV does, down to the verdict; what only a GPU runs is read here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cards.repository import ModelRepository
from export import dali_video
from export.dali import FILE, PIN
from export.tensorrt_build import find_gpu
from pipelines.infer import Arrays, Call
from pipelines.onnx_infer import OnnxInfer
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.decode import decode_frames
from pipelines.video.source import VideoSource
from pipelines.video.staged import STAGE, StagedSource
from pipelines.video.verdict import VideoJudge

pytest.importorskip("nvidia.dali", reason=f"DALI is not installed: pip install {PIN}")
SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "video" / "portrait.mp4"
REPOSITORY = ModelRepository()
Write = Callable[..., Path]


class DaliStage:
    """The stage as DALI on the CPU gives it, and the networks."""

    def __init__(self) -> None:
        self.twin = dali_video.CpuTwin()
        self.pieces: list[tuple[bytes, NDArray[np.int32]]] = []
        self._networks = OnnxInfer(REPOSITORY)

    def run(self, calls: Sequence[Call]) -> list[Arrays]:
        if calls[0].model != STAGE:
            return self._networks.run(calls)
        (call,) = calls
        (piece,), (places,) = call.inputs["VIDEO"], call.inputs["FRAMES"]
        self.pieces.append((piece.tobytes(), places))
        return [{"PIXELS": self.twin.decode(*self.pieces[-1])[None]}]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, write_video: Write) -> dict[str, Path]:
    """The sample in VP9, which DALI decodes on the CPU, by its matrix of colours."""
    folder = tmp_path_factory.mktemp("films")
    frames = [frame.pixels for frame in VideoSource(SAMPLE).frames()]
    return {
        "601": write_video(folder / "a.webm", frames, codec="libvpx-vp9"),
        "709": write_video(folder / "b.mp4", frames, codec="libvpx-vp9", colours=1),
        "variable": write_video(folder / "c.mkv", frames, np.arange(50) ** 1.5 / 100, keys=20, codec="libvpx-vp9"),
    }


@pytest.mark.parametrize("name", ["601", "709", "variable"])
@pytest.mark.parametrize("sampling", [{}, {"fps": 5.0}, {"num_frames": 3}])
def test_frames_and_times_are_those_of_pyav(films: dict[str, Path], name: str, sampling: dict[str, Any]) -> None:
    stage = DaliStage()
    video = StagedSource(films[name], stage)
    ours, expected = list(video.frames(**sampling)), list(VideoSource(films[name]).frames(**sampling))
    assert video.info.decoder == "dali (nvdec), vp9"
    assert video.info.notes == ()
    assert [(frame.index, frame.time) for frame in ours] == [(frame.index, frame.time) for frame in expected]
    for frame, other in zip(ours, expected):
        # Measured: 1.33, all of it because PyAV's conversion rounds down. Neighbouring frames are 4.5 or more apart.
        assert np.abs(frame.pixels.astype(int) - other.pixels).mean() < 1.6
    for piece, places in stage.pieces:
        gap = np.abs(stage.twin.decode(piece, places).astype(int) - decode_frames(piece, places))
        assert gap.mean() < 1.6, "both twins keep one contract"


@pytest.mark.parametrize("name", ["601", "709"])
def test_the_verdict_does_not_flip(films: dict[str, Path], name: str) -> None:
    stage, judge = DaliStage(), VideoJudge(REPOSITORY)
    ours = analyze_video(films[name], VideoAnalyzer(REPOSITORY, stage, profile="onnx"), judge)
    expected = analyze_video(films[name], VideoAnalyzer(REPOSITORY, stage), judge)
    assert ours.decode.decoder.startswith("dali")
    assert expected.decode.decoder.startswith("pyav")
    assert ours.label is expected.label
    assert ours.fake_probability == pytest.approx(expected.fake_probability, abs=0.03)


def test_a_number_that_a_piece_does_not_have_is_an_error_and_no_black_frame(films: dict[str, Path]) -> None:
    with pytest.raises(RuntimeError, match="out-of-bounds"):
        dali_video.CpuTwin().decode(films["601"].read_bytes(), np.array([0, 50], np.int32))


def test_dali_has_no_h264_on_the_cpu_which_is_why_there_is_another_twin() -> None:
    with pytest.raises(RuntimeError, match="Failed to create video decoder"):
        dali_video.CpuTwin().decode(SAMPLE.read_bytes(), np.array([0], np.int32))


def test_the_committed_pipeline_is_what_the_code_defines_and_names_no_folder() -> None:
    content = dali_video.serialised(REPOSITORY)
    assert (REPOSITORY.folder("video_decode") / FILE).read_bytes() == content
    for expected in (b"VIDEO", b"FRAMES", b"PIXELS", b"mixed", b"pad_mode"):
        assert expected in content
    assert b"_origin_stack" not in content
    assert str(Path(__file__).resolve().parents[2]).encode() not in content


def test_the_committed_pipeline_is_read_by_dali_and_only_wants_a_gpu() -> None:
    content = (REPOSITORY.folder("video_decode") / FILE).read_bytes()
    if find_gpu() is not None:
        pytest.skip("tests/gpu runs it on this machine")
    with pytest.raises(RuntimeError, match="CUDA-capable GPU"):
        importlib.import_module("nvidia.dali").Pipeline.deserialize(content)
