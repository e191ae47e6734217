"""A checkpoint is there whole or not at all, and holds what the reader of the registry needs."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from training.checkpoints import save_model, save_state
from training.models.registry import network, read_checkpoint
from training.settings import FitSettings


def test_a_checkpoint_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_state(path, {"step": 1})
    save_state(path, {"step": 2})
    assert torch.load(path, weights_only=True) == {"step": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_model_is_read_back_with_its_settings_and_what_else_was_told(tmp_path: Path) -> None:
    entry = network("sequence_gru")
    model = entry.empty()
    save_model(tmp_path / "model.pt", entry, model, FitSettings(epochs=3), {"trained_on": "[]"})
    found, read, state = read_checkpoint(tmp_path / "model.pt", "sequence_gru")
    assert found is entry
    for name, value in model.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], value)
    assert {"epochs": 3, "size": entry.size}.items() <= json.loads(state["settings"]).items()
    assert state["trained_on"] == "[]"
