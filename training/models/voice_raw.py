"""A raw-waveform network of the AASIST kind (Jung et al., ICASSP 2022), our own code after the paper.

The paper's way: sinc filters over the waveform, a residual encoder over the band-time map, one graph whose nodes are
bands and one whose nodes are moments, graph attention in each, then attention over both graphs together with a stack
node that gathers (heterogeneous stacking graph attention), a maximum over two branches, a read-out.

What differs, for a CPU: the filters come in quadrature pairs, so that their energy can be taken every 64 samples
(the paper filters at every sample, 11 GMAC in all); the energies are logarithmic over a low floor; graph pooling is
left out, because choosing nodes (top-k) is what exporters and engines take worst. About 0.15 GMAC a window.

``FRAMES`` comes from the temporal nodes: a linear head over each, averaged over a second.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.audio.windows import CELL, RATE, SAMPLES
from training.models.output import VoiceOutput
from training.models.voice_cnn import MomentHead, cell_mask, centred
from training.models.voice_frontend import WHOLE

HOP, LENGTH, BANDS = 64, 128, 64
STEP = 2
"""Cells of a temporal node."""


class SincPairs(nn.Module):
    """Band-pass filters with learnt edges, in quadrature; log energy [n, frames, bands] every ``HOP`` samples."""

    time: Tensor
    window: Tensor

    def __init__(self, bands: int = BANDS, floor: float = 1e-9) -> None:
        super().__init__()
        edges = torch.linspace(30.0, RATE / 2 - 30.0, bands + 1) / RATE
        self.low = nn.Parameter(edges[:-1] * 100)  # in hundredths of the rate: a step of AdamW suits both numbers
        self.width = nn.Parameter((edges[1:] - edges[:-1]) * 100)
        half = (LENGTH - 1) / 2
        self.register_buffer("time", torch.arange(LENGTH) - half, persistent=False)
        self.register_buffer("window", torch.hann_window(LENGTH + 2, periodic=False)[1:-1], persistent=False)
        self.raised, self.frames = 1.0 / floor, WHOLE // HOP

    def filters(self) -> Tensor:
        """float [LENGTH, 2 * bands]: cosine and sine phase of each band, of unit energy."""
        width = self.width.abs() / 100 + 1.0 / RATE
        centre = (self.low.abs() / 100 + width / 2).clamp(max=0.5)
        envelope = torch.sin(math.pi * width[:, None] * self.time) / (math.pi * self.time) * self.window
        phase = 2 * math.pi * centre[:, None] * self.time
        pair = torch.cat([envelope * torch.cos(phase), envelope * torch.sin(phase)])
        return (pair / torch.sqrt((pair * pair).sum(dim=1, keepdim=True) + 1e-12)).T

    def forward(self, audio: Tensor) -> Tensor:
        count = LENGTH // HOP
        padded = functional.pad(audio[:, :WHOLE], (LENGTH // 2 - HOP // 2, LENGTH // 2 - HOP // 2))
        hops = padded.reshape(-1, self.frames + count - 1, HOP)
        framed = torch.cat([hops[:, place : place + self.frames] for place in range(count)], dim=2)
        pairs = framed @ self.filters()
        bands = pairs.shape[2] // 2
        return torch.log((pairs[:, :, :bands] ** 2 + pairs[:, :, bands:] ** 2) * self.raised + 1.0)


class Residual(nn.Module):
    """The paper's residual block, pre-activated by the one before; then a maximum over ``pool`` moments."""

    def __init__(self, inputs: int, outputs: int, pool: int, bands: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.cut = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()
        self.pool = (pool, bands)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(functional.selu(self.norm1(self.conv1(x)))))
        return functional.max_pool2d(functional.selu(y + self.cut(x)), self.pool)


