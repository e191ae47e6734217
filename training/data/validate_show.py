"""The validation report for a person: tables, and a progress bar while files are read."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from training.data.validate_report import Report

SHOWN = 12
"""Findings of one kind that are shown."""
_STYLE = {"fix": "bold red", "look": "yellow"}


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar with the time that is left, on a terminal's standard error; nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda path: None
        return
    bar = Progress(
        TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True
    )
    lock = threading.Lock()
    with bar:
        task = bar.add_task("reading", total=total)

        def advance(_: str) -> None:
            with lock:
                bar.advance(task)

        yield advance


def show(report: Report, console: Console | None = None) -> None:
    """Print the report: sources, balance, then what was found, the worst first."""
    console = console or Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(_sources(report))
    for each in report.balance:
        console.print(f"{each.medium}{f' {each.split}' if each.split else ''}: {each.real} real, {each.fake} fake")
    kinds = Counter((problem.severity, problem.kind) for problem in report.problems)
    for (severity, kind), count in sorted(kinds.items()):
        console.print(Text(f"\n{severity}: {kind.replace('_', ' ')}, {count}", style=_STYLE[severity]))
        chosen = [problem for problem in report.problems if (problem.severity, problem.kind) == (severity, kind)]
        for problem in chosen[:SHOWN]:
            console.print(Text(f"  {_plain('  '.join(problem.paths[:3]))}  {_plain(problem.detail)}".rstrip()))
        if count > SHOWN:
            console.print(f"  and {count - SHOWN} more (--json names all)")
        console.print(Text(f"  remedy: {chosen[0].remedy}", style="dim"))
    broken = report.items - report.readable
    console.print(
        f"\n{report.readable} of {report.items} files can be read"
        + (f", {broken} cannot" if broken else "")
        + (f"; {len(report.must_fix)} findings must be fixed" if report.must_fix else "; nothing must be fixed")
    )


def _plain(text: str) -> str:
    """Text without control characters: names of files come from anywhere."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _sources(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("source", "class", "medium"):
        table.add_column(name, overflow="fold")
    for name in ("items", "broken", "longer side, px", "seconds", "kB"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("formats", "licence", "commercial"):
        table.add_column(name, overflow="fold")
    for each in report.sources:
        table.add_row(
            Text(_plain(each.source)),
            each.label,
            each.medium,
            str(each.items),
            str(each.items - each.readable or ""),
            "" if each.side is None else f"{each.side[0]} / {each.side[1]} / {each.side[2]}",
            "" if each.seconds is None else " / ".join(f"{value:.1f}" for value in each.seconds),
            f"{each.median_bytes / 1000:.0f}",
            Text(_plain(", ".join(f"{name} {count}" for name, count in list(each.formats.items())[:4]))),
            Text(_plain(each.licence[:40])),
            each.commercial,
        )
    return table
