"""Trained voice networks to go on from: of a run, or of the repository."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from cards.record import DataSource
from cards.repository import ModelRepository
from training.audio.members import SHIPPED
from training.models.registry import network, read_checkpoint


class Origin(NamedTuple):
    """A network whose line is to be fitted, in evaluation mode, and what its record has to say."""

    model: nn.Module
    settings: dict[str, Any]
    trained_on: tuple[DataSource, ...]


def unfolded(model: nn.Module, weights: Mapping[str, npt.NDArray[Any]]) -> nn.Module:
    """The network of shipped weights in the layout that trains: a bias that a batch norm was folded into goes back to
    the norm, which else does nothing.

    Args:
        model: of the registry; weights: of ``weights.safetensors``.
    """
    given = {name: torch.from_numpy(value.astype(np.float32)) for name, value in weights.items()}
    state = model.state_dict()
    for owner_name, owner in model.named_modules():
        for (conv_name, conv), (norm_name, norm) in itertools.pairwise(owner.named_children()):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                prefix = f"{owner_name}." if owner_name else ""
                ours = f"{prefix}{norm_name}."
                state[f"{ours}running_mean"].zero_()
                state[f"{ours}running_var"].fill_(1 - norm.eps)
                state[f"{ours}weight"].fill_(1.0)
                state[f"{ours}bias"].copy_(given.pop(f"{prefix}{conv_name}.bias"))
    missing = [name for name in given if name not in state]
    if missing:
        raise ValueError(f"{type(model).__name__} has no {missing[0]}")
    model.load_state_dict({**state, **given})
    return model.eval()


@torch.no_grad()
def reopened(model: nn.Module, audio: Tensor, mask: Tensor) -> nn.Module:
    """The same answers with batch norms that know their inputs, so that training goes on from there: what
    :func:`unfolded` makes has norms that do nothing, whose first batch in training mode would change everything.

    Args:
        model: in evaluation mode; changed in place. audio: float [n, SAMPLES]; mask: float [n, CELLS].
    """
    hooks = []

    def measure(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        shift = norm.bias - scale * norm.running_mean
        mean, variance = args[0].mean(dim=(0, 2, 3)), args[0].var(dim=(0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(scale * torch.sqrt(variance + norm.eps))
        norm.bias.copy_(shift + scale * mean)

    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            hooks.append(part.register_forward_pre_hook(measure))
    model(audio, mask)  # layer by layer: a norm is set before its answer is used
    for hook in hooks:
        hook.remove()
    return model


def origin_of(name: str, run: Path) -> Origin:
    """The network of a run, or of the repository."""
    if run != SHIPPED:
        _, model, state = read_checkpoint(run / "model.pt", name)
        told = tuple(DataSource.model_validate(each) for each in json.loads(state["trained_on"]))
        return Origin(model, json.loads(state["settings"]), told)
    models = ModelRepository()
    record = models.record(name)
    weights = load_file(str(models.root / name / str(models.latest(name)) / "weights.safetensors"))
    return Origin(unfolded(network(name).empty(), weights), dict(record.training), record.trained_on)