class GraphAttention(nn.Module):
    """Attention between all nodes of a graph, [n, k, c]; the weight of a pair comes from the product of its nodes.

    Args:
        kinds: of nodes; each pair of kinds has its own weights of attention (the paper's heterogeneous layer).
    """

    def __init__(self, inputs: int, outputs: int, kinds: int = 1, temperature: float = 2.0) -> None:
        super().__init__()
        self.pair = nn.Linear(inputs, outputs)
        self.weight = nn.Parameter(torch.randn(kinds, kinds, outputs) * (1.0 / math.sqrt(outputs)))
        self.gather, self.keep = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs)
        self.temperature = temperature

    def forward(self, *groups: Tensor) -> list[Tensor]:
        """New nodes of each group of one kind."""
        nodes = torch.cat(groups, dim=1)
        products = torch.tanh(self.pair(nodes[:, :, None] * nodes[:, None]))
        sizes = [group.shape[1] for group in groups]
        rows = []
        for row, part in enumerate(torch.split(products, sizes, dim=1)):
            scores = [
                (piece * self.weight[row, column]).sum(dim=3)
                for column, piece in enumerate(torch.split(part, sizes, dim=2))
            ]
            rows.append(torch.cat(scores, dim=2))
        share = torch.softmax(torch.cat(rows, dim=1) / self.temperature, dim=2)
        mixed = functional.selu(self.norm(self.gather(share @ nodes) + self.keep(nodes)))
        return list(torch.split(mixed, sizes, dim=1))


class StackNode(nn.Module):
    """The node that gathers from all others, [n, 1, c] (the paper's stack node)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.score = nn.Linear(inputs, outputs)
        self.weight = nn.Linear(outputs, 1)
        self.gather, self.keep = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)

    def forward(self, stack: Tensor, nodes: Tensor) -> Tensor:
        share = torch.softmax(self.weight(torch.tanh(self.score(stack * nodes))), dim=1)
        gathered: Tensor = self.gather((share * nodes).sum(dim=1, keepdim=True))
        return gathered + cast(Tensor, self.keep(stack))


class Branch(nn.Module):
    """Two heterogeneous layers with their stack nodes over the spectral and the temporal graph."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stack = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.first, self.second = GraphAttention(width, width, 2), GraphAttention(width, width, 2)
        self.stack1, self.stack2 = StackNode(width, width), StackNode(width, width)

    def forward(self, spectral: Tensor, temporal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stack = self.stack1(self.stack.expand(spectral.shape[0], -1, -1), torch.cat([spectral, temporal], dim=1))
        spectral, temporal = self.first(spectral, temporal)
        stack = self.stack2(stack, torch.cat([spectral, temporal], dim=1))
        more = self.second(spectral, temporal)
        return spectral + more[0], temporal + more[1], stack


class VoiceRaw(nn.Module):
    """The network. Temporal nodes stand for ``STEP`` cells each; those without recording are zero."""

    takes, samples = "audio", SAMPLES

    def __init__(self, width: int = 32, dropout: float = 0.2) -> None:
        super().__init__()
        self.sinc = SincPairs()
        self.encoder = nn.Sequential(
            Residual(1, 8, 4, 2), Residual(8, 24, 4, 2), Residual(24, 32, 1), Residual(32, width * 2, 1)
        )
        self.position = nn.Parameter(torch.zeros(1, BANDS // 4, width * 2))
        self.spectral, self.temporal = GraphAttention(width * 2, width), GraphAttention(width * 2, width)
        self.branches = nn.ModuleList([Branch(width), Branch(width)])
        self.readout = nn.Linear(5 * width, 1)
        self.moments = MomentHead(width, STEP, dropout)
        self.dropout = dropout

    def forward(self, audio: Tensor, mask: Tensor) -> VoiceOutput:
        share = cell_mask(mask, STEP)
        ratio = CELL // HOP
        valid = mask[:, : WHOLE // CELL, None].expand(-1, -1, ratio).reshape(mask.shape[0], -1)
        bands = centred(self.sinc(audio), valid) * 0.4
        final = (
            cast(Tensor, self.encoder(bands[:, None].contiguous(memory_format=torch.channels_last)))
            * share.transpose(1, 2)[:, None]
        )
        (spectral,) = self.spectral(final.abs().amax(dim=2).transpose(1, 2) + self.position)
        (temporal,) = self.temporal(final.abs().amax(dim=3).transpose(1, 2))
        told = [branch(spectral, temporal) for branch in self.branches]
        spectral, temporal, stack = (torch.maximum(a, b) for a, b in zip(*told, strict=True))
        temporal = temporal * share.transpose(1, 2)
        count = share.sum(dim=2).clamp(min=1e-3)
        parts = [temporal.abs().amax(dim=1), temporal.sum(dim=1) / count, spectral.abs().amax(dim=1)]
        embedding = torch.cat([*parts, spectral.mean(dim=1), stack[:, 0]], dim=1)
        logit = self.readout(functional.dropout(embedding, self.dropout, self.training))
        local = self.moments(temporal.transpose(1, 2), share)
        return VoiceOutput(logit + local.logit, embedding, local.frames)
