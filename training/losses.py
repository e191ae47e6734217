"""Losses of the detectors, over raw logits.

Focal loss: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017. Ranking: each fake above each real of its
batch, as in RankNet (Burges et al., ICML 2005); its mean is a smooth bound on 1 - AUC.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def class_weights(labels: Sequence[int]) -> tuple[float, float]:
    """Weights of (real, fake) that give both classes the same sum and the items a mean weight of 1.

    Raises:
        ValueError: a class is missing.
    """
    counts = (sum(label == 0 for label in labels), sum(label == 1 for label in labels))
    if not all(counts):
        raise ValueError(f"class weights need both classes, got {counts[0]} real and {counts[1]} fake items")
    return len(labels) / (2 * counts[0]), len(labels) / (2 * counts[1])


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    gamma: float = 2.0,
    alpha: float | None = None,
    weights: tuple[float, float] | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean over the batch of ``alpha_t * (1 - p_t)^gamma * -log p_t``.

    Args:
        logits, targets: float [n]; targets are 0 (real) or 1 (fake).
        gamma: how much easy items are turned down; 0 gives the cross-entropy.
        alpha: weight of the fakes, 1 - alpha for the reals; both 1 where it is left out.
        weights: class weights (real, fake), multiplied with the above.
        smoothing: targets become ``smoothing`` and ``1 - smoothing``; p_t stays that of the true class.

    Returns:
        A scalar. The mean is over items, not over weights, so that parts of a batch add up to the whole.

    Raises:
        ValueError: shapes differ, or a parameter is out of its range.
    """
    if logits.shape != targets.shape or logits.ndim != 1:
        raise ValueError(f"logits and targets must be two columns of one length, got {logits.shape}, {targets.shape}")
    if gamma < 0 or not 0 <= smoothing < 0.5 or (alpha is not None and not 0 <= alpha <= 1):
        raise ValueError("gamma must not be negative, smoothing lies in [0, 0.5), alpha in [0, 1]")
    logits, targets = logits.float(), targets.float()
    softened = targets * (1 - 2 * smoothing) + smoothing
    loss = functional.binary_cross_entropy_with_logits(logits, softened, reduction="none")
    if gamma:
        # 1 - p_t = sigmoid(-logit of the true class), taken through its logarithm for a finite gradient at the ends.
        signed = torch.where(targets > 0.5, logits, -logits)
        loss = loss * torch.exp(gamma * functional.logsigmoid(-signed))
    if alpha is not None:
        loss = loss * torch.where(targets > 0.5, alpha, 1 - alpha)
    if weights is not None:
        loss = loss * torch.where(targets > 0.5, weights[1], weights[0])
    return loss.mean()


def ranking_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of ``log(1 + exp(real - fake))`` over all pairs of a batch; 0 (with a gradient of 0) without a pair.

    Args:
        logits, targets: float [n]; targets are 0 (real) or 1 (fake).
    """
    logits = logits.float()
    fakes, reals = logits[targets > 0.5], logits[targets <= 0.5]
    if not len(fakes) or not len(reals):
        return logits.sum() * 0.0
    return functional.softplus(reals[:, None] - fakes[None]).mean()
