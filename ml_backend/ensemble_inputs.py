"""What a torch module of an ensemble is fed with: the tensors of its view, at the size that it takes.

Networks of ``training.models`` tell it themselves: ``takes`` (the view; a crop where nothing is said), ``side`` of
their crops, ``width`` of their embeddings, ``frames`` of their clips. Imported where a member is a module, because it
needs torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepscan_client.errors import RequestError
from pipelines.audio.windows import CELLS
from training.memory import is_out_of_memory
from training.models.output import normalised

SHAPES = {
    "crop": ("n", "3", "side", "side"),
    "embeddings": ("n", "frames", "width"),
    "clip": ("n", "frames", "3", "side", "side"),
    "audio": ("n", "samples"),
}
MASKED = ("embeddings", "clip", "audio")


class UnfitInputError(Exception):
    """A member cannot take what it was given; the text says why."""


def logits_of(member: nn.Module, seen: Any, view: str) -> npt.NDArray[np.float64]:
    """Logits of a module, in evaluation mode and without gradients.

    Raises:
        UnfitInputError: it cannot take this input.
        RequestError: memory ran out.
    """
    tensors = _tensors(member, seen)
    kind = view if view in SHAPES else getattr(member, "takes", None)
    if kind in MASKED or hasattr(member, "takes"):  # of a stranger's crops nothing is known
        tensors = _fitted(member, tensors, str(kind))
    was = member.training
    member.eval()
    try:
        with torch.inference_mode():
            answer = member(*tensors)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if is_out_of_memory(error):
            raise RequestError("an ensemble's member ran out of memory", remedy="give fewer items at once") from error
        raise UnfitInputError(f"the module refuses it: {str(error).splitlines()[0]}") from error
    finally:
        member.train(was)
    logits = answer if isinstance(answer, Tensor) else answer.logit  # a tensor has a method of that name
    return np.asarray(logits.double().reshape(-1).cpu().numpy())


def _tensors(member: nn.Module, seen: Any) -> list[Tensor]:
    """The parts of an input as floats on the module's device; pixels of 0 to 255 are normalised as in training."""
    place = next((one.device for one in (*member.parameters(), *member.buffers())), torch.device("cpu"))
    parts = seen if isinstance(seen, (tuple, list)) else (seen,)
    try:
        found = [torch.as_tensor(part) for part in parts]
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnfitInputError(f"{type(seen).__name__} is no tensor") from error
    return [(normalised(one) if one.dtype == torch.uint8 else one.float()).to(place) for one in found]


def _fitted(member: nn.Module, tensors: list[Tensor], view: str) -> list[Tensor]:
    """Tensors of a view in the shapes that a module takes: pictures are resized, a mask that is not told is full."""
    x, masks = tensors[0], tensors[1:]
    _check(member, x, view)
    if len(masks) > (view in MASKED):
        raise UnfitInputError(f"{len(tensors)} tensors were given")
    side = getattr(member, "side", None)
    if side is not None and view in ("crop", "clip") and x.shape[-1] != side:
        resized = functional.interpolate(
            x.flatten(0, -4), size=(side, side), mode="bilinear", align_corners=False, antialias=True
        )
        x = resized.reshape(*x.shape[:-2], side, side)
    if view not in MASKED:
        return [x]
    shape = (len(x), CELLS if view == "audio" else x.shape[1])
    mask = masks[0] if masks else torch.ones(shape, device=x.device)
    if mask.shape != shape:
        raise UnfitInputError(f"its mask has shape {list(mask.shape)}, expected {list(shape)}")
    return [x, mask]


def _check(member: nn.Module, x: Tensor, view: str) -> None:
    words = SHAPES[view]
    told = f"it takes {view} [{', '.join(words)}]"
    if x.ndim != len(words):
        raise UnfitInputError(f"{told}, not {list(x.shape)}")
    if view in ("crop", "clip") and (x.shape[-3] != 3 or x.shape[-1] != x.shape[-2]):
        raise UnfitInputError(f"{told}, not {list(x.shape)}")
    for word, found in zip(words, x.shape):
        wanted = getattr(member, word, None) if word in ("frames", "width", "samples") else None
        if isinstance(wanted, int) and found != wanted:
            raise UnfitInputError(f"{told} with {wanted} {word}, not {list(x.shape)}")
