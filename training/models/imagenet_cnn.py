"""The first blocks of an ImageNet network, frozen, and a line through the means of their maps.

What a network learned to tell the things of the world apart by carries over to generators that nobody trained on;
fine-tuned on faces it forgets that for the fakes at hand. Ojha et al. (CVPR 2023) found it for the features of CLIP.
Here it is the eleventh block of EfficientNet-Lite0 (112 maps, a sixteenth of the side), the best of six on clips of
sources that were left out (``training/EXPERIMENTS.md``, Video): later ones know kinds of things, earlier ones edges.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from training.models import efficientnet_lite
from training.models.efficientnet_lite import EfficientNetLite0
from training.models.output import LinearHead, Output

BLOCKS, WIDTH = 11, 112


class ImagenetCnn(nn.Module):
    """Input: normalised float [n, 3, s, s] with s a multiple of 16. The embedding is [n, 112], the map s/16 square.

    Args:
        whole: the network whose stem and first blocks are taken; random weights where left out.
    """

    takes = "crop"

    def __init__(self, whole: EfficientNetLite0 | None = None) -> None:
        super().__init__()
        source = whole or EfficientNetLite0()
        self._conv_stem, self._bn0 = source._conv_stem, source._bn0
        self._blocks = source._blocks[:BLOCKS]
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.head = LinearHead(WIDTH, dropout=0.0)

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


def pretrained() -> ImagenetCnn:
    """With ImageNet's weights and a fresh head."""
    return ImagenetCnn(efficientnet_lite.pretrained())
