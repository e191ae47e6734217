"""Networks trained on the photo cache: the partition they share, what a run leaves, and how it travels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.carry import pack, unpack
from training.data.cache import PhotoCache
from training.data.manifest import Row
from training.data.sources import WATCHED
from training.models.output import LinearHead, Output
from training.models.registry import NETWORKS, Network
from training.on_cache import measured, parts_of, settings_for, train_on_cache
from training.report import Fit

torch.set_num_threads(1)
POINTS = np.array([[90, 110], [166, 110], [128, 150], [98, 185], [158, 185]], np.float32)


class _Colour(nn.Module):
    """Judges by the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.head = LinearHead(3, 0.0)

    def forward(self, x: Tensor) -> Output:
        return self.head(x)  # type: ignore[no-any-return]


def photos(count: int = 120) -> PhotoCache:
    """Brighter fakes; every tenth photo is of a watched kind."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    pixels = rng.integers(40, 90, (count, 256, 256, 3), dtype=np.uint8) + (90 * labels[:, None, None, None]).astype(
        np.uint8
    )
    names = [WATCHED[0] if place % 10 == 9 else f"{'fake' if place % 2 else 'real'}_a" for place in range(count)]
    rows = [Row(f"{p}.jpg", int(labels[p]), names[p], (), "CC BY", "yes") for p in range(count)]
    return PhotoCache(
        pixels,
        np.full((count, 2), 256, np.int32),
        np.broadcast_to(POINTS, (count, 5, 2)).copy(),
        np.arange(count, dtype=np.int32),
        rows,
    )


def test_the_partition_keeps_watched_kinds_and_held_out_clusters_away() -> None:
    cache = photos()
    parts = parts_of(cache, NETWORKS["deepscan_cnn"])
    watched = {p for p, row in enumerate(cache.rows) if row.source in WATCHED}
    assert set(parts.watched) == watched
    assert not set(parts.train) & (watched | set(parts.held))
    assert set(parts.train) | set(parts.held) | watched == set(range(len(cache)))
    reals = parts_of(cache, NETWORKS["anomaly_autoencoder"])
    assert {cache.rows[place].label for place in reals.train} == {0}
    np.testing.assert_array_equal(reals.held, parts.held)


def test_measures_tell_known_and_watched_kinds_apart() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    sources = ["a"] * 4 + ["b", "b", WATCHED[0], WATCHED[0]]
    told = measured(np.array([0.0, 1, 2, 3, 9, 8, 0.5, 2.5]), labels, sources)
    assert told["auc"] == 1.0
    assert told["auc_of_watched_kinds"] == 0.5
    assert told["auc_by_source"] == {"b": 1.0, WATCHED[0]: 0.5}


def test_a_run_is_measured_and_comes_back_from_its_travels(tmp_path: Path) -> None:
    entry = Network("colour", "cnn", "crop", _Colour, _Colour, 32)
    NETWORKS["colour"] = entry
    try:
        settings = replace(settings_for(entry, 5.0, 0, 1), epochs=6, learning_rate=0.3, warm_up=0, precision="32-true")
        facts = train_on_cache(entry, photos(), tmp_path / "colour", settings)
    finally:
        del NETWORKS["colour"]
    assert facts["auc"] == 1.0
    assert facts["auc_of_watched_kinds"] == 1.0
    assert Fit.read(tmp_path / "colour" / "calibration.json") is not None
    pack([tmp_path / "colour"], tmp_path / "runs.tar")
    (run,) = unpack(tmp_path / "runs.tar", tmp_path / "back")
    sent, got = (torch.load(folder / "model.pt", weights_only=True) for folder in (tmp_path / "colour", run))
    for name, value in sent["state"].items():
        assert got["state"][name].dtype == value.dtype
        torch.testing.assert_close(got["state"][name], value, rtol=1e-3, atol=1e-5)
    assert json.loads(got["trained_on"]) == json.loads(sent["trained_on"])
    assert json.loads((run / "facts.json").read_text())["auc"] == 1.0
    assert not (run / "last.ckpt").exists()


PROCESSES = """
import sys
sys.path.insert(0, {here!r})
import test_on_cache as subject
import training.on_cache as room
subject.NETWORKS["colour"] = subject.Network("colour", "cnn", "crop", subject._Colour, subject._Colour, 32)
room.load_cache = lambda folder: subject.photos()
options = ["--minutes", "0.05", "--workers", "0", "--batch-size", "8", "--accumulate", "2"]
room.main(["colour", "--runs", {runs!r}, *options])
"""


@pytest.mark.slow
def test_the_command_that_several_gpus_take_is_run_by_torchrun_and_measured_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROCESSES.format(here=str(Path(__file__).parent), runs=str(tmp_path)))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    run = tmp_path / "colour"
    settings, facts = (json.loads((run / f"{name}.json").read_text()) for name in ("settings", "facts"))
    assert (settings["batch_size"], settings["accumulate"]) == (8, 2)
    # Steps of 2 x 8 x 2 items: those of both processes together.
    assert facts["steps"] == facts["epochs"] * max(1, round(facts["trained_on"] / 32))
    assert Fit.read(run / "calibration.json") is not None
    assert done.stderr.count("colour: {") == 1
