"""Cards for networks that a repository does not have yet: ``export/cards/<name>.yaml`` with its sizes filled in.

Only the sizes are filled in, from the network itself; the words are written by hand, and the copy in the repository is
a hand-written card like any other from then on.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from string import Template

import torch
from torch import nn

from training.models.localising import LocalisingEfficientNetLite0
from training.models.output import VoiceOutput
from training.models.registry import Network

FOLDER = Path(__file__).resolve().with_name("cards")
MARGIN = 1.3
"""What a crop shows around the face where the run did not say."""


def model_name(entry: Network) -> str:
    """The model's name in a repository: that of the registry; ``timm/some.name`` becomes ``timm_some_name``."""
    return re.sub(r"[^a-z0-9_]+", "_", entry.name.lower())


def card_text(entry: Network, model: nn.Module, size: int | None = None, margin: float | None = None) -> str:
    """The card of a trained network.

    Args:
        size: side of its crops in pixels, or width of its embeddings; the registry's where left out.
    """
    size = size or entry.size
    inputs = replace(entry, size=size).example(1)
    with torch.inference_mode():
        output = model.eval()(*inputs)
    extent = output.frames.shape if isinstance(output, VoiceOutput) else output.cam.shape
    file = "timm" if entry.name.startswith("timm/") else entry.name
    return Template((FOLDER / f"{file}.yaml").read_text(encoding="utf-8")).substitute(
        name=model_name(entry),
        backbone=entry.name.removeprefix("timm/"),
        size=size,
        margin=MARGIN if margin is None else margin,
        frames=entry.frames,
        features=output.embedding.shape[1],
        rows=extent[1],
        columns=extent[-1],
        # A map that a head draws costs a third of the network: only those pay who want it.
        drawn="true" if isinstance(model, LocalisingEfficientNetLite0) else "false",
    )


def add_card(
    root: Path, entry: Network, model: nn.Module, size: int | None = None, margin: float | None = None
) -> bool:
    """Write the card of a network into a repository that has none of that name; True where it was written."""
    path = root / model_name(entry) / "card.yaml"
    if path.exists():
        return False
    text = card_text(entry, model, size, margin)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return True
