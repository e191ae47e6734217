"""Checkpoints on the disk: written whole, so that a run that is killed leaves the one of before.

They hold tensors, numbers and text alone; ``training.models.registry.read_checkpoint`` reads them without a pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.models.registry import Network
from training.settings import FitSettings


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint whole: first beside the target, then renamed."""
    partial = path.with_suffix(".partial")
    torch.save(dict(state), partial)
    partial.replace(path)


def save_model(
    path: Path, entry: Network, network: nn.Module, settings: FitSettings, more: Mapping[str, Any] | None = None
) -> None:
    """Write ``model.pt`` whole: ``state`` (weights), ``network`` (its name), ``settings`` (JSON), and more.

    The settings also tell ``size``, the side of the crops (or the width of the embeddings), for the card.
    """
    state = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
    told = json.dumps({**asdict(settings), "size": entry.size})
    save_state(path, {"state": state, "network": entry.name, "settings": told, **(more or {})})
