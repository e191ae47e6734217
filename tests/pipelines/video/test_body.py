"""A video's verdict with the biometrics of its main face, where ``analyzers`` is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cards.repository import ModelRepository
from deepscan_client.errors import CancelledError
from deepscan_client.verdict import Verdict
from pipelines.onnx_infer import OnnxInfer
from pipelines.options import Options
from pipelines.video.analyze import VideoAnalyzer, analyze_video
from pipelines.video.body import main_track, with_biometrics
from pipelines.video.verdict import VideoJudge
from tests.pipelines.analyzers.portraits import make_clip

BLINKS = (1.2, 2.9, 4.8)


@pytest.fixture(scope="module")
def analyzer() -> VideoAnalyzer:
    repository = ModelRepository()
    return VideoAnalyzer(repository, OnnxInfer(repository))


@pytest.fixture(scope="module")
def film(write_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven seconds of H.264 at 25 frames a second: a face that blinks, with a pulse of 72."""
    clip = make_clip(np.arange(175) / 25, BLINKS, beats=72, tint=2.0)
    path = tmp_path_factory.mktemp("film") / "face.mp4"
    return write_video(path, [frame.pixels for frame in clip.frames], clip.times.tolist(), keys=50)


@pytest.fixture(scope="module")
def verdict(analyzer: VideoAnalyzer, film: Path) -> Verdict:
    return analyze_video(film, analyzer, VideoJudge(ModelRepository()), Options(analyzers=True))


def test_blinks_and_pulse_of_a_file_are_in_its_verdict(verdict: Verdict) -> None:
    rows = {row.name: row for row in verdict.evidence}
    found = [float(each) for each in rows["blink_rate"].note.split("; at ")[1].removesuffix(" s").split(", ")]
    np.testing.assert_allclose(found, BLINKS, atol=2 / 25)
    assert rows["pulse"].score == pytest.approx(72, abs=3)
    assert rows["identity_drift"].score >= 0
    assert all(rows[name].weight is None for name in ("blink_rate", "pulse", "head_pose_gap", "gaze_range"))


def test_the_verdict_names_the_networks_and_the_time(verdict: Verdict) -> None:
    assert {"face_mesh", "eye_iris"} <= {model.name for model in verdict.models}
    assert verdict.timing_ms["biometrics"] > 0
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_nobody_pays_who_did_not_ask(analyzer: VideoAnalyzer, film: Path) -> None:
    evidence = analyzer.evidence(film, Options(num_frames=8))
    assert "biometrics" not in evidence.ms
    assert not {"face_mesh", "eye_iris"} & set(evidence.weights)
    assert evidence.more == {}
    assert main_track(()) is None
    with pytest.raises(CancelledError):
        with_biometrics(evidence, film, analyzer.infer, lambda: True)
