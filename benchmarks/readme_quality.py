"""What was measured against what was wanted, for the README: ``quality.yaml`` names targets and where numbers lie."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

TARGETS = Path(__file__).with_name("quality.yaml")
_STEP = re.compile(r"\[(?P<key>[^=\]]+)=(?P<value>[^\]]+)\]|(?P<name>[^.\[]+)")


def number_at(content: Any, path: str) -> float:
    """The number at a path: keys one after another, ``[key=value]`` picks the entry of a list, again and again.

    Raises:
        KeyError: nothing is there.
    """
    for step in _STEP.finditer(path):
        if step["name"]:
            content = content[step["name"]]
            continue
        content = [each for each in content if str(each[step["key"]]) == step["value"]]
        if not content:
            raise KeyError(f"{path}: no entry has {step['key']} {step['value']}")
        if path[step.end() : step.end() + 1] != "[":
            content = content[0]
    return float(content)


def quality_lines(read: Callable[[str], dict[str, Any] | None]) -> list[str]:
    """One row for each target whose number was measured.

    Args:
        read: content of a file of ``results/`` by its name, None where it is not there.
    """
    lines = ["| | measured | must | | aim | |", "|---|---|---|---|---|---|"]
    for medium, targets in yaml.safe_load(TARGETS.read_text(encoding="utf-8")).items():
        for target in targets:
            content = read(f"{target['file']}.json")
            if content is None:
                continue
            found, most = number_at(content, target["at"]), target.get("most", False)
            cells = [f"{medium}: {target['what']}", f"{found:.3f}"]
            for kind in ("must", "aim"):
                limit = target.get(kind)
                cells += ["", ""] if limit is None else [f"{limit:.2f}", _met(found, limit, most)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _met(found: float, limit: float, most: bool) -> str:
    return "met" if (found <= limit if most else found >= limit) else "**missed**"
