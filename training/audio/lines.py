"""The last line of a voice network: from the embedding of a window to its logit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from training.models.output import set_line
from training.models.voice_cnn import VoiceMfcc, VoiceSpectrogram
from training.models.voice_raw import VoiceRaw


class Line(NamedTuple):
    """weight float64 [f] and bias, of raw embeddings."""

    weight: npt.NDArray[np.float64]
    bias: float

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Logits of embeddings [..., f]."""
        return np.asarray(x @ self.weight + self.bias)


def aligned(line: Line, old: Line, x: npt.NDArray[np.float32]) -> Line:
    """The line with mean and spread of the old one's logits: local scores, which have a line of their own,
    keep their scale.

    Args:
        x: [w, f], what both are compared on.
    """
    like, logits = old(x), line(x)
    scale = like.std() / max(float(logits.std()), 1e-9)
    return Line(line.weight * scale, float(like.mean() + scale * (line.bias - logits.mean())))


def _closing(model: nn.Module) -> tuple[nn.Linear, nn.Linear | None, slice]:
    """The layer that closes a network, what else is added to its logit, and which part of the embedding that sees."""
    if isinstance(model, VoiceRaw):
        # The logit also has the mean of the moments, which are the second fifth of the embedding.
        width = model.moments.classifier.in_features
        return model.readout, model.moments.classifier, slice(width, 2 * width)
    if isinstance(model, VoiceSpectrogram | VoiceMfcc):
        return model.head.classifier, None, slice(0)
    raise ValueError(f"{type(model).__name__} does not end in one line")


def line_in(model: nn.Module) -> Line:
    """The line of a network.

    Raises:
        ValueError: it does not end in one.
    """
    layer, other, part = _closing(model)
    weight, bias = layer.weight.detach()[0].double().numpy().copy(), float(layer.bias.detach())
    if other is not None:
        weight[part] += other.weight.detach()[0].double().numpy()
        bias += float(other.bias.detach())
    return Line(weight, bias)


def put_line(model: nn.Module, line: Line) -> None:
    """Give a network another line; the local scores of ``voice_raw`` keep the line of their own.

    Raises:
        ValueError: it does not end in one.
    """
    layer, other, part = _closing(model)
    weight, bias = line.weight.copy(), line.bias
    if other is not None:
        weight[part] -= other.weight.detach()[0].double().numpy()
        bias -= float(other.bias.detach())
    set_line(layer, weight, bias)


def write_lines(path: Path, lines: Mapping[str, Line]) -> None:
    """Keep lines by name."""
    names = sorted(lines)
    weights = np.stack([lines[name].weight for name in names]) if names else np.zeros((0, 0))
    np.savez(path, name=np.array(names), weight=weights, bias=np.array([lines[name].bias for name in names]))


def read_lines(path: Path) -> dict[str, Line]:
    """What ``write_lines`` kept; none where there is no file."""
    if not path.is_file():
        return {}
    with np.load(path) as held:
        return {
            str(name): Line(weight, float(bias))
            for name, weight, bias in zip(held["name"], held["weight"], held["bias"], strict=True)
        }
