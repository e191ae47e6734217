"""The cost of networks is counted, and what is committed is about the networks that there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.networks import TARGET, macs, main, measure
from training.models.registry import NETWORKS
from training.models.sequence_rnn import SequenceRnn


def test_recurrent_products_are_counted_and_a_gru_has_fewer() -> None:
    torch.set_num_threads(1)
    lstm, gru = NETWORKS["sequence_rnn"], NETWORKS["sequence_gru"]
    first = macs(SequenceRnn(lstm.size).eval(), lstm)
    # The projection and the first layer alone: 16 frames, 2 directions, 4 gates of 128, from 128 and 128 numbers.
    assert first > 16 * (1280 * 128 + 2 * 4 * 128 * (128 + 128))
    assert macs(SequenceRnn(gru.size, "gru").eval(), gru) < 0.9 * first


def test_a_clip_costs_less_than_a_second_and_a_half() -> None:
    torch.set_num_threads(1)
    row = measure(NETWORKS["hybrid"], rounds=1)
    assert 0 < float(str(row["forward_cpu_ms"])) < 1500


def test_the_committed_table_names_every_network_with_its_size() -> None:
    rows = {row["network"]: row for row in json.loads(TARGET.read_text(encoding="utf-8"))["networks"]}
    assert set(rows) == set(NETWORKS)
    for name, entry in NETWORKS.items():
        assert rows[name]["parameters"] == sum(p.numel() for p in entry.empty().parameters()), f"{name}: measure again"


@pytest.mark.slow
def test_the_command_writes_the_table(tmp_path: Path) -> None:
    assert main(["--rounds", "1", "--out", str(tmp_path / "out.json")]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["networks"]
    assert all(row["million_macs"] > 0 and row["forward_cpu_ms"] > 0 for row in rows)
