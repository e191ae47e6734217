"""Maps against masks that are known: perfect, at chance, and blind."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipelines.image.align import align_faces
from training.evaluation.heatmaps import map_quality, mean_mask, pixel_auc
from training.evaluation.masked import (
    KINDS,
    PARTS,
    SHARES,
    blended_with,
    draw_mask,
    mask_in_crop,
    part_mask,
    training_kind,
)
from training.heatmap_head import map_loss
from training.models.efficientnet_lite import EfficientNetLite0
from training.models.localising import FILE, LocalisingEfficientNetLite0, localised, with_map_head
from training.pseudofakes import mask_in_photo

POINTS = np.array([[88, 100], [140, 104], [112, 132], [92, 160], [134, 164]], np.float32)


def photo() -> np.ndarray:
    rng = np.random.default_rng(0)
    return cv2.GaussianBlur(rng.integers(0, 255, (256, 240, 3)).astype(np.uint8), (0, 0), 2.0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_the_mask_itself_is_a_perfect_map_and_noise_is_at_chance() -> None:
    rng = np.random.default_rng(1)
    masks = np.stack([mask_in_crop(draw_mask(KINDS[i % 6], rng), 160, 1.3) for i in range(30)])
    prior = mean_mask(160, 1.3, draws=100)
    perfect = map_quality("all", masks, masks, prior)
    assert perfect.auc > 0.995
    assert perfect.gain_low > 0
    blind = map_quality("all", rng.normal(size=(30, 20, 20)).astype(np.float32), masks, prior)
    assert blind.auc == pytest.approx(0.5, abs=0.06)
    same = map_quality("all", np.repeat(prior[None], 30, axis=0), masks, prior)
    assert same.gain == 0.0


def test_a_map_of_a_coarse_grid_is_compared_in_the_right_place() -> None:
    mask = np.zeros((160, 160), np.float32)
    mask[:40, 120:] = 1.0
    coarse = np.zeros((20, 20), np.float32)
    coarse[:5, 15:] = 1.0
    assert pixel_auc(coarse, mask) > 0.98
    assert pixel_auc(coarse[::-1], mask) < 0.6
    assert np.isnan(pixel_auc(coarse, np.zeros((160, 160), np.float32)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_in_the_crop_is_the_mask_in_the_photo_cut_out(kind: str) -> None:
    mask = draw_mask(kind, np.random.default_rng(3))
    there = (mask_in_photo(mask, POINTS, 256, 240) * 255).astype(np.uint8)
    cut = align_faces(np.repeat(there, 3, axis=2), POINTS[None], 160, 1.3)[0, ..., 0] / 255.0
    assert np.abs(cut - mask_in_crop(mask, 160, 1.3)).mean() < 0.01


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_changed_where_its_landmark_is_and_nowhere_else(part: str) -> None:
    pixels = photo()
    mask = part_mask(part, np.random.default_rng(2))
    changed = np.abs(blended_with(pixels, POINTS, mask, np.random.default_rng(11)).astype(int) - pixels).sum(axis=2)
    inside = mask_in_photo(mask, POINTS, 256, 240)[..., 0] > 0.5
    x, y = POINTS[3:].mean(axis=0) if part == "mouth" else POINTS[PARTS.index(part)]
    assert inside[round(y), round(x)]
    assert inside.mean() < 0.05
    assert changed[inside].mean() > 1.0
    assert part_mask(part, np.random.default_rng(2)).max() <= 1.0


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(ValueError, match="no part"):
        part_mask("ear", np.random.default_rng(0))


def test_kinds_are_drawn_by_their_shares() -> None:
    rng = np.random.default_rng(0)
    drawn = [training_kind(rng) for _ in range(4000)]
    assert sum(SHARES.values()) == pytest.approx(1.0)
    assert all(drawn.count(kind) / 4000 == pytest.approx(share, abs=0.03) for kind, share in SHARES.items())


def test_the_head_leaves_logit_and_embedding_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = EfficientNetLite0().eval()
    head = LocalisingEfficientNetLite0().map_head.state_dict()
    torch.save(head, tmp_path / FILE)
    found = localised(plain, tmp_path / "last.pt")
    x = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        before, after = plain(x), found(x)
    assert torch.equal(before.logit, after.logit)
    assert torch.equal(before.embedding, after.embedding)
    assert after.cam.shape == (2, 20, 20)
    assert localised(plain, tmp_path / "elsewhere" / "last.pt") is plain


def test_the_loss_weighs_a_small_change_like_a_large_one() -> None:
    masks = torch.zeros(2, 10, 10)
    masks[0, :1, :2], masks[1, :5] = 1.0, 1.0  # 2 and 50 cells of 100
    wrong_inside = [map_loss(torch.where(mask > 0, -4.0, -4.0), mask).item() for mask in masks[:, None]]
    assert wrong_inside[0] == pytest.approx(wrong_inside[1], rel=1e-4)
    right = map_loss(torch.where(masks > 0, 4.0, -4.0), masks)
    assert right.item() < 0.05 < wrong_inside[0]


def test_the_head_learns_where_a_planted_noise_is() -> None:
    torch.manual_seed(0)
    model = with_map_head(EfficientNetLite0(), LocalisingEfficientNetLite0().map_head.state_dict())
    generator = torch.Generator().manual_seed(0)
    x = torch.zeros(16, 3, 64, 64)
    masks = torch.zeros(16, 8, 8)
    for item in range(16):
        row, column = torch.randint(0, 5, (2,), generator=generator).tolist()
        masks[item, row : row + 3, column : column + 3] = 1.0
        area = (slice(row * 8, row * 8 + 24), slice(column * 8, column * 8 + 24))
        x[item, :, *area] = torch.randn(3, 24, 24, generator=generator) * 0.3
    with torch.no_grad():
        _, maps = model.maps(x)
    head = model.map_head.requires_grad_(True).train()
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(60):
        loss = map_loss(head(x, maps), masks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = [pixel_auc(a.detach().numpy(), m.numpy(), 8) for a, m in zip(head(x, maps), masks)]
    assert np.mean(found) > 0.95
