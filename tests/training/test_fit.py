"""Training on Lightning: what is learned, what a killed run goes on with, what happens where memory is short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipelines.metrics import auc, eer
from training.callbacks import LAST
from training.datasets import StepBatches, TrainingData
from training.fit import fit, plan, scores
from training.models.output import LinearHead, Output
from training.models.registry import NETWORKS, Network
from training.module import EqualErrorRate, MemoryShortageError, metrics
from training.settings import FitSettings

ROOT = Path(__file__).resolve().parents[2]


class Tiny(nn.Module):
    """One convolution with all that makes a resume hard: batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), LinearHead(6, 0.5)
        self.largest = 10**6
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Output:
        self.seen.append(len(x))
        if len(x) > self.largest:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried")
        output: Output = self.head(torch.relu(self.norm(self.conv(x))))
        return output


TINY = Network("tiny", "cnn", "crop", Tiny, Tiny, 16)


class Noise:
    """Noise in which fakes are a little brighter; ``kill_at`` ends this process when so many items were drawn."""

    def __init__(self, count: int, kill_at: int = 0, start: int = 0) -> None:
        self.labels = np.arange(count) % 2
        self.kill_at, self.drawn, self.start = kill_at, 0, start

    def item(self, place: int, rng: np.random.Generator | None) -> dict[str, Any]:
        self.drawn += 1
        if self.kill_at and self.drawn == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        own = np.random.default_rng(self.start + int(place))
        pixels = own.integers(0, 200, (3, 16, 16), dtype=np.uint8) + np.uint8(25 * self.labels[place])
        return {"x": pixels if rng is None else np.roll(pixels, int(rng.integers(16)), 2)}

    def subset(self, places: Any) -> Noise:
        raise NotImplementedError


SETTINGS = FitSettings(
    epochs=4,
    patience=50,
    batch_size=8,
    average=0.9,
    every_steps=3,
    learning_rate=1e-2,
    precision="32-true",
    threads=1,
    warm_up=3,
)


def data(settings: FitSettings = SETTINGS, kill_at: int = 0) -> TrainingData:
    return TrainingData(Noise(60, kill_at), Noise(24, start=1000), settings)


