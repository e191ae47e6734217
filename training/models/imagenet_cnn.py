"""The first blocks of an ImageNet network, frozen, and a line through the means of their maps.

What a network learned to tell the things of the world apart by carries over to generators that nobody trained on;
fine-tuned on faces it forgets that for the fakes at hand. Ojha et al. (CVPR 2023) found it for the features of CLIP.
Which block of EfficientNet-Lite0 is best was measured (``training/EXPERIMENTS.md``, seventh session): the eleventh for
clips, the eighth for photos. Later ones know kinds of things, earlier ones edges.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models import efficientnet_lite
from training.models.efficientnet_lite import Block, EfficientNetLite0
from training.models.output import LinearHead, Output

CLIP_BLOCKS, PHOTO_BLOCKS = 11, 8


class ImagenetCnn(nn.Module):
    """Input: normalised float [n, 3, s, s] with s a multiple of 16. The embedding holds the means of the last block's
    maps ([n, 80] of photos, [n, 112] of clips), the class-activation map is s/16 square.

    Args:
        blocks: how many are taken.
        whole: the network whose stem and blocks they are; random weights where left out.
    """

    def __init__(self, blocks: int, whole: EfficientNetLite0 | None = None) -> None:
        super().__init__()
        source = whole or EfficientNetLite0()
        self._conv_stem, self._bn0 = source._conv_stem, source._bn0
        self._blocks = source._blocks[:blocks]
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        last = self._blocks[-1]
        assert isinstance(last, Block)
        self.head = LinearHead(last._bn2.num_features, dropout=0.0)

    def train(self, mode: bool = True) -> ImagenetCnn:
        """The frozen part stays in evaluation mode: its batch norms keep ImageNet's statistics."""
        super().train(mode)
        for part in (self._bn0, self._blocks):
            part.eval()
        return self

    def forward(self, x: Tensor) -> Output:
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        output: Output = self.head(x)
        return output

    def set_line(self, weights: npt.NDArray[np.float64], bias: float) -> None:
        """Put a fitted line [d] into the head."""
        with torch.no_grad():
            self.head.classifier.weight.copy_(torch.from_numpy(weights[None]).float())
            self.head.classifier.bias.fill_(bias)


def pretrained(blocks: int) -> ImagenetCnn:
    """With ImageNet's weights and a fresh head."""
    return ImagenetCnn(blocks, efficientnet_lite.pretrained())
