"""CNN, RNN and attention in one network, trained end to end over a clip, with features of several scales.

Each frame passes MobileNetV2 as far as its fourteenth block; its maps at strides 4, 8 and 16 are brought to one width
and added from coarse to fine (feature pyramid, Lin et al., CVPR 2017), and each level is pooled: artefacts of blending
are fine, those of whole faces coarse. The blocks behind, at stride 32, hold three quarters of the weights and see what
a thousand kinds of things are. A bidirectional GRU follows the frames, and attention pooling weighs them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.mobilenet_v2 import IMAGENET, feature_layers, load_imagenet
from training.models.output import CLIP_FRAMES, Affine, Output
from training.models.recurrent import AttentionPooling, Cell, MaskedRecurrent

#: index of the last block of each stride (4, 8, 16) and its channels
TAPS = ((3, 24), (6, 32), (13, 96))
LEVEL, FRAME, HIDDEN = 96, 128, 80
SIZE = 128


class Pyramid(nn.Module):
    """Frames [m, 3, s, s] to one vector of ``3 * LEVEL`` each, through three scales of MobileNetV2."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = Affine(*IMAGENET)
        self.features = nn.Sequential(*list(feature_layers())[: TAPS[-1][0] + 1])
        self.lateral = nn.ModuleList(nn.Conv2d(channels, LEVEL, 1) for _, channels in TAPS)
        self.smooth = nn.ModuleList(nn.Conv2d(LEVEL, LEVEL, 3, padding=1, groups=LEVEL) for _ in TAPS)

    def forward(self, frames: Tensor) -> Tensor:
        x, maps = self.entry(frames), []
        taken = {place for place, _ in TAPS}
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in taken:
                maps.append(x)
        levels = [lateral(one) for lateral, one in zip(self.lateral, maps, strict=True)]
        for fine in (1, 0):
            levels[fine] = levels[fine] + functional.interpolate(levels[fine + 1], scale_factor=2.0, mode="nearest")
        pooled = [
            functional.relu6(smooth(level)).mean(dim=(2, 3)) for smooth, level in zip(self.smooth, levels, strict=True)
        ]
        return torch.cat(pooled, dim=1)


class Hybrid(nn.Module):
    """Clips [n, t, 3, s, s], s a multiple of 16, and a mask [n, t] to a logit, 160 features, and attention [n, 1, t].

    Args:
        frames: t, which is fixed when the network is built, so that the exported graph has one dynamic size, the batch.
    """

    takes, side = "clip", SIZE

    def __init__(self, frames: int = CLIP_FRAMES, cell: Cell = "gru", dropout: float = 0.3) -> None:
        super().__init__()
        self.frames, self.dropout = frames, dropout
        self.backbone = Pyramid()
        self.frame = nn.Linear(len(TAPS) * LEVEL, FRAME)
        self.norm = nn.LayerNorm(FRAME)
        self.rnn = MaskedRecurrent(FRAME, HIDDEN, cell)
        self.pool = AttentionPooling(2 * HIDDEN)
        self.classifier = nn.Linear(2 * HIDDEN, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Output:
        """Raises ValueError where the clip has another number of frames than the network was built for."""
        if x.shape[1] != self.frames:
            raise ValueError(f"a clip of {x.shape[1]} frames, expected {self.frames}")
        # A frame that is not there is grey to the backbone, whatever lies in its place.
        pictures = (x * mask[:, :, None, None, None]).flatten(0, 1)
        told = self.frame(self.backbone(pictures)).reshape(-1, self.frames, FRAME)
        told = functional.dropout(self.norm(told), self.dropout, self.training)
        y, _ = self.rnn(told, mask)
        embedding, weights = self.pool(y, mask)
        logit = self.classifier(functional.dropout(embedding, self.dropout, self.training))
        return Output(logit, embedding, weights)


def pretrained() -> Hybrid:
    """The network with an ImageNet backbone (where the package is installed)."""
    model = Hybrid()
    full = feature_layers()
    load_imagenet(full)
    kept = list(full)[: len(model.backbone.features)]
    model.backbone.features.load_state_dict(nn.Sequential(*kept).state_dict())
    return model
