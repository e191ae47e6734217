"""``docs/training.md``: its Python runs, its numbers are the measured ones, and it names every option there is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cards import ModelRepository
from ml_backend.train_command import parser
from ml_backend.training_config import DEFAULT_CONFIG
from training.families import CLAIMED, CNNS, NETWORKS_OF

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
FOUNDING = {
    "batch_size",
    "epochs",
    "learning_rate",
    "input_shape",
    "models_to_train",
    "validation_split",
    "target_accuracy",
    "early_stopping_patience",
    "use_augmentation",
    "use_class_weights",
}


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
def test_every_python_block_runs(block: str) -> None:
    done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()


def test_claims_stand_beside_the_measured_numbers() -> None:
    lines = TEXT.split("| family | claimed accuracy |")[1].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
    assert {row[0]: row[1] for row in rows} == CLAIMED
    told = {network: value for _, _, network, value in rows}
    models = ModelRepository()
    for name, record, word in (("voice_cepstra", "voice_cepstra", "page"), ("photo verdict", "image_verdict", "group")):
        areas = [row.auc for row in models.record(record).evaluation if row.auc is not None]
        assert told.pop(name) == f"{min(areas):.3f} to {max(areas):.3f} by {word}"
    measured = json.loads((ROOT / "benchmarks" / "results" / "families.json").read_text(encoding="utf-8"))
    assert {name for names in NETWORKS_OF.values() for name in names} - {"voice_cepstra"} <= set(told)
    for name, value in told.items():
        assert value == f"{measured[name]['evaluation'][0]['auc']:.3f}", name


def test_every_key_option_and_network_is_named() -> None:
    options = {text for action in parser()._actions for text in action.option_strings}
    for key in set(DEFAULT_CONFIG) - FOUNDING:
        (row,) = [line for line in TEXT.splitlines() if line.startswith(f"| `{key}` | `--")]
        assert row.split("|")[2].strip(" `") in options
    for name in CNNS:
        assert f"| `{name}` |" in TEXT
