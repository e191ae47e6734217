"""Generated files of the repository agree with the cards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from cards import ModelCard, ModelRepository
from export.generate import main, outdated
from export.triton_config import PROFILES, config_text

NAMES = ModelRepository().names()


def test_committed_files_are_what_the_cards_say() -> None:
    assert outdated(ModelRepository()) == []


def test_a_changed_card_is_noticed_and_mended(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(ModelRepository().root, models)
    card = models / "frame_cnn" / "card.yaml"
    card.write_text(card.read_text().replace("instances: 2", "instances: 3"))
    assert main(["--models", str(models), "--check"]) == 1
    assert main(["--models", str(models)]) == 0
    assert "count: 3" in (models / "frame_cnn" / "config.pbtxt").read_text()
    assert main(["--models", str(models), "--check"]) == 0


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", NAMES)
def test_each_configuration_parses_as_tritons_own_message(name: str, profile: str) -> None:
    text = config_text(ModelRepository().card(name), profile)  # type: ignore[arg-type]
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    assert config.name == name
    # Each queue policy makes requests wait half a second on this server (recipes, section 1).
    assert not config.dynamic_batching.HasField("default_queue_policy")
    assert not config.dynamic_batching.priority_levels


@pytest.mark.parametrize("name", NAMES)
def test_names_and_tensors_are_the_same_in_each_profile(name: str) -> None:
    def tensors(profile: str) -> list[tuple[str, int, list[int]]]:
        text = config_text(ModelRepository().card(name), profile)  # type: ignore[arg-type]
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        return [(t.name, t.data_type, list(t.dims)) for t in [*config.input, *config.output]]

    assert tensors("cpu") == tensors("onnx") == tensors("tensorrt")


def test_each_stage_calls_models_that_exist() -> None:
    repository = ModelRepository()
    for name in NAMES:
        card = repository.card(name)
        for called in [*card.calls, *([card.draws] if card.draws else []), *(step.model for step in card.steps)]:
            assert called in NAMES


def test_both_ways_of_a_recording_ask_the_same_networks() -> None:
    repository = ModelRepository()
    assert repository.card("deepfake_audio_stream").calls == repository.card("audio_voice").calls


def test_a_decoupled_stage_says_so_and_no_other_does() -> None:
    card = ModelRepository().card("image_verdict")
    plain = text_format.Parse(config_text(card, "cpu"), model_config_pb2.ModelConfig())
    assert not plain.HasField("model_transaction_policy")
    decoupled = card.model_copy(update={"decoupled": True})
    for profile in PROFILES:
        config = text_format.Parse(config_text(decoupled, profile), model_config_pb2.ModelConfig())
        assert config.model_transaction_policy.decoupled
    with pytest.raises(ValueError, match="only a stage"):
        ModelCard.model_validate({**card.model_dump(), "kind": "network", "decoupled": True})
