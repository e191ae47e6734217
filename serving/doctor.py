"""``deepscan doctor``: looks at the installation and prints the fix for what is wrong. Exit status 1 on errors."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from serving import checks, machine_checks
from serving.checks import Finding

_STYLE = {"ok": "green", "warning": "yellow", "error": "bold red"}
Check = Callable[[], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    checks.interpreter,
    checks.stub_environment,
    checks.triton,
    checks.versions,
    checks.codecs,
    machine_checks.load_generator,
    machine_checks.ports,
    machine_checks.memory,
    machine_checks.writable,
    machine_checks.accelerators,
)


def examine(folder: str | None = None) -> list[Finding]:
    """Every finding, in the order of the report.

    Args:
        folder: the model repository; the shipped one by default.
    """
    found: list[Finding] = []
    every: list[Check] = [*CHECKS, partial(checks.models, folder)]
    for check in every:
        try:
            found += check()
        except Exception as error:  # a check that breaks is a finding as well, and must not hide the others
            name = getattr(check, "__name__", "check")
            fix = "report it with the output of: deepscan doctor --json"
            found.append(Finding(name, "error", f"{type(error).__name__}: {error}", fix))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line.

    Returns:
        1 where a finding is an error, else 0.
    """
    parser = argparse.ArgumentParser(description="Check this installation and print the fix for what is wrong.")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--models", metavar="DIR", help="model repository (default: the shipped one)")
    options = parser.parse_args(arguments)
    found = examine(options.models)
    if options.json:
        print(json.dumps([finding.to_dict() for finding in found], indent=2))
    else:
        show(found, Console())
    return 1 if any(finding.status == "error" for finding in found) else 0


def show(found: list[Finding], console: Console) -> None:
    """A table of what was found, then the fixes alone, ready to be copied."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("check", "", "found"):
        table.add_column(column, overflow="fold")
    for finding in found:
        mark = Text(finding.status, style=_STYLE[finding.status])
        table.add_row(Text(finding.check), mark, Text(finding.detail))
    console.print(table)
    for finding in found:
        if finding.fix:
            console.print(f"\n{finding.check}: {finding.detail}", style=_STYLE[finding.status], markup=False)
            console.print(f"  fix: {finding.fix}", markup=False, highlight=False, soft_wrap=True)
    errors = sum(finding.status == "error" for finding in found)
    warnings = sum(finding.status == "warning" for finding in found)
    console.print(f"\n{len(found)} checks, {errors} errors, {warnings} warnings")


if __name__ == "__main__":
    sys.exit(main())
