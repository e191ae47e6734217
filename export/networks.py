"""Trained networks in the form in which they are exported: folded, rounded to half precision, normalisation inside.

One entry of the registry, one :class:`Served` form: what it takes decides names and types of the inputs.
"""

from __future__ import annotations

import copy
import itertools
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cards.card import Preprocessing
from export.graph import half_rounded
from pipelines.audio.windows import CELL
from training.models.efficientnet_lite import EfficientNetLite0
from training.models.localising import LocalisingEfficientNetLite0
from training.models.registry import Network, network, read_checkpoint

INPUTS = {
    "crop": ("IMAGES",),
    "embeddings": ("EMBEDDINGS", "MASK"),
    "clip": ("CLIP", "MASK"),
    "audio": ("AUDIO", "MASK"),
}
OUTPUTS = ("LOGIT", "EMBEDDING", "CAM")
VOICE_OUTPUTS = ("LOGIT", "EMBEDDING", "FRAMES")
_LOG = logging.getLogger(__name__)


def folded(model: nn.Module, example: tuple[Tensor, ...] | None = None) -> nn.Module:
    """A copy in evaluation mode whose batch norms are folded into the convolutions that stand before them.

    A batch norm belongs to the convolution that is registered just before it in the same module. Where the answers to
    ``example`` change by that, the order of registration is not the order of use: a plain copy is returned, with a
    warning (ONNX Runtime and TensorRT fold it themselves).
    """
    plain = copy.deepcopy(model).eval()
    result = copy.deepcopy(plain)
    for owner in list(result.modules()):
        if isinstance(owner, nn.ModuleList):
            continue
        children = list(owner.named_children())
        for (conv_name, conv), (norm_name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and type(norm) is nn.BatchNorm2d and conv.out_channels == norm.num_features:
                setattr(owner, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(owner, norm_name, nn.Identity())
    if example is not None:
        with torch.inference_mode():
            before, after = plain(*example).logit, result(*example).logit
        if not torch.allclose(before, after, rtol=1e-3, atol=1e-3):
            _LOG.warning("batch norms of %s are not folded: it uses its layers in another order", type(model).__name__)
            return plain
    return result


def weights_of(model: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """The weights as float32 arrays by name."""
    return {name: value.detach().float().contiguous().numpy() for name, value in model.state_dict().items()}


def load_weights(model: nn.Module, weights: dict[str, npt.NDArray[np.float32]]) -> None:
    """Put weights into a folded network, every name exactly once."""
    model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()}, strict=True)


def half(model: nn.Module, example: tuple[Tensor, ...] | None = None) -> nn.Module:
    """A folded copy whose weights survive a round trip through ``weights.safetensors``."""
    result = folded(model, example)
    load_weights(result, {name: half_rounded(value) for name, value in weights_of(result).items()})
    return result


def read_folded(path: Path, name: str = "frame_cnn") -> nn.Module:
    """The folded network of a ``weights.safetensors``, in float32 (for fine-tuning heads, and for tests)."""
    weights = {key: value.astype(np.float32) for key, value in load_file(str(path)).items()}
    with_map = any(key.startswith("map_head.") for key in weights)
    result = folded(LocalisingEfficientNetLite0() if with_map else network(name).empty())
    load_weights(result, weights)
    return result


def from_checkpoint(path: Path) -> EfficientNetLite0:
    """The averaged weights of a ``frame_cnn`` checkpoint (read with ``weights_only=True``)."""
    _, model, _ = read_checkpoint(path, "frame_cnn")
    assert isinstance(model, EfficientNetLite0)
    return model


class Served(nn.Module):
    """What the repository serves of a network that takes crops: UINT8 [n, s, s, 3] RGB, the normalisation inside.

    Answers LOGIT, EMBEDDING and CAM of :class:`~training.models.output.Output`, as the other forms do.
    """

    factor: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("factor", (1 / (255 * std)).reshape(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).reshape(1, 3, 1, 1))

    def planar(self, pictures: Tensor) -> Tensor:
        """Normalised, channels before rows; of crops or clips."""
        return pictures.movedim(-1, -3).float() * self.factor + self.shift

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self.network(self.planar(images))
        return output.logit, output.embedding, output.cam


class ServedClip(Served):
    """What the repository serves of a network over clips: UINT8 [n, t, s, s, 3] RGB and a mask FP32 [n, t]."""

    def forward(self, clip: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        output = self.network(self.planar(clip), mask)
        return output.logit, output.embedding, output.cam


class ServedSequence(nn.Module):
    """What the repository serves of a network over embeddings: FP32 [n, t, d] and a mask FP32 [n, t]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, embeddings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self.network(embeddings, mask)
        return output.logit, output.embedding, output.cam


class ServedVoice(nn.Module):
    """What the repository serves of a voice network: windows FP32 [n, s] and a mask FP32 [n, cells]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self.network(audio, mask)
        return output.logit, output.embedding, output.frames


def outputs_of(entry: Network) -> tuple[str, ...]:
    """Names of the outputs of the served form, but for RECORD."""
    return VOICE_OUTPUTS if entry.takes == "audio" else OUTPUTS


def served_form(entry: Network, model: nn.Module, preprocessing: Preprocessing | None) -> nn.Module:
    """The form in which a (folded) network is served.

    Raises:
        ValueError: it takes pictures, and the card says no preprocessing.
    """
    if entry.takes == "embeddings":
        return ServedSequence(model).eval()
    if entry.takes == "audio":
        return ServedVoice(model).eval()
    if preprocessing is None:
        raise ValueError(f"the card of {entry.name} must say preprocessing")
    form = Served if entry.takes == "crop" else ServedClip
    return form(model, preprocessing).eval()


def example_arrays(entry: Network, size: int, items: int, seed: int = 5) -> dict[str, npt.NDArray[np.generic]]:
    """Random inputs of the served form by name; clips miss frames at the end or in the middle.

    Args:
        size: side in pixels, width of an embedding, or samples of a window.
    """
    rng = np.random.default_rng(seed)
    if entry.takes == "crop":
        return {"IMAGES": rng.integers(0, 256, (items, size, size, 3), dtype=np.uint8)}
    mask = np.ones((items, entry.frames), np.float32)
    if entry.takes == "audio":
        audio = rng.standard_normal((items, size), np.float32) * np.float32(0.06)
        for item in range(1, items, 2):  # a recording ends; what lies behind is zero
            cells = int(rng.integers(entry.frames // 3, entry.frames))
            mask[item, cells:], audio[item, cells * CELL :] = 0, 0
        return {"AUDIO": audio, "MASK": mask}
    for item in range(items):
        if item % 2:
            mask[item, rng.integers(1, entry.frames) :] = 0
        elif item:
            mask[item, rng.integers(1, entry.frames - 1)] = 0
    if entry.takes == "embeddings":
        return {"EMBEDDINGS": rng.standard_normal((items, entry.frames, size), np.float32), "MASK": mask}
    return {"CLIP": rng.integers(0, 256, (items, entry.frames, size, size, 3), dtype=np.uint8), "MASK": mask}
