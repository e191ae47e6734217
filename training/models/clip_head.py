"""A linear head over a clip's mean profile: the smallest network over many frames.

With three hundred clips to learn from, a line through the features of a network that knows many portraits by other
generators says more of new sources than a recurrent network of millions of weights. Profiles are those of
``pipelines.novelty``: unit vectors of the square roots of the features, so that which features answer counts and not
how strongly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.models.output import Output


class ClipHead(nn.Module):
    """Embeddings [n, t, d] and a mask [n, t] to a logit, the mean profile [n, d], and equal shares [n, 1, t].

    Args:
        width: d, 1,280 for networks of the EfficientNet-Lite0 kind.
    """

    takes = "embeddings"

    def __init__(self, width: int = 1280) -> None:
        super().__init__()
        self.width = width
        self.classifier = nn.Linear(width, 1)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Output:
        roots = torch.sqrt(torch.relu(x) + 1e-12)
        profiles = roots / torch.linalg.vector_norm(roots, dim=2, keepdim=True).clamp(min=1e-6)
        shares = mask / mask.sum(dim=1, keepdim=True).clamp(min=1.0)
        mean = (profiles * shares[:, :, None]).sum(dim=1)
        return Output(self.classifier(mean), mean, shares[:, None, :])
