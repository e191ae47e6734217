"""Lips against sound through the real server: the same numbers as in process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cards import ModelRepository
from deepscan_client import DeepScanClient
from pipelines.audio.source import decode_audio
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.verdict import VideoJudge
from tests.pipelines.video.test_in_step import write_talking
from tests.scenarios.test_videos_served import swaying

pytestmark = pytest.mark.triton
VOICE = Path(__file__).resolve().parents[2] / "samples" / "audio" / "voicemail.mp3"


def test_the_server_hears_what_is_heard_in_process(triton_server: Any, tmp_path: Path) -> None:
    samples, _ = decode_audio(VOICE.read_bytes())
    film = write_talking(tmp_path / "film.mkv", swaying(75), np.resize(samples, 48_000))
    with DeepScanClient(triton_server.grpc_url) as client:
        served = client.detect_video(film, analyzers=True)
    repository = ModelRepository()
    own = analyze_video(
        film, VideoAnalyzer(repository, OnnxInfer(repository)), VideoJudge(repository), Options(analyzers=True)
    )
    for name in ("lip_sync_offset", "lip_sync_confidence"):
        (there,), (here,) = ([row for row in told.evidence if row.name == name] for told in (served, own))
        assert there.score == pytest.approx(here.score, abs=1e-3)
    assert "av_sync" in {model.name for model in served.models}
