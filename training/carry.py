"""Carry runs between machines: ``python -m training.carry pack OUT.tar RUN...``, ``... unpack OUT.tar RUNS``.

A packed run holds its checkpoint with the weights alone, matrices and filters in half precision (to which an export
rounds them anyway, after the batch norms were folded in), and its other small files. Optimiser states, event files and
epochs that were not kept stay behind.
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CHECKPOINTS = ("model.pt", "last.pt")
SUFFIXES = (".json", ".npz", ".log")
WEIGHTS = ("state", "average")


def halved(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint whose tensors of two or more dimensions are float16; weights of training itself are left out."""
    kept = {name: value for name, value in state.items() if name not in ("model", "optimiser", *WEIGHTS)}
    for key in WEIGHTS:
        if key in state:
            kept[key] = {name: _half(value) for name, value in state[key].items()}
    return kept


def _half(value: Tensor) -> Tensor:
    return value.half() if value.ndim > 1 and value.dtype == torch.float32 else value.clone()


def pack(runs: Sequence[Path], target: Path) -> None:
    """Write the runs into one tar file.

    Raises:
        FileNotFoundError: a run has no checkpoint.
    """
    with tarfile.open(target, "w") as tar:
        for run in runs:
            checkpoint = next((run / name for name in CHECKPOINTS if (run / name).is_file()), None)
            if checkpoint is None:
                raise FileNotFoundError(f"{run} has no {' or '.join(CHECKPOINTS)}")
            content = io.BytesIO()
            torch.save(halved(torch.load(checkpoint, map_location="cpu", weights_only=True)), content)
            entry = tarfile.TarInfo(f"{run.name}/{checkpoint.name}")
            entry.size = content.tell()
            content.seek(0)
            tar.addfile(entry, content)
            for file in sorted(run.iterdir()):
                if file.suffix in SUFFIXES:
                    tar.add(file, f"{run.name}/{file.name}")


def unpack(source: Path, folder: Path) -> list[Path]:
    """Unpack runs into ``folder``, weights in float32 again; returns their folders."""
    with tarfile.open(source) as tar:
        tar.extractall(folder, filter="data")
        runs = sorted({folder / Path(name).parent for name in tar.getnames()})
    for run in runs:
        for name in CHECKPOINTS:
            if (run / name).is_file():
                state = torch.load(run / name, map_location="cpu", weights_only=True)
                for key in WEIGHTS:
                    if key in state:
                        state[key] = {
                            each: value.float() if value.is_floating_point() else value
                            for each, value in state[key].items()
                        }
                torch.save(state, run / name)
    return runs


def main(arguments: list[str] | None = None) -> int:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("file", type=Path, help="the tar file")
    parser.add_argument("folders", type=Path, nargs="+", help="runs to pack, or the folder to unpack into")
    options = parser.parse_args(arguments)
    if options.what == "pack":
        pack(options.folders, options.file)
        print(f"{options.file}: {options.file.stat().st_size} bytes")
        return 0
    for run in unpack(options.file, options.folders[0]):
        print(run)
    return 0


if __name__ == "__main__":
    sys.exit(main())