def weights(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state"]
    return state


def test_a_run_learns_and_its_checkpoint_loads_without_a_pickle(tmp_path: Path) -> None:
    result = fit(TINY, data(), SETTINGS, tmp_path)
    assert result.metrics["auc"] > 0.9
    assert (result.epochs, result.steps, result.ended) == (4, 4 * 8, "epochs")
    state = torch.load(result.model, weights_only=True)
    assert state["network"] == "tiny"
    assert json.loads(state["settings"])["batch_size"] == 8
    again = Tiny()
    again.load_state_dict(state["state"])
    found = scores(again, Noise(24, start=1000), "crop")
    assert auc(found, np.arange(24) % 2) == pytest.approx(result.metrics["auc"], abs=1e-4)
    assert any((tmp_path / "tensorboard").glob("events*"))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    short = replace(SETTINGS, epochs=1)
    runs = [
        weights(fit(TINY, data(each), each, tmp_path / str(number)).model)
        for number, each in enumerate((short, short, replace(short, seed=2)))
    ]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not torch.equal(runs[0]["conv.weight"], runs[2]["conv.weight"])


SUBJECT = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import test_fit as subject
subject.fit(subject.TINY, subject.data(kill_at=int(sys.argv[2])), subject.SETTINGS, Path(sys.argv[1]))
"""


def run_apart(run: Path, kill_at: int = 0) -> int:
    code = SUBJECT.format(here=str(Path(__file__).parent))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(run), str(kill_at)]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


@pytest.mark.slow
def test_a_run_that_was_killed_twice_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    assert run_apart(tmp_path / "whole") == 0
    # 60 items an epoch: in the first epoch after a checkpoint within it, and then two epochs further on.
    assert run_apart(tmp_path / "killed", kill_at=45) == -signal.SIGKILL
    assert torch.load(tmp_path / "killed" / LAST, weights_only=True)["global_step"] == 3
    assert run_apart(tmp_path / "killed", kill_at=130) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model.pt").exists()
    assert run_apart(tmp_path / "killed") == 0
    whole, killed = weights(tmp_path / "whole" / "model.pt"), weights(tmp_path / "killed" / "model.pt")
    for name, value in whole.items():
        torch.testing.assert_close(killed[name], value, rtol=0, atol=1e-6)
    last = [torch.load(tmp_path / name / LAST, weights_only=True) for name in ("whole", "killed")]
    assert last[0]["global_step"] == last[1]["global_step"] == 32
    for name, value in last[0]["state_dict"].items():
        torch.testing.assert_close(last[1]["state_dict"][name], value, rtol=0, atol=1e-6)


PROCESSES = """
import os, sys
from pathlib import Path
sys.path.insert(0, {here!r})
import test_fit as subject
result = subject.fit(subject.TINY, subject.data(), subject.SETTINGS, Path({run!r}))
rank = os.environ["RANK"]
subject.torch.save({{"steps": result.steps, "metrics": result.metrics}}, Path({run!r}) / f"told{{rank}}.pt")
"""


@pytest.mark.slow
def test_two_processes_of_torchrun_train_one_network(tmp_path: Path) -> None:
    script, run = tmp_path / "script.py", tmp_path / "run"
    script.write_text(PROCESSES.format(here=str(Path(__file__).parent), run=str(run)))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(run / f"told{rank}.pt", weights_only=True) for rank in (0, 1))
    # Sixty items in batches of 2 x 8: half the steps of one process, and one set of measures.
    assert first == second
    assert first["steps"] == 4 * 4
    assert weights(run / "model.pt")["conv.weight"].isfinite().all()


def test_a_run_of_other_settings_is_not_resumed_in_silence(tmp_path: Path) -> None:
    fit(TINY, data(), replace(SETTINGS, epochs=1), tmp_path)
    other = replace(SETTINGS, epochs=1, learning_rate=1e-3)
    with pytest.raises(ValueError, match="another learning_rate"):
        fit(TINY, data(other), other, tmp_path)


def test_more_epochs_go_on_where_a_run_ended(tmp_path: Path) -> None:
    constant = replace(SETTINGS, epochs=1, schedule="constant")
    fit(TINY, data(constant), constant, tmp_path / "parts")
    longer = replace(constant, epochs=3)
    resumed = fit(TINY, data(longer), longer, tmp_path / "parts")
    whole = fit(TINY, data(longer), longer, tmp_path / "whole")
    assert resumed.steps == whole.steps == 24
    for name, value in weights(whole.model).items():
        torch.testing.assert_close(weights(resumed.model)[name], value, rtol=0, atol=1e-6)


class Hungry(Tiny):
    """Runs out of memory with more than three items."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 3


class Hopeless(Tiny):
    """Runs out of memory with any batch."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0


def test_out_of_memory_is_answered_with_half_the_batch_and_twice_the_parts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = fit(replace(TINY, build=Hungry), data(), replace(SETTINGS, epochs=1), tmp_path)
    assert result.parts == 4
    assert result.steps == 8
    assert "out of memory: going on with 2 items at a time and 4 parts a step" in caplog.text


def test_where_nothing_fits_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(MemoryShortageError, match="not even two items"):
        fit(replace(TINY, build=Hopeless), data(), replace(SETTINGS, epochs=1), tmp_path)


def test_an_error_that_is_not_of_memory_is_not_retried(tmp_path: Path) -> None:
    class Broken(Tiny):
        def forward(self, x: Tensor) -> Output:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        fit(replace(TINY, build=Broken), data(), replace(SETTINGS, epochs=1), tmp_path)


def test_accumulated_parts_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = LinearHead(3, 0.0)

        def forward(self, x: Tensor) -> Output:
            output: Output = self.head(x)
            return output

    found = []
    for size, parts in ((8, 1), (4, 2)):
        settings = replace(SETTINGS, epochs=1, batch_size=size, accumulate=parts, average=0.0)
        entry = Network("linear", "cnn", "crop", Linear, Linear, 16)
        found.append(weights(fit(entry, data(settings), settings, tmp_path / str(size)).model))
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-6)


def test_a_time_limit_ends_a_run_with_a_validated_model(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=10_000, minutes=0.001)
    result = fit(TINY, data(settings), settings, tmp_path)
    assert result.ended == "time"
    assert result.epochs < 10_000
    assert np.isfinite(result.metrics["auc"])


def test_a_run_without_progress_ends_by_patience(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=60, patience=3, learning_rate=1e-12)
    result = fit(TINY, data(settings), settings, tmp_path)
    assert (result.ended, result.epochs - result.epoch) == ("patience", 3)


def test_a_dry_run_counts_and_times_and_writes_nothing(tmp_path: Path) -> None:
    told = plan(TINY, data(), SETTINGS, tmp_path / "run")
    assert (told.train_items, told.val_items, told.epochs, told.steps_per_epoch) == (60, 24, 4, 8)
    assert told.seconds_per_step > 0
    assert not (tmp_path / "run").exists()


def test_an_autoencoder_learns_from_reals_alone_and_standardises_on_them(tmp_path: Path) -> None:
    class Reals(Noise):
        def __init__(self, count: int, fakes: bool) -> None:
            super().__init__(count)
            self.labels = np.arange(count) % 2 if fakes else np.zeros(count, int)

        def item(self, place: int, rng: np.random.Generator | None) -> dict[str, Any]:
            shade = np.full((3, 128, 128), 40 + place % 7, np.uint8)
            own = np.random.default_rng(place)
            return {"x": own.integers(0, 256, shade.shape, dtype=np.uint8) if self.labels[place] else shade}

    settings = replace(SETTINGS, epochs=1, batch_size=4, average=0.0)
    pieces = TrainingData(Reals(8, False), Reals(8, True), settings)
    entry = NETWORKS["anomaly_autoencoder"]
    result = fit(entry, pieces, settings, tmp_path)
    assert result.metrics["auc"] == 1.0
    assert weights(result.model)["spread"].max() < 1.0
    with pytest.raises(ValueError, match="real items alone"):
        fit(entry, TrainingData(Reals(8, True), Reals(8, True), settings), settings, tmp_path / "other")


def test_every_process_takes_its_share_of_the_same_batches() -> None:
    whole = list(StepBatches(50, 12, 3, lambda: 0))
    shares = [list(StepBatches(50, 12, 3, lambda: 0, rank, 2)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert sorted(batch) == sorted(first + second)
    assert sorted(place for batch in whole for _, place in batch) == list(range(50))


def test_batches_depend_on_seed_and_step_alone() -> None:
    whole = [batch for epoch in range(3) for batch in StepBatches(50, 12, 3, lambda at=epoch * 4: at)]  # type: ignore[misc]
    assert list(StepBatches(50, 12, 3, lambda: 6)) == whole[6:8]
    assert whole[0] != whole[4]


def test_the_measures_are_those_that_evaluation_uses() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 41)
    probabilities = np.clip(0.3 * labels + 0.7 * rng.random(41), 0, 1)
    found = metrics()
    for part in np.array_split(np.arange(41), 3):
        found.update(torch.from_numpy(probabilities[part]), torch.from_numpy(labels[part]))
    values = {name: float(value) for name, value in found.compute().items()}
    assert values["auc"] == pytest.approx(auc(probabilities, labels), abs=1e-6)
    assert values["eer"] == pytest.approx(eer(probabilities, labels), abs=1e-6)
    called = probabilities > 0.5
    hits = int((called & (labels == 1)).sum())
    assert values["precision"] == pytest.approx(hits / called.sum())
    assert values["recall"] == pytest.approx(hits / labels.sum())
    assert values["accuracy"] == pytest.approx((called == labels).mean())
    assert values["f1"] == pytest.approx(2 * hits / (called.sum() + labels.sum()))
    crossing = EqualErrorRate()
    crossing.update(torch.tensor([0.1, 0.4, 0.6, 0.9]), torch.tensor([0, 1, 0, 1]))
    assert float(crossing.compute()) == pytest.approx(0.5)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"average": 1.0}, {"batch_size": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(SETTINGS, **wrong)
    with pytest.raises(ValueError, match="unknown settings: speed"):
        FitSettings.from_mapping({"speed": 3})
