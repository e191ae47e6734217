"""A record names the pseudo-fakes that its run made, and no other."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from training.report import run_settings
from training.settings import Settings


def test_the_pseudo_fakes_of_a_run_are_those_with_a_share(tmp_path: Path) -> None:
    settings = replace(Settings(), cross_blended=0.0, spectral_peaks=0.05)
    torch.save({"settings": json.dumps(asdict(settings)), "step": 10, "spent": 60.0}, tmp_path / "last.pt")
    told = run_settings(tmp_path / "last.pt")
    assert told["pseudo_fakes"] == ["reconstructed", "self blended", "part reconstructed", "spectral peaks"]
    assert told["crops_seen"] == 10 * settings.pairs * 2
