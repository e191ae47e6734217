"""What damage does to a score is told from the embedding, for real and fake alike, and taken away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.metrics import auc
from training import invariance
from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.photo_split import held_out_photos
from training.invariance import damaged, drawn_photos, line_of_damage, shift_line
from training.models.localising import FILE
from training.models.output import Output
from training.settings import Settings

LANDMARKS = np.array([[20, 26], [44, 26], [32, 38], [23, 48], [41, 48]], np.float32)


def told(count: int, seed: int) -> tuple[np.ndarray, ...]:  # type: ignore[type-arg]
    """Embeddings whose first feature tells the class and whose second the damage, labels, shifts and raw scores."""
    rng = np.random.default_rng(seed)
    labels, damage = np.arange(count) % 2, np.repeat(rng.uniform(0, 1, count // 2), 2)
    x = rng.standard_normal((count, 5)) * 0.3
    x[:, 0] += labels
    x[:, 1] += 3 * damage
    return x.astype(np.float32), labels.astype(np.int64), 2 * damage, 3.0 * x[:, 0] + 2 * damage


def test_scores_no_longer_follow_the_damage_and_still_tell_the_classes() -> None:
    x, labels, moved, _ = told(2000, 1)
    weight, bias = shift_line(x, moved, labels)
    fresh, truth, damage, scores = told(2000, 2)
    steady = scores - (fresh @ weight + bias)
    assert abs(np.corrcoef(steady[truth == 0], damage[truth == 0])[0, 1]) < 0.5
    assert np.corrcoef(scores[truth == 0], damage[truth == 0])[0, 1] > 0.5
    assert auc(steady, truth) > auc(scores, truth)
    assert abs(weight[0]) < 0.1 * abs(weight[1])  # the class does not go in


def test_of_one_class_no_line_is_fitted() -> None:
    x, labels, moved, _ = told(100, 1)
    with pytest.raises(ValueError, match="real and fake"):
        shift_line(x[labels == 0], moved[labels == 0], labels[labels == 0])


def photos(count: int = 40) -> PhotoCache:
    rng = np.random.default_rng(4)
    rows = [Row(f"{k}.png", k % 2, "stylegan3" if k % 2 else "ffhq_a", (), "", "no") for k in range(count)]
    pixels = rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    shapes = np.full((count, 2), 64, np.int32)
    return PhotoCache(pixels, shapes, np.tile(LANDMARKS, (count, 1, 1)), np.arange(count, dtype=np.int32), rows)


def test_the_same_damage_meets_a_real_and_a_fake_photo_and_differs_from_place_to_place() -> None:
    cache = photos()
    same = damaged(cache, np.array([0, 0], np.int64), 3, 32, 1.3)
    again = damaged(cache, np.array([0], np.int64), 4, 32, 1.3)
    assert same.shape == (2, 32, 32, 3)
    assert not np.array_equal(same[0], same[1])
    assert np.array_equal(same[1], again[0])


def test_photos_of_one_class_are_drawn_and_none_that_is_held_out() -> None:
    cache = photos(400)
    drawn = drawn_photos(cache, Settings(), 1, 300, np.random.default_rng(1))
    assert {cache.rows[item].label for item in drawn.tolist()} == {1}
    assert not held_out_photos(cache)[drawn].any()


class Brightness(nn.Module):
    """Its score is the crop's brightness, which damage changes; so is its first feature."""

    def forward(self, x: torch.Tensor) -> Output:
        mean = x.mean(dim=(1, 2, 3))[:, None]
        return Output(4.0 * mean, torch.cat([mean, torch.randn_like(mean), torch.randn_like(mean)], dim=1), mean)


def test_the_line_of_a_network_follows_what_its_features_show(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(1)
    with caplog.at_level("INFO"):
        weight, _ = line_of_damage(Brightness(), photos(), Settings(size=32, margin=1.3), 60)
    assert weight.shape == (3,)
    assert weight[0] > 0.2
    assert "60 of 60 pairs" in caplog.text


def test_the_run_gets_another_last_layer_and_keeps_its_heat_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.models.efficientnet_lite import EfficientNetLite0
    from training.models.registry import read_checkpoint

    model = EfficientNetLite0()
    run = tmp_path / "run"
    run.mkdir()
    told = {"network": "blend_cnn", "settings": '{"size": 32}', "step": 7, "spent": 60.0}
    torch.save({"average": model.state_dict(), **told}, run / "last.pt")
    (run / FILE).write_bytes(b"as it is")
    monkeypatch.setattr(invariance, "load_cache", lambda _: photos())
    monkeypatch.setattr(invariance, "line_of_damage", lambda *_: (np.full(1280, 0.5), 2.0))
    assert invariance.main([str(tmp_path / "out"), str(run)]) == 0
    _, after, _ = read_checkpoint(tmp_path / "out" / "last.pt", "blend_cnn")
    assert isinstance(after, EfficientNetLite0)
    assert torch.allclose(after.classifier.weight, model.classifier.weight - 0.5)
    assert torch.allclose(after.classifier.bias, model.classifier.bias - 2.0)
    assert (tmp_path / "out" / FILE).read_bytes() == b"as it is"
