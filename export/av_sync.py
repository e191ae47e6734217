"""Write the network of lip-sync: ``python -m export.av_sync RUN`` makes ``model_repository/av_sync/1``.

``RUN`` is a folder of ``training.sync.train``. Weights are stored in half precision; the batch is dynamic.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from cards.record import DataSource, VersionRecord
from cards.repository import ModelRepository
from export import generate
from export.graph import add_record_output, half_rounded, record_words, safetensors_bytes, write_bytes
from export.networks import load_weights, weights_of
from export.provenance import without_paths
from export.record import WEIGHTS, git_revision, hashes, now, write_record
from export.torch_graph import parity, to_onnx
from pipelines.analyzers.lip_sync import MEL_PER_FRAME, NETWORK, STRETCH
from pipelines.audio.mel import BANDS
from pipelines.video.lips import MEASURES
from training.models.lip_sync import LipSync
from training.report import licence_of
from training.sync.train import read_run

INPUTS, OUTPUTS = ("LIPS", "MEL"), ("MOUTH", "SOUND")
_LOG = logging.getLogger(__name__)


class ServedSync(nn.Module):
    """One or several networks as one: their embeddings side by side, of length one again."""

    def __init__(self, networks: list[LipSync]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, lips: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        seen, heard = zip(*(network(lips, mel) for network in self.networks), strict=True)
        factor = len(self.networks) ** -0.5
        return torch.cat(seen, dim=2) * factor, torch.cat(heard, dim=2) * factor


def examples(items: int, seed: int = 5) -> dict[str, npt.NDArray[Any]]:
    """Random inputs by name."""
    rng = np.random.default_rng(seed)
    return {
        "LIPS": rng.standard_normal((items, STRETCH, MEASURES), dtype=np.float32),
        "MEL": rng.standard_normal((items, STRETCH * MEL_PER_FRAME, BANDS), dtype=np.float32),
    }


def write(run: Path, target: Path) -> dict[str, float]:
    """Write ``model.onnx``, ``weights.safetensors`` and ``record.json`` of a run; the largest errors of parity."""
    networks, state = read_run(run)
    served = ServedSync(networks).eval()
    load_weights(served, {name: half_rounded(value) for name, value in weights_of(served).items()})
    weights = safetensors_bytes(weights_of(served))
    arrays = examples(5)
    model = to_onnx(served, [torch.from_numpy(arrays[name][:2]) for name in INPUTS], INPUTS, NETWORK, OUTPUTS)
    add_record_output(model, record_words(weights), batched="LIPS")
    onnx.checker.check_model(model, full_check=True)
    target.mkdir(parents=True, exist_ok=True)
    write_bytes(target / WEIGHTS, weights)
    write_bytes(target / "model.onnx", model.SerializeToString(deterministic=True))
    errors = parity(served, target / "model.onnx", arrays, outputs=OUTPUTS)
    sources = tuple(DataSource.model_validate(each) for each in json.loads(state["trained_on"]))
    files = hashes(target)
    record = VersionRecord(
        model=NETWORK,
        version=int(target.name),
        created=now(),
        git_revision=git_revision(),
        files=files,
        weights_sha256=files[WEIGHTS],
        parity=errors,
        trained_on=sources,
        training=without_paths(json.loads(state["settings"])),
        **licence_of(sources),
    )
    write_record(target, record)
    return errors


def main(arguments: list[str] | None = None) -> int:
    """Export a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--version", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    repository = ModelRepository()
    target = repository.root / NETWORK / str(options.version)
    _LOG.info("%s: parity %s", target, write(options.run, target))
    generate.write(ModelRepository(repository.root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
