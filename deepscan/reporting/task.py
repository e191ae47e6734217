"""``deepscan report``: measure, write, and say where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cards.repository import ModelRepository
from deepscan.cli import Exit
from deepscan.labelled import read_items
from deepscan.reporting.measure import Plan, measure_report, steps
from deepscan.reporting.page import page
from deepscan.safe import words
from deepscan.show import Patience, err
from deepscan_client import RequestError
from pipelines.assessment.local import Labelled


@dataclass(frozen=True)
class ReportTask:
    """Arguments of the command; ``plan`` says how much is measured."""

    path: str
    manifest: str | None
    output: str
    json_out: str | None
    models: str | None
    plan: Plan

    def run(self) -> Exit:
        """Measure and write.

        Raises:
            RequestError: there are no labelled photos, or a file cannot be written.
        """
        items = [
            Labelled(Path(item.found.path), item.fake, item.group)
            for item in read_items(Path(self.path), None if self.manifest is None else Path(self.manifest))
        ]
        for target in filter(None, (self.output, self.json_out)):
            if not Path(target).resolve().parent.is_dir():
                raise RequestError(f"{target} cannot be written: its folder is missing", remedy="name another file")
        with Patience("measuring", total=steps(items, self.plan)) as progress:
            report = measure_report(
                items,
                ModelRepository(self.models),
                Path(self.manifest or self.path).resolve().name,
                self.plan,
                progress.advance,
            )
        try:
            Path(self.output).write_text(page(report), encoding="utf-8")
            if self.json_out is not None:
                Path(self.json_out).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise RequestError(
                f"{error.filename} cannot be written: {error.strerror}", remedy="name another"
            ) from error
        err().print(words(f"{report.quality.items} photos measured: {self.output}"))
        return Exit.SOME_FAILED if report.failed else Exit.DONE
