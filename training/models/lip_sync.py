"""Two towers, one for the lips and one for the sound, whose answers agree where they are in step.

After SyncNet (Chung & Zisserman, 2016): what is compared is not a class but two embeddings. Ours are small, because the
talking clips that they learn from last three minutes in all: fourteen measures of the lips, made by a mesh that knows
faces already, and a log-mel spectrogram, each through two convolutions over time.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.audio.mel import BANDS
from pipelines.video.lips import MEASURES

WIDTH = 32
"""Numbers of an embedding."""
MEL_PER_FRAME = 4


class Tower(nn.Module):
    """Convolutions over time: [n, inputs, t] to [n, width, t]; a frame sees four on each side."""

    def __init__(self, inputs: int, hidden: int, width: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv1d(inputs, hidden, 5, padding=2)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.second = nn.Conv1d(hidden, hidden, 5, padding=2)
        self.norm2 = nn.BatchNorm1d(hidden)
        self.last = nn.Conv1d(hidden, width, 1)
        self.drop = nn.Dropout1d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(functional.relu(self.norm1(self.first(x))))
        x = self.drop(functional.relu(self.norm2(self.second(x))))
        return cast(Tensor, self.last(x))


class LipSync(nn.Module):
    """Both towers. ``scale`` turns agreement into log-odds in training."""

    def __init__(self, width: int = WIDTH, hidden: int = 48, dropout: float = 0.2) -> None:
        super().__init__()
        self.look = nn.BatchNorm1d(MEASURES)
        self.mouth = Tower(MEASURES, hidden, width, dropout)
        self.sound = Tower(BANDS * MEL_PER_FRAME, hidden, width, dropout)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def see(self, lips: Tensor) -> Tensor:
        """Lips [n, t, 14] to embeddings [n, t, 32] of length one; what does not move in the stretch says nothing."""
        motion = lips - lips.mean(dim=1, keepdim=True)
        told = self.mouth(self.look(motion.transpose(1, 2)))
        return functional.normalize(told.transpose(1, 2), dim=2)

    def hear(self, mel: Tensor) -> Tensor:
        """Log-mel [n, 4 t, 40] to embeddings [n, t, 32] of length one."""
        frames = mel.shape[1] // MEL_PER_FRAME
        told = self.sound(mel.reshape(-1, frames, BANDS * MEL_PER_FRAME).transpose(1, 2))
        return functional.normalize(told.transpose(1, 2), dim=2)

    def forward(self, lips: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        return self.see(lips), self.hear(mel)
