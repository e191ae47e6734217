"""The README's table of networks that no verdict asks, from what ``python -m export.measure_families`` wrote."""

from __future__ import annotations

from typing import Any


def family_lines(told: dict[str, Any] | None) -> list[str]:
    """One row for each network and each group that it was asked about; none where nothing was measured."""
    if not told:
        return []
    rows = [
        f"| `{name}` | {row['group']} | {row['real']} / {row['fake']} "
        f"| {row['auc']:.3f} ({row['auc_low']:.3f} to {row['auc_high']:.3f}) | {100 * row['eer']:.1f} % "
        f"| {_percent(row.get('accuracy'))} | {one['claimed_accuracy']} |"
        for name, one in sorted(told.items())
        for row in one["evaluation"]
    ]
    return [
        "| network | asked about | real / fake | AUC (95 % interval) | EER | accuracy | claimed |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
