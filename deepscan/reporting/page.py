"""A report as one HTML file that fetches nothing."""

from __future__ import annotations

from pathlib import Path

from deepscan.reporting.model import FullReport
from deepscan.reporting.plots import plots


def page(report: FullReport) -> str:
    """The HTML of a report; names of files and groups are escaped."""
    from jinja2 import Environment, StrictUndefined

    template = Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    parts = [(part, plots(part)) for part in (report, report.voices) if part is not None]
    return environment.from_string(template).render(r=report, parts=parts)
