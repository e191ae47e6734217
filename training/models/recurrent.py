"""Recurrent layers and attention that respect a mask and export with a dynamic batch.

``nn.MultiheadAttention`` behind an LSTM exports and then fails at run time with a dynamic length, so attention is
written here without any reshape: one projection, cut into heads with ``split``, joined with ``cat``.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["lstm", "gru"]
_SHUT = 30.0
"""Added to a gate before its sigmoid; the other side of 1 is below float32's resolution, and float16 holds it."""
_FAR = -1e4
"""Added to the score of a frame that is not there; float16 holds it."""


class MaskedRecurrent(nn.Module):
    """A bidirectional LSTM or GRU layer whose state stands still at frames that are not there.

    The recurrent operators of ONNX and TensorRT know no mask for each step, so a constant input does it: one more
    column, 1 where a frame is missing, shuts the gates. A GRU's update gate at 1 keeps the state as it is. An LSTM's
    input gate at 0 and forget gate at 1 keep its cell; what the cell shows passes the output gate of an empty frame.
    So frames missing at either end change nothing at all, whatever their number (a GRU's in the middle neither), and
    what lies in a missing frame never does.

    Args:
        inputs: width of a frame; hidden: width of the state of one direction.
    """

    gates: Tensor

    def __init__(self, inputs: int, hidden: int, cell: Cell) -> None:
        super().__init__()
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.rnn = kind(inputs, hidden, batch_first=True, bidirectional=True)
        self.cell = cell
        # torch orders the gates of an LSTM input, forget, cell, output; of a GRU reset, update, new.
        column = [-_SHUT, _SHUT, 0.0, 0.0] if cell == "lstm" else [0.0, _SHUT, 0.0]
        self.register_buffer("gates", torch.tensor(column).repeat_interleave(hidden)[:, None], persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """From [n, t, inputs] and [n, t] to the outputs [n, t, 2 hidden] and the two final states [n, 2 hidden]."""
        weights = []
        for suffix in ("", "_reverse"):
            weights += [
                torch.cat([getattr(self.rnn, f"weight_ih_l0{suffix}"), self.gates], dim=1),
                getattr(self.rnn, f"weight_hh_l0{suffix}"),
                getattr(self.rnn, f"bias_ih_l0{suffix}"),
                getattr(self.rnn, f"bias_hh_l0{suffix}"),
            ]
        there = mask[:, :, None]
        told = torch.cat([x * there, 1 - there], dim=2)
        start = x.new_zeros(2, x.shape[0], self.rnn.hidden_size)
        if self.cell == "lstm":
            y, *_ = torch.lstm(told, [start, start], weights, True, 1, 0.0, self.training, True, True)
        else:
            y, *_ = torch.gru(told, start, weights, True, 1, 0.0, self.training, True, True)
        forward, backward = y.chunk(2, dim=2)
        first, last = ends(mask)
        final = torch.cat([(forward * last[:, :, None]).sum(1), (backward * first[:, :, None]).sum(1)], dim=1)
        return y * there, final


def ends(mask: Tensor) -> tuple[Tensor, Tensor]:
    """One-hot [n, t] of the first and of the last frame that is there (all zero where none is)."""
    before = mask.cumsum(dim=1)
    first = mask * (before < 1.5).to(mask.dtype)
    last = mask * (before > mask.sum(dim=1, keepdim=True) - 0.5).to(mask.dtype)
    return first, last


class MaskedAttention(nn.Module):
    """Multi-head self-attention over frames with a residual and a layer norm (Vaswani et al., NeurIPS 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.part = width // heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """From [n, t, width] and [n, t] to the same shape, and the share of attention of each frame, [n, 1, t]."""
        queries, keys, values = self.project(x).chunk(3, dim=2)
        far = (1 - mask)[:, None, :] * _FAR
        mixed, shares = [], []
        for query, key, value in zip(
            queries.split(self.part, 2), keys.split(self.part, 2), values.split(self.part, 2), strict=True
        ):
            share = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(self.part) + far, dim=2)
            mixed.append(share @ value)
            shares.append(share)
        y = self.norm(x + self.out(torch.cat(mixed, dim=2))) * mask[:, :, None]
        mean = torch.stack(shares).mean(dim=0) * mask[:, :, None]
        told = mean.sum(dim=1, keepdim=True) / mask.sum(dim=1)[:, None, None].clamp(min=1)
        return y, told


class AttentionPooling(nn.Module):
    """One vector of many: a learned query weighs the frames (Ilse et al., ICML 2018, without the gate)."""

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """From [n, t, width] and [n, t] to [n, width] and the weights [n, 1, t]."""
        scores = self.score(torch.tanh(self.hidden(x))).transpose(1, 2) + (1 - mask)[:, None, :] * _FAR
        weights = torch.softmax(scores, dim=2) * mask[:, None, :]
        return (weights @ x)[:, 0], weights
