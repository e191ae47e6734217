"""A broken loss is found: closed forms, numeric gradients, and what each option must change."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from training.losses import class_weights, focal_loss, ranking_loss

LOGITS = torch.tensor([-2.0, -0.3, 0.4, 3.0], dtype=torch.float64)
TARGETS = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)


def by_hand(gamma: float, alpha: float | None = None, weights: tuple[float, float] = (1.0, 1.0)) -> float:
    total = 0.0
    for logit, target in zip(LOGITS.tolist(), TARGETS.tolist()):
        p = 1 / (1 + math.exp(-logit))
        true = p if target == 1 else 1 - p
        scale = 1.0 if alpha is None else (alpha if target == 1 else 1 - alpha)
        total += scale * weights[int(target)] * (1 - true) ** gamma * -math.log(true)
    return total / 4


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_the_focal_loss_is_its_closed_form(gamma: float, alpha: float | None) -> None:
    assert focal_loss(LOGITS, TARGETS, gamma, alpha).item() == pytest.approx(by_hand(gamma, alpha), rel=1e-5)
    weighted = focal_loss(LOGITS, TARGETS, gamma, alpha, weights=(0.5, 2.0)).item()
    assert weighted == pytest.approx(by_hand(gamma, alpha, (0.5, 2.0)), rel=1e-5)


def test_gamma_zero_is_the_cross_entropy_and_smoothing_its_soft_targets() -> None:
    plain = functional.binary_cross_entropy_with_logits(LOGITS, TARGETS)
    assert focal_loss(LOGITS, TARGETS, 0.0).item() == pytest.approx(plain.item(), rel=1e-6)
    soft = functional.binary_cross_entropy_with_logits(LOGITS, TARGETS * 0.8 + 0.1)
    assert focal_loss(LOGITS, TARGETS, 0.0, smoothing=0.1).item() == pytest.approx(soft.item(), rel=1e-6)


@pytest.mark.parametrize("loss", [lambda x: focal_loss(x, TARGETS, 2.0, 0.25), lambda x: ranking_loss(x, TARGETS)])
def test_gradients_are_the_numeric_ones(loss) -> None:  # type: ignore[no-untyped-def]
    x = LOGITS.clone().requires_grad_()
    loss(x).backward()
    for place in range(4):
        step = torch.zeros_like(LOGITS)
        step[place] = 1e-2
        numeric = (loss(LOGITS + step) - loss(LOGITS - step)) / 2e-2
        assert x.grad is not None
        assert x.grad[place].item() == pytest.approx(float(numeric), abs=2e-4)


def test_every_item_is_pushed_towards_its_class() -> None:
    for loss in (focal_loss, ranking_loss):
        x = LOGITS.clone().requires_grad_()
        torch.autograd.backward(loss(x, TARGETS))
        assert x.grad is not None
        assert ((x.grad < 0) == (TARGETS > 0.5)).all()


def test_extreme_logits_give_a_finite_loss_and_gradient() -> None:
    x = torch.tensor([200.0, -200.0, 200.0, -200.0], requires_grad=True)
    torch.autograd.backward(focal_loss(x, torch.tensor([0.0, 1.0, 1.0, 0.0])))
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad[:2].abs().min() > 0.2


def test_the_ranking_loss_is_its_closed_form_over_all_pairs() -> None:
    reals, fakes = [-2.0, 0.4], [-0.3, 3.0]
    expected = sum(math.log1p(math.exp(r - f)) for r in reals for f in fakes) / 4
    assert ranking_loss(LOGITS, TARGETS).item() == pytest.approx(expected, rel=1e-5)
    assert ranking_loss(LOGITS + 5, TARGETS).item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_of_one_class_ranks_nothing() -> None:
    x = LOGITS.clone().requires_grad_()
    ranking_loss(x, torch.ones(4)).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert not x.grad.any()


def test_class_weights_balance_the_classes() -> None:
    real, fake = class_weights([0, 0, 0, 1])
    assert (3 * real, fake) == (2.0, 2.0)
    with pytest.raises(ValueError, match="both classes"):
        class_weights([1, 1])


def test_wrong_shapes_and_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="columns"):
        focal_loss(LOGITS[:, None], TARGETS)
    with pytest.raises(ValueError, match="gamma"):
        focal_loss(LOGITS, TARGETS, -1.0)
