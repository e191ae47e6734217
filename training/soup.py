"""Average the weights of two runs, the second begun with the first: ``python -m training.soup OUT FIRST SECOND``.

Wortsman et al., Model soups, ICML 2022: weights that share their beginning can be averaged, and the mean generalises
better than either. The result is a run's folder like any other, ready for calibration and export.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from training.checkpoints import save_state


def blend_runs(out: Path, first: Path, second: Path, weight: float = 0.5) -> Path:
    """Write ``out/last.pt`` with the mean of two runs' averaged weights.

    Args:
        first, second: run folders; the settings kept are those of the second, steps and minutes are added up.
        weight: share of the second.

    Raises:
        ValueError: the weight is outside 0 to 1.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must be within 0 and 1, got {weight}")
    states = [torch.load(run / "last.pt", map_location="cpu", weights_only=True) for run in (first, second)]
    left, right = (state["average"] for state in states)
    mixed = {
        name: torch.lerp(value, right[name], weight) if value.dtype.is_floating_point else right[name]
        for name, value in left.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    save_state(
        out / "last.pt",
        {
            "average": mixed,
            "step": sum(state["step"] for state in states),
            "spent": sum(state["spent"] for state in states),
            "network": states[1].get("network", "frame_cnn"),
            "settings": states[1]["settings"],
        },
    )
    return out / "last.pt"


def main(arguments: list[str] | None = None) -> int:
    """Average two runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--weight", type=float, default=0.5, help="share of the second")
    options = parser.parse_args(arguments)
    print(blend_runs(options.out, options.first, options.second, options.weight))
    return 0


if __name__ == "__main__":
    sys.exit(main())
