"""Writes the measured parts of the README from committed JSON: ``python -m benchmarks.readme [--check]``.

Numbers are never typed into the README: each lies in ``benchmarks/results/``, written by the command that
measured it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def measured_lines() -> list[str]:
    """The accuracy table, from what ``deepscan evaluate --json`` wrote, and the latency line."""
    lines: list[str] = []
    accuracy = _read("dev_images.json")
    if accuracy:
        lines += [
            "| group | real / fake | AUC (95 % interval) | EER | reals flagged | inconclusive |",
            "|---|---|---|---|---|---|",
        ]
        quality = accuracy["quality"]
        for group in quality["groups"]:
            area = group["auc"]
            cells = [
                group["group"],
                f"{group['real']} / {group['fake']}",
                f"{_number(area['value'])} ({_number(area['low'])} to {_number(area['high'])})",
                _percent(group["eer"]["value"]),
                _percent(group["false_positive_rate"]),
                str(group["inconclusive"]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines += [
            "",
            f"Expected calibration error over all {quality['items']} items: {_number(quality['ece']['value'])}.",
            "",
        ]
    latency = _read("latency.json")
    if latency:
        lines += [str(latency["summary"]), ""]
    return lines


def size_lines() -> list[str]:
    """Rows of the table of installed sizes."""
    sizes = _read("sizes.json")
    rows = [f"| {row['set']} | {row['what']} | {row['megabytes']:,.0f} |" for row in sizes["sets"]] if sizes else []
    return ["| set | what for | MB installed |", "|---|---|---|", *rows]


SECTIONS: dict[str, Callable[[], list[str]]] = {"measured": measured_lines, "sizes": size_lines}


def readme_text(text: str) -> str:
    """The README with its marked sections written anew."""
    for name, lines in SECTIONS.items():
        start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
        before, rest = text.split(start)
        _, after = rest.split(end)
        text = before + "\n".join([start, *lines(), end]) + after
    return text


def _read(name: str) -> dict[str, Any] | None:
    path = RESULTS / name
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f} %"


def main(arguments: list[str] | None = None) -> int:
    """Write, or with ``--check`` only compare (exit 1 where the README differs)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args(arguments)
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = readme_text(old)
    if options.check:
        return int(old != new)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
