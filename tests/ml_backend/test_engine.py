"""The inference engine in this process, with the shipped models."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import ml_backend
from deepscan_client import (
    CancelledError,
    ErrorCode,
    InstallationError,
    Label,
    LimitError,
    MediaError,
    Medium,
    Progress,
    Reason,
    RequestError,
    Verdict,
)
from ml_backend import DeepfakeInferenceEngine
from ml_backend.inference import engine as module

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
PHOTO = SAMPLES / "astronaut.jpg"


@pytest.fixture(scope="module")
def engine() -> DeepfakeInferenceEngine:
    return DeepfakeInferenceEngine(model_dir=ml_backend.__path__[0] + "/../model_repository")


def test_the_founding_documents_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = DeepfakeInferenceEngine(model_dir="./trained_models")
    result = engine.predict_image(str(PHOTO))
    assert result.notes == ("./trained_models does not exist: the shipped models were used",)
    text = str(result)
    for part in (str(result.label), f"{result.fake_probability:.4f}", "photo_cnn", result.notes[0]):
        assert part in text
    assert json.loads(result.to_json())["notes"] == list(result.notes)
    (tmp_path / "trained_models").mkdir()
    with pytest.raises(InstallationError, match="holds no models"):
        DeepfakeInferenceEngine(model_dir="./trained_models")


def test_any_other_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InstallationError) as caught:
        DeepfakeInferenceEngine(model_dir=tmp_path / "nowhere")
    assert caught.value.code is ErrorCode.MODEL_MISSING
    assert "nowhere" in str(caught.value)


def test_path_bytes_and_pixels_are_judged_alike(engine: DeepfakeInferenceEngine) -> None:
    by_path = engine.predict_image(PHOTO)
    by_bytes = engine.predict_image(PHOTO.read_bytes())
    assert by_path.canonical_json() == by_bytes.canonical_json()
    assert by_path.notes == ()
    by_pixels = engine.predict_image(np.asarray(cv2.imread(str(PHOTO)), dtype=np.uint8)[:, :, ::-1])
    assert by_pixels.fake_probability == pytest.approx(by_path.fake_probability, abs=1e-6)
    assert Verdict.from_json(by_path.to_json()).canonical_json() == by_path.canonical_json()


def test_options_reach_the_verdict(engine: DeepfakeInferenceEngine) -> None:
    sure = engine.predict_image(PHOTO, confidence_threshold=0.0, heatmaps=True)
    assert sure.label is Label.FAKE
    assert Reason.CUSTOM_THRESHOLD in sure.reasons
    assert sure.faces[0].heatmap is not None
    with pytest.raises(RequestError, match="confidence_threshold"):
        engine.predict_image(PHOTO, confidence_threshold=float("nan"))


def test_a_photo_without_a_face_is_inconclusive(engine: DeepfakeInferenceEngine) -> None:
    result = engine.predict_image(SAMPLES / "coffee.webp")
    assert (result.label, result.reasons, result.fake_probability) == (Label.INCONCLUSIVE, (Reason.NO_FACE,), None)
    assert "none" in str(result)


def test_bad_input_is_typed(engine: DeepfakeInferenceEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MediaError):
        engine.predict_image(b"no picture")
    with pytest.raises(FileNotFoundError):
        engine.predict_image(tmp_path / "lost.jpg")
    with pytest.raises(RequestError):
        engine.predict_image(np.zeros((4, 4), dtype=np.uint8))
    monkeypatch.setattr(module, "MAX_IMAGE_BYTES", 100)
    with pytest.raises(LimitError):
        engine.predict_image(PHOTO)


def test_pictures_and_sound_are_judged_together(
    engine: DeepfakeInferenceEngine, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    """The line of the founding document: ``engine.predict_multimodal('video.mp4', 'audio.wav')``."""
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))[:400, 50:450]
    path = write_video(tmp_path / "video.mp4", [np.roll(photo, place, axis=1) for place in range(60)])
    voice = SAMPLES / "audio" / "voicemail.mp3"
    result = engine.predict_multimodal(str(path), str(voice), num_frames=6)
    rows = {row.name: row for row in result.evidence}
    assert result.medium is Medium.MULTIMODAL
    assert {"pictures", "sound", "frame_cnn", "voice_cepstra"} <= set(rows)
    assert result.fake_probability in (rows["pictures"].score, rows["sound"].score)
    assert len(result.tracks) == 1
    alone = engine.predict_multimodal(path.read_bytes(), num_frames=6, heatmaps=True)
    assert alone.medium is Medium.MULTIMODAL
    assert (len(alone.tracks[0].heatmaps), result.tracks[0].heatmaps) == (6, ())
    assert alone.fake_probability == rows["pictures"].score
    assert any("no sound track" in note for note in alone.decode.notes)
    assert Reason.NO_SOUND in alone.reasons
    assert Reason.NO_SOUND not in result.reasons
    with pytest.raises(MediaError):
        engine.predict_multimodal(path, b"no recording", num_frames=6)
    with pytest.raises(RequestError, match="num_frames"):
        engine.predict_multimodal(path, num_frames=0)


def test_a_video_is_judged_from_a_path_or_from_bytes(
    engine: DeepfakeInferenceEngine, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    """The line of the founding document: ``engine.predict_video('video.mp4')``."""
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))[:400, 50:450]
    path = write_video(tmp_path / "video.mp4", [np.roll(photo, place, axis=1) for place in range(30)])
    told: list[Progress] = []
    result = engine.predict_video(str(path), on_progress=told.append)
    assert result.medium is Medium.VIDEO
    assert result.fake_probability is not None
    assert len(result.tracks) == 1
    assert told[-1].share == 1.0
    assert "faces:" in str(result)
    again = engine.predict_video(path.read_bytes())
    assert again.canonical_json() == result.canonical_json()
    few = engine.predict_video(path, num_frames=4, heatmaps=True).tracks[0]
    assert (few.frames, len(few.heatmaps)) == (4, 4)
    seen = {row.name for row in engine.predict_video(path, analyzers=True).evidence}
    assert {"blink_rate", "head_pose_gap"} <= seen - {row.name for row in result.evidence}
    with pytest.raises(CancelledError):
        engine.predict_video(path, stopped=lambda: True)
    with pytest.raises(RequestError, match="num_frames"):
        engine.predict_video(path, num_frames=0)
    with pytest.raises(FileNotFoundError):
        engine.predict_video(tmp_path / "lost.mp4")
    with pytest.raises(MediaError):
        engine.predict_video(b"no video")
    for wrong in (io.BytesIO(), np.zeros((4, 4, 3), np.uint8)):
        with pytest.raises(TypeError, match="give a path or the bytes"):
            engine.predict_video(wrong)  # type: ignore[arg-type]


def test_names_load_lazily_and_torch_not_at_all() -> None:
    code = (
        "import sys, ml_backend; before = 'ml_backend.inference.engine' in sys.modules;"
        "ml_backend.DeepfakeInferenceEngine; print(before, 'torch' in sys.modules, sorted(ml_backend.__all__))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "False False ['DeepfakeDetectionTrainer', 'DeepfakeInferenceEngine', 'EnsembleDeepfakeDetector']"
    )
    with pytest.raises(AttributeError, match="it offers DeepfakeDetectionTrainer"):
        ml_backend.DeepfakeDetector  # type: ignore[attr-defined]  # noqa: B018
