"""The founding document's recurrent network over the embeddings of a clip's frames, and its GRU variant.

LSTM 256 + multi-head attention; dropout + LSTM 128 + attention; dropout + LSTM 64; Dense 128 + dropout; Dense 64;
output. Every recurrent layer is bidirectional; its number is that of both directions together. A learned projection
narrows the embeddings before the first layer, whose weights would else be half of all: with a few hundred clips to
learn from, and 120 MB for all networks, they do not earn their place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.output import Output
from training.models.recurrent import Cell, MaskedAttention, MaskedRecurrent

WIDTHS = (256, 128, 64)
"""Features after each recurrent layer, half of them from either direction."""
HEADS = 4
_LEAST = 1e-6
"""Keeps the gradient of a root finite, and float16 holds it as a subnormal number."""
PROJECTED = 128
"""Numbers of a frame that the first layer sees."""


class SequenceRnn(nn.Module):
    """Embeddings [n, t, d] and a mask [n, t] to a logit, 64 features, and the attention over the frames [n, 1, t].

    The last layer answers with the state in which each direction ends, at the last and at the first frame that is
    there. ``cam`` is the attention of the second block: how much of what the frames look at is this frame.

    Args:
        width: d, 1,280 for ``frame_cnn`` and ``mobile_cnn``; projected: what it is narrowed to.
        roots: take the square roots of the features, as profiles do (``pipelines.novelty``): which of them answer
            counts more than how strongly. Over ``frame_cnn`` that carries over to new sources better.
        cell: ``lstm`` as drawn, or ``gru``: three gates for four, a quarter fewer weights in the recurrent layers.
    """

    takes = "embeddings"

    def __init__(
        self,
        width: int = 1280,
        cell: Cell = "lstm",
        dropout: float = 0.3,
        projected: int = PROJECTED,
        roots: bool = True,
    ) -> None:
        super().__init__()
        self.width, self.dropout, self.roots = width, dropout, roots
        first, second, third = (both // 2 for both in WIDTHS)
        # Embeddings of different networks differ in scale by far; the first layer should not care.
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, projected)
        self.first = MaskedRecurrent(projected, first, cell)
        self.attention1 = MaskedAttention(WIDTHS[0], HEADS)
        self.second = MaskedRecurrent(WIDTHS[0], second, cell)
        self.attention2 = MaskedAttention(WIDTHS[1], 1)
        self.third = MaskedRecurrent(WIDTHS[1], third, cell)
        self.dense1 = nn.Linear(WIDTHS[2], 128)
        self.dense2 = nn.Linear(128, 64)
        self.classifier = nn.Linear(64, 1)
        nn.init.zeros_(self.classifier.bias)

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)

    def forward(self, x: Tensor, mask: Tensor) -> Output:
        told = x * mask[:, :, None]
        if self.roots:
            told = torch.sqrt(torch.relu(told) + _LEAST)
        narrow = self.project(self._drop(self.norm(told)))
        y, _ = self.first(narrow, mask)
        y, _ = self.attention1(y, mask)
        y, _ = self.second(self._drop(y), mask)
        y, shares = self.attention2(y, mask)
        _, final = self.third(self._drop(y), mask)
        hidden = self._drop(torch.relu(self.dense1(final)))
        embedding = torch.relu(self.dense2(hidden))
        return Output(self.classifier(embedding), embedding, shares)
