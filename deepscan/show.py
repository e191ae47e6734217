"""Tables and progress of the command line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from deepscan.inputs import MOVING, Found
from deepscan.safe import plain, words
from deepscan.scan import Result, decided
from deepscan_client import DeepScanError, Label, Medium, Verdict
from deepscan_client import Progress as Heard

_STYLES = {Label.REAL: "green", Label.FAKE: "red", Label.INCONCLUSIVE: "yellow"}
_PIPED_WIDTH = 4096  # nothing is folded: a line of a pipe is a row


def out() -> Console:
    """Standard output; where it is not a terminal no name is folded, so that a row is a line."""
    return Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)


def err() -> Console:
    """Standard error."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else _PIPED_WIDTH, highlight=False)


def complain(error: DeepScanError) -> None:
    """An error on standard error, with its remedy."""
    console = err()
    console.print(words(f"error: {error.message}", style="bold red"))
    if error.remedy:
        console.print(words(f"remedy: {error.remedy}"))


def results_table(results: Iterable[Result]) -> Table:
    """One row for each file."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("label", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("found", justify="right", no_wrap=True)
    table.add_column("decided by", overflow="fold")
    table.add_column("ms", justify="right", no_wrap=True)
    for result in results:
        name = words(result.found.path)
        if result.verdict is None:
            error = result.error
            reason = "" if error is None else f"{error.code}: {error.message}"
            table.add_row(name, words("error", style="bold red"), "", "", words(reason), "")
            continue
        verdict = result.verdict
        table.add_row(
            name,
            words(verdict.label, style=_STYLES[verdict.label]),
            "" if verdict.fake_probability is None else f"{verdict.fake_probability:.3f}",
            _found(verdict),
            words(decided(verdict)),
            f"{verdict.timing_ms.get('total', 0.0):.0f}",
        )
    return table


def _found(verdict: Verdict) -> str:
    """What was there to be judged: faces of a photo, seconds of a recording, both of a video."""
    seconds = verdict.input.duration_s or 0.0
    length = f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
    if verdict.medium is Medium.AUDIO:
        return length
    count = len(verdict.tracks if verdict.medium in MOVING else verdict.faces)
    faces = f"{count} face{'' if count == 1 else 's'}"
    return f"{faces}, {length}" if verdict.medium in MOVING else faces


class Patience:
    """Progress bars on standard error that come only after two seconds, and only on a terminal: one for all files, and
    one for each long recording and video at work."""

    def __init__(self, what: str, total: int | None = None, after: float = 2.0) -> None:
        self._total = total
        self._what = what
        self._after = after
        self._start = time.monotonic()
        self._progress: Progress | None = None
        self._wanted = sys.stderr.isatty()
        self._done = 0
        self._files: dict[str, TaskID] = {}

    def advance(self, name: str = "") -> None:
        """One more is done."""
        self._done += 1
        if self._progress is not None and name in self._files:
            self._progress.remove_task(self._files.pop(name))
        self._show(name)

    def hear(self, found: Found, heard: Heard) -> None:
        """A long recording has been heard, or a video been seen, so far."""
        self._show(found.path)
        if self._progress is None:
            return
        if found.path not in self._files:
            self._files[found.path] = self._progress.add_task("", total=None, count="", name=plain(found.path)[-40:])
        told = f"{heard.share:.0%}" if heard.share is not None else f"{heard.seconds:.0f} s"
        if heard.fake_probability is not None:
            told += f" {heard.fake_probability:.2f}"
        total = None if heard.share is None else 1.0
        self._progress.update(self._files[found.path], total=total, completed=heard.share or 0.0, count=told)

    def _show(self, name: str) -> None:
        if self._wanted and self._progress is None and time.monotonic() - self._start > self._after:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[count]}", markup=False),
                TimeRemainingColumn(),
                TextColumn("{task.fields[name]}", markup=False),
                console=err(),
                transient=True,
            )
            self._progress.start()
            self._progress.add_task(self._what, total=self._total, count="", name="")
        if self._progress is not None:
            count = str(self._done) if self._total is None else f"{self._done}/{self._total}"
            self._progress.update(self._progress.task_ids[0], completed=self._done, count=count, name=plain(name)[-40:])

    def __enter__(self) -> Patience:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
