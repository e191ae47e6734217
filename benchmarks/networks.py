"""What each network costs: ``python -m benchmarks.networks`` writes results/networks.json.

Parameters, multiply-accumulates of one item (torch's flop counter, halved), and the processor time of one forward pass
on one thread. Processor time and not the clock, because the machine is shared; it still rises where a neighbour fills
the caches. Weights are random: they change no cost.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from training.models.registry import NETWORKS, Network

TARGET = Path(__file__).resolve().parent / "results" / "networks.json"


def macs(model: nn.Module, entry: Network) -> int:
    """Multiply-accumulates of one crop, clip or window."""
    model.requires_grad_(False)  # the counter follows gradients of parameters that a layer is called with
    # oneDNN's fused recurrent layer is one operator that the counter does not know; without it, its products are seen.
    with torch.backends.mkldnn.flags(enabled=False), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(*entry.example(1))
    return int(counter.get_total_flops()) // 2


def forward_ms(model: nn.Module, entry: Network, rounds: int) -> float:
    """Median processor time of one item in milliseconds, one thread."""
    inputs, times = entry.example(1), []
    with torch.inference_mode():
        for turn in range(rounds + 2):
            began = time.process_time()
            model(*inputs)
            if turn >= 2:
                times.append(time.process_time() - began)
    return 1000 * float(np.median(times))


def measure(entry: Network, rounds: int = 15) -> dict[str, object]:
    """One row of the table."""
    model = entry.empty().eval()
    return {
        "network": entry.name,
        "family": entry.family,
        "takes": entry.takes,
        "size": entry.size,
        "frames": entry.frames,
        "parameters": sum(p.numel() for p in model.parameters()),
        "million_macs": round(macs(model, entry) / 1e6, 3),
        "forward_cpu_ms": round(forward_ms(model, entry, rounds), 2),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure every network of the registry and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="forward passes, of which the median is taken")
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [measure(entry, options.rounds) for entry in NETWORKS.values()]
    how = f"one item, one thread, median of {options.rounds}, processor time; torch {torch.__version__}"
    told = {"how": how, "machine": platform.machine(), "networks": rows}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        print(" ".join(f"{value!s:>12}" for value in row.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
