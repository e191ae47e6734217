"""Deviations of cepstra, bands and phases with a small head: the cheapest voice detector, and the one to beat.

The front end is fixed (``training.models.voice_deviations``), so that features are computed once and heads train in
seconds. A head is a line for each kind of synthetic speech (``training.audio.kinds``), since kinds lie on different
sides of real speech. ``FRAMES`` applies the same kind of head to stretches of a second.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.audio.windows import SAMPLES
from training.models.output import VoiceOutput
from training.models.voice_deviations import FEATURES, Deviations

LINES = 4
"""Kinds of synthetic speech that have a line."""
NEVER = -1e3
"""Log-odds of a kind that was not trained."""


class VoiceCepstra(nn.Module):
    """The network: front end, standardisation, and lines for the window and for stretches, of which the log-odds of
    the kinds come that add up to one (their priors are in the biases)."""

    takes, samples = "audio", SAMPLES

    mean: Tensor
    scale: Tensor
    local_mean: Tensor
    local_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.front = Deviations()
        for name, value in (("mean", 0.0), ("scale", 1.0), ("local_mean", 0.0), ("local_scale", 1.0)):
            self.register_buffer(name, torch.full((FEATURES,), value))
        self.head = nn.Linear(FEATURES, LINES)
        self.local_head = nn.Linear(FEATURES, LINES)

    def forward(self, audio: Tensor, mask: Tensor) -> VoiceOutput:
        whole, local = self.front(audio, mask)
        embedding = (whole - self.mean) * self.scale
        frames = self.local_head((local - self.local_mean) * self.local_scale)
        return VoiceOutput(self.head(embedding).logsumexp(1, keepdim=True), embedding, frames.logsumexp(2))
