"""``deepscan report``: measure, write, and say where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cards.repository import ModelRepository
from deepscan.cli import Exit
from deepscan.labelled import Item, read_items
from deepscan.output import check_writable, writable
from deepscan.reporting.measure import Plan, Seen, measure_report, steps
from deepscan.reporting.model import FullReport
from deepscan.reporting.page import page
from deepscan.reporting.voices import measure_voices, voice_steps
from deepscan.safe import words
from deepscan.show import Patience, err
from deepscan_client import Medium
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
        found = read_items(Path(self.path), None if self.manifest is None else Path(self.manifest))
        voices = [_labelled(item) for item in found if item.found.medium is Medium.AUDIO]
        photos = [_labelled(item) for item in found if item.found.medium is not Medium.AUDIO]
        check_writable(self.output, self.json_out)
        total = (steps(photos, self.plan) if photos else 0) + voice_steps(voices, self.plan)
        with Patience("measuring", total=total) as progress:
            report = self._measure(photos, voices, progress.advance)
        with writable(self.output):
            Path(self.output).write_text(page(report), encoding="utf-8")
        if self.json_out is not None:
            with writable(self.json_out):
                Path(self.json_out).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        parts = [report, *([report.voices] if report.voices is not None else [])]
        told = " and ".join(f"{part.quality.items} {part.item}s" for part in parts)
        err().print(words(f"{told} measured: {self.output}"))
        return Exit.SOME_FAILED if any(part.failed for part in parts) else Exit.DONE

    def _measure(self, photos: list[Labelled], voices: list[Labelled], seen: Seen) -> FullReport:
        """Each medium by itself; the recordings stand in the report of the photos where there are both."""
        repository, name = ModelRepository(self.models), Path(self.manifest or self.path).resolve().name
        heard = measure_voices(voices, repository, name, self.plan, seen) if voices else None
        if heard is not None and not photos:
            return heard
        return measure_report(photos, repository, name, self.plan, seen).model_copy(update={"voices": heard})


def _labelled(item: Item) -> Labelled:
    return Labelled(Path(item.found.path), item.fake, item.group)
