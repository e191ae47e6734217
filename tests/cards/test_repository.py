"""Cards and records are typed, and what is wrong with them is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cards import ModelRepository, find_repository, sha256_file
from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from pipelines.image.panel import Panel
from pipelines.video.sequences import embeddings_of

ROOT = find_repository()
WEIGHTS = ("*.onnx", "*.safetensors", "*.npz")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository with one network that may be damaged."""
    shutil.copytree(ROOT / "face_detector", tmp_path / "face_detector")
    return tmp_path


def test_every_shipped_card_parses_and_names_its_folder() -> None:
    repository = ModelRepository()
    assert "deepfake_image" in repository.names()
    for name in repository.names():
        assert repository.card(name).name == name


def test_pictures_and_sound_together_need_what_each_needs_alone() -> None:
    repository = ModelRepository()
    alone = {*repository.card("deepfake_video").calls, *repository.card("audio_voice").calls}
    assert set(repository.card("deepfake_multimodal").calls) == alone


def test_every_shipped_weight_file_has_the_hash_of_its_record() -> None:
    repository = ModelRepository()
    networks = [name for name in repository.names() if repository.card(name).kind == "network"]
    assert networks
    for name in networks:
        repository.verify(name)
        assert repository.record(name).weights_sha256 == sha256_file(repository.folder(name) / "weights.safetensors")


def test_a_weight_file_changed_by_one_byte_is_refused_by_name(copy: Path) -> None:
    path = copy / "face_detector" / "1" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InstallationError, match=r"face_detector/1/model\.onnx") as caught:
        ModelRepository(copy).verify("face_detector")
    assert caught.value.code is ErrorCode.HASH_MISMATCH
    assert caught.value.remedy


def test_what_a_photo_needs_is_found_by_steps_and_calls() -> None:
    repository = ModelRepository()
    photo = repository.needed_by(["deepfake_image"])
    assert {"image_probe", "image_faces", "image_verdict", "face_detector", "photo_cnn"} <= set(photo)
    assert not any(name.startswith(("audio", "voice", "video")) for name in photo)
    assert set(photo) | {"deepfake_audio"} <= set(repository.needed_by(["deepfake_image", "deepfake_audio"]))
    assert repository.needed_by([]) == []


def test_the_network_that_draws_the_heat_maps_of_photos_draws_those_of_videos_and_waits_to_be_wanted() -> None:
    repository = ModelRepository()
    for video in ("deepfake_video", "deepfake_multimodal"):
        draws = repository.card(video).draws
        assert draws == "blend_cnn"
        assert set(repository.needed_by([video])) - set(repository.needed_by([video], heatmaps=False)) == {draws}
    stage = repository.card("image_faces")
    photos = Panel([repository.card(name) for name in stage.calls if name != "face_detector"], stage.tight)
    assert photos.draws is repository.card("blend_cnn")


def test_an_unknown_key_is_an_error_with_file_field_and_remedy(copy: Path) -> None:
    card = copy / "face_detector" / "card.yaml"
    card.write_text(card.read_text() + "colour: blue\n")
    with pytest.raises(InstallationError, match=r"card\.yaml: colour") as caught:
        ModelRepository(copy).card("face_detector")
    assert caught.value.code is ErrorCode.BAD_CARD
    assert "cards/card.py" in caught.value.remedy


@pytest.mark.parametrize("text", ["", "[1, 2]", "name: [", "name: x\n\tkind: y"])
def test_a_card_that_is_not_a_mapping_is_a_typed_error(copy: Path, text: str) -> None:
    (copy / "face_detector" / "card.yaml").write_text(text)
    with pytest.raises(InstallationError):
        ModelRepository(copy).card("face_detector")


def test_a_record_with_a_wrong_type_names_the_field(copy: Path) -> None:
    path = copy / "face_detector" / "1" / "record.json"
    record = json.loads(path.read_text())
    record["version"] = "one"
    path.write_text(json.dumps(record))
    with pytest.raises(InstallationError, match=r"record\.json: version"):
        ModelRepository(copy).record("face_detector")


def test_a_missing_repository_and_a_missing_model_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InstallationError, match="no model repository"):
        find_repository(tmp_path / "nowhere")
    with pytest.raises(InstallationError, match="no model 'nothing'") as caught:
        ModelRepository().card("nothing")
    assert "face_detector" in caught.value.remedy


def test_all_weights_together_stay_under_120_mb() -> None:
    """Whoever clones the repository takes them all; ONNX and safetensors hold the same values twice."""
    sizes = {path: path.stat().st_size for kind in WEIGHTS for path in ROOT.glob(f"*/*/{kind}")}
    assert len(sizes) > 20
    assert sum(sizes.values()) < 120e6, sorted(sizes.items(), key=lambda item: -item[1])[:5]


def test_networks_over_embeddings_are_served_with_the_weights_that_they_learned_from() -> None:
    repository, asked = ModelRepository(), []
    for name in repository.names():
        if repository.card(name).kind != "network":
            continue
        told = repository.record(name).training
        if "embeddings_of" in told:
            asked.append(name)
            assert told["embeddings_of"] == embeddings_of(name)
            assert told["embeddings_weights_sha256"] == repository.record(embeddings_of(name)).weights_sha256, name
    assert asked == ["clip_head", "sequence_gru", "sequence_rnn"]


def test_no_card_promises_more_than_the_data_of_its_network_allow() -> None:
    repository, restricted = ModelRepository(), []
    for name in repository.names():
        card = repository.card(name)
        if card.kind == "network" and repository.record(name).commercial is False:
            restricted.append(name)
            assert card.licence.name.startswith("Research"), name
    assert {"av_sync", "frame_cnn", "voice_raw"} <= set(restricted)
