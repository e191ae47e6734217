"""The founding document's recurrent network over the embeddings of a clip's frames, and its GRU variant.

LSTM 256 + multi-head attention; dropout + LSTM 128 + attention; dropout + LSTM 64; Dense 128 + dropout; Dense 64;
output. Every recurrent layer is bidirectional, so that it is twice as wide as its name says.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.output import Output
from training.models.recurrent import Cell, MaskedAttention, MaskedRecurrent

WIDTHS = (256, 128, 64)
HEADS = 4


class SequenceRnn(nn.Module):
    """Embeddings [n, t, d] and a mask [n, t] to a logit, 64 features, and the attention over the frames [n, 1, t].

    The last layer answers with the state in which each direction ends, at the last and at the first frame that is
    there. ``cam`` is the attention of the second block: how much of what the frames look at is this frame.

    Args:
        width: d, 1,280 for ``frame_cnn`` and ``mobile_cnn``.
        cell: ``lstm`` as drawn, or ``gru``: three gates for four, a quarter fewer weights in the recurrent layers.
    """

    def __init__(self, width: int = 1280, cell: Cell = "lstm", dropout: float = 0.3) -> None:
        super().__init__()
        self.dropout = dropout
        # Embeddings of different networks differ in scale by far; the first layer should not care.
        self.norm = nn.LayerNorm(width)
        self.first = MaskedRecurrent(width, WIDTHS[0], cell)
        self.attention1 = MaskedAttention(2 * WIDTHS[0], HEADS)
        self.second = MaskedRecurrent(2 * WIDTHS[0], WIDTHS[1], cell)
        self.attention2 = MaskedAttention(2 * WIDTHS[1], 1)
        self.third = MaskedRecurrent(2 * WIDTHS[1], WIDTHS[2], cell)
        self.dense1 = nn.Linear(2 * WIDTHS[2], 128)
        self.dense2 = nn.Linear(128, 64)
        self.classifier = nn.Linear(64, 1)
        nn.init.zeros_(self.classifier.bias)

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)

    def forward(self, x: Tensor, mask: Tensor) -> Output:
        y, _ = self.first(self.norm(x * mask[:, :, None]), mask)
        y, _ = self.attention1(y, mask)
        y, _ = self.second(self._drop(y), mask)
        y, shares = self.attention2(y, mask)
        _, final = self.third(self._drop(y), mask)
        hidden = self._drop(torch.relu(self.dense1(final)))
        embedding = torch.relu(self.dense2(hidden))
        return Output(self.classifier(embedding), embedding, shares)
