"""The plots of a report as SVG, inline: no file beside the HTML, nothing fetched."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.assessment.robustness import VERDICT
from pipelines.assessment.voices import ALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from deepscan.reporting.model import FullReport
    from pipelines.assessment.curves import ReliabilityBin, RiskCoverage

_SIZE = (5.4, 4.2)


def plots(report: FullReport) -> dict[str, str]:
    """SVG elements by name: ``roc``, ``reliability``, ``risk``, ``robustness``; those without data are left out."""
    drawn = {}
    if report.curves:
        drawn["roc"] = _drawn(lambda axes: _roc(axes, report))
    if report.reliability:
        drawn["reliability"] = _drawn(lambda axes: _reliability(axes, report.reliability))
    if report.risk_coverage is not None:
        found = report.risk_coverage
        drawn["risk"] = _drawn(lambda axes: _risk(axes, found))
    if report.robustness:
        drawn["robustness"] = _drawn(lambda axes: _robustness(axes, report))
    if report.sounds:
        drawn["robustness"] = _drawn(lambda axes: _sounds(axes, report))
    return drawn


def _drawn(draw: object) -> str:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
    assert callable(draw)
    draw(axes)
    try:
        return _svg(figure)
    finally:
        plt.close(figure)


def _svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element. Its head names addresses of standards, which a browser does not fetch."""
    import matplotlib

    buffer = io.StringIO()
    # A fixed salt: the same numbers give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "deepscan", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _plain(name: str) -> str:
    return name.replace("$", r"\$")  # dollar signs would be read as mathematics


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def _roc(axes: Axes, report: FullReport) -> None:
    areas = {group.group: group.auc.value for group in report.quality.groups}
    for curve in report.curves:
        axes.plot(curve.fpr, curve.tpr, label=f"{_plain(curve.group)}: {areas[curve.group] or 0:.3f}")
    _diagonal(axes)
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
    axes.legend(loc="lower right", fontsize=8)


def _reliability(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    said = [item.said for item in bins]
    found = [item.fakes.value or 0.0 for item in bins]
    below = [max(0.0, value - (item.fakes.low or 0.0)) for value, item in zip(found, bins)]
    above = [max(0.0, (item.fakes.high or 0.0) - value) for value, item in zip(found, bins)]
    axes.errorbar(said, found, yerr=[below, above], marker="o", markersize=4, capsize=2)
    _diagonal(axes)
    axes.set(xlabel="mean probability said", ylabel="share of fakes")


def _risk(axes: Axes, found: RiskCoverage) -> None:
    axes.plot(found.coverage, found.risk, label=f"area {found.aurc:.3f}")
    axes.axhline(found.error_rate, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="share of items judged, surest first", ylabel="share of errors among them", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _robustness(axes: Axes, report: FullReport) -> None:
    conditions = list(dict.fromkeys(row.condition for row in report.robustness))
    for name in sorted({row.detector for row in report.robustness}, key=lambda n: (n != VERDICT, n)):
        rows = {row.condition: row for row in report.robustness if row.detector == name}
        found = [rows[c].auc.value if c in rows else None for c in conditions]
        values = [float("nan") if value is None else value for value in found]
        axes.plot(range(len(conditions)), values, marker="o", markersize=4, label=_plain(name))
    axes.set_xticks(range(len(conditions)), conditions, rotation=60, ha="right", fontsize=8)
    axes.set(ylabel="AUC")
    axes.legend(fontsize=8)


def _sounds(axes: Axes, report: FullReport) -> None:
    rows = [row for row in report.sounds if row.group == ALL]
    places = range(len(rows))
    columns = {
        "AUC": [row.auc.value for row in rows],
        "reals flagged": [row.flagged.value for row in rows],
        "reals conclusive": [row.conclusive.value for row in rows],
    }
    for name, found in columns.items():
        values = [float("nan") if value is None else value for value in found]
        axes.plot(places, values, marker="o", markersize=4, label=name)
    axes.set_xticks(places, [row.condition for row in rows], rotation=60, ha="right", fontsize=8)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(fontsize=8)
