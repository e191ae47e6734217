"""The stage ``video_decode`` on the real server: the tensors of its card, by PyAV here and by DALI on a GPU host."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from cards import ModelRepository
from deepscan_client import DeepScanClient, MediaError, Medium
from pipelines.infer import Call
from pipelines.triton_infer import TritonInfer
from pipelines.video.source import VideoSource
from pipelines.video.staged import STAGE, StagedSource
from serving.supervisor import running_server

pytestmark = pytest.mark.triton
SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "video" / "portrait.mp4"


@pytest.fixture
def stage(triton_server: Any) -> Iterator[TritonInfer]:
    """Reaches the stage, which the ``cpu`` profile loads for whoever asks for it."""
    with DeepScanClient(triton_server.grpc_url) as client, InferenceServerClient(triton_server.grpc_url) as admin:
        admin.load_model(STAGE)
        infer = TritonInfer(client.transport)
        yield infer
        infer.close()
        admin.unload_model(STAGE)


def test_a_video_in_pieces_comes_back_as_its_frames(stage: TritonInfer) -> None:
    video = StagedSource(SAMPLE, stage)
    ours, expected = list(video.frames(fps=5)), list(VideoSource(SAMPLE).frames(fps=5))
    assert video.info.decoder == "dali (nvdec), h264"
    assert video.info.notes == ()
    assert [(frame.index, frame.time) for frame in ours] == [(frame.index, frame.time) for frame in expected]
    assert all(np.array_equal(frame.pixels, other.pixels) for frame, other in zip(ours, expected))


def test_what_is_no_piece_gets_a_typed_error(stage: TritonInfer) -> None:
    call = Call(STAGE, {"VIDEO": np.zeros((1, 500), np.uint8), "FRAMES": np.zeros((1, 1), np.int32)}, ("PIXELS",))
    with pytest.raises(MediaError):
        stage.run([call])


@pytest.mark.slow
def test_the_video_model_of_a_gpu_profile_asks_the_stage_and_says_where_it_is_missing(tmp_path: Path) -> None:
    shipped = ModelRepository().root
    for name in ModelRepository().names():
        (tmp_path / name).symlink_to(shipped / name)
    model = tmp_path / "deepfake_video"  # this one takes itself for that of a GPU host
    model.unlink()
    shutil.copytree(shipped / "deepfake_video", model)
    config = model / "config.pbtxt"
    config.write_text(config.read_text().replace('string_value: "cpu"', 'string_value: "onnx"'))
    with (
        running_server(tmp_path, watch=False, media=[Medium.VIDEO]) as server,
        DeepScanClient(server.grpc_url) as client,
        InferenceServerClient(server.grpc_url) as admin,
    ):
        without = client.detect_video(SAMPLE)
        assert without.decode.decoder.startswith("pyav")
        assert without.decode.notes[0] == "video_decode failed (unavailable): decoded by PyAV"
        admin.load_model(STAGE)
        verdict = client.detect_video(SAMPLE)
        assert verdict.decode.decoder == "dali (nvdec), h264"
        assert (verdict.label, verdict.tracks) == (without.label, without.tracks)
        assert verdict.fake_probability == without.fake_probability
