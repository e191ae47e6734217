"""A depthwise convolution that trains fast on a CPU in mixed precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Depthwise(nn.Conv2d):
    """``nn.Conv2d`` with one group for each channel, symmetric padding and no bias.

    oneDNN's bfloat16 gradient of 5 x 5 and of strided depthwise convolutions is three to six times slower than
    float32's, so that these leave autocast while they are trained on a CPU. The answer is the same layer's.
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        slow = self.kernel_size[0] > 3 or self.stride[0] > 1
        if not (slow and self.training and torch.is_autocast_enabled("cpu")):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            y = functional.conv2d(x.float(), self.weight, None, self.stride, self.padding, self.dilation, self.groups)
        return y.to(torch.get_autocast_dtype("cpu"))
