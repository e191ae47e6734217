"""The table of quality by group, measured through a running server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.table import Table

from deepscan.labelled import Item
from deepscan.safe import words
from deepscan.scan import Result, Settings, scan
from deepscan_client import AsyncDeepScanClient
from deepscan_client.codes import Label, Medium
from deepscan_client.verdict import ModelInfo, Verdict
from pipelines.evaluation import GroupQuality, Judged, Measured, Quality, quality

SPEECH = "speech"
"""The evidence of a recording that says how many seconds of it are speech."""
LEAST_SPEECH_S = 2.0
POOLED = {Medium.IMAGE: "all photos", Medium.AUDIO: "all recordings", Medium.VIDEO: "all videos"}


class Pooled(BaseModel):
    """All items of one medium together, each counted once."""

    medium: Medium
    quality: Quality
    gradable: int
    """Judged items that a label can be asked of: a face in the photo, or two seconds of speech."""
    gradable_conclusive: int
    """Those of them that were labelled ``real`` or ``fake``."""


class Report(BaseModel):
    """What ``deepscan evaluate --json`` writes."""

    created: str
    """ISO date and time, UTC."""
    data: str
    """Name of the folder or manifest."""
    models: tuple[dict[str, Any], ...]
    """The versions that spoke."""
    thresholds: tuple[float, ...]
    """Operating thresholds of the verdicts; one, unless versions changed on the way."""
    failed: int
    """Files that could not be judged at all; they are in no measure."""
    quality: Quality
    pooled: tuple[Pooled, ...] = ()
    """A row for each medium."""


async def judge_items(
    client: AsyncDeepScanClient, items: Sequence[Item], settings: Settings, seen: Callable[[Result], object]
) -> list[Result]:
    """Results in the order of the items; ``seen`` is told of each."""
    results = []
    async for result in scan(client, [item.found for item in items], settings):
        seen(result)
        results.append(result)
    return results


def make_report(items: Sequence[Item], results: Sequence[Result], data: str) -> Report:
    """The report of judged items."""
    judged: list[Judged] = []
    by_medium: dict[Medium, list[tuple[Judged, Verdict]]] = {}
    models: set[ModelInfo] = set()
    thresholds: set[float] = set()
    for item, result in zip(items, results, strict=True):
        if result.verdict is None:
            continue
        verdict = result.verdict
        models.update(verdict.models)
        thresholds.add(verdict.operating_point.threshold)
        one = Judged(group=item.group, fake=item.fake, probability=verdict.fake_probability, label=verdict.label)
        judged.append(one)
        by_medium.setdefault(verdict.medium, []).append((one, verdict))
    return Report(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        data=data,
        models=tuple(vars(model) for model in sorted(models, key=lambda m: (m.name, m.version))),
        thresholds=tuple(sorted(thresholds)),
        failed=sum(result.verdict is None for result in results),
        quality=quality(judged),
        pooled=tuple(_pooled(medium, rows) for medium, rows in sorted(by_medium.items())),
    )


def gradable(verdict: Verdict) -> bool:
    """Whether a label can be asked of an input: it shows a face, or holds two seconds of speech."""
    if verdict.medium is Medium.AUDIO:
        return any(item.name == SPEECH and item.score >= LEAST_SPEECH_S for item in verdict.evidence)
    return bool(verdict.faces or verdict.tracks)


def _pooled(medium: Medium, rows: Sequence[tuple[Judged, Verdict]]) -> Pooled:
    name = POOLED.get(medium, f"all {medium}")
    asked = [verdict for _, verdict in rows if gradable(verdict)]
    return Pooled(
        medium=medium,
        quality=quality([one.model_copy(update={"group": name}) for one, _ in rows]),
        gradable=len(asked),
        gradable_conclusive=sum(verdict.label is not Label.INCONCLUSIVE for verdict in asked),
    )


def report_table(report: Report) -> Table:
    """The table for a person; intervals are 95 %."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("group", overflow="fold")
    for name in ("real", "fake", "AUC", "EER", "TPR@1%", "TPR@5%", "flagged reals", "unscored", "inconclusive"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in report.quality.groups:
        table.add_row(words(group.group), *_cells(group))
    if len(report.quality.groups) > 1:
        for pooled in report.pooled:
            cells = (POOLED[pooled.medium], *_cells(*pooled.quality.groups))
            table.add_row(*(words(cell, style="bold") for cell in cells))
    return table


def summary_lines(report: Report) -> list[str]:
    """What is measured over all groups."""
    found = report.quality
    mean = "–" if found.mean_auc is None else f"{found.mean_auc:.3f}"
    half = [group.auc_unscored_half for group in found.groups if group.auc_unscored_half is not None]
    with_half = f"{sum(half) / len(half):.3f}" if half else "–"
    several = len(report.pooled) > 1
    kinds = [
        f"{f'{POOLED[each.medium]}: ' if several else ''}"
        f"calibration error {_spread(each.quality.ece)}, flagged reals {_spread(each.quality.false_positive_rate)}, "
        f"{each.gradable_conclusive} of {each.gradable} gradable conclusive"
        for each in report.pooled
    ]
    return [
        f"mean AUC of the groups {mean} (unscored at 0.5: {with_half})",
        *kinds,
        f"{found.items} judged, {found.unscored} without a score, {found.inconclusive} inconclusive, "
        f"{report.failed} failed; threshold {', '.join(f'{t:.3f}' for t in report.thresholds) or '–'}",
    ]


def _cells(group: GroupQuality) -> list[str]:
    flagged = "–" if group.false_positive_rate is None else f"{group.false_positive_rate:.3f}"
    measures = [_spread(m) for m in (group.auc, group.eer, group.tpr_at_fpr_1, group.tpr_at_fpr_5)]
    counts = [str(group.unscored), str(group.inconclusive)]
    return [str(group.real), str(group.fake), *measures, flagged, *counts]


def _spread(measured: Measured) -> str:
    if measured.value is None:
        return "–"
    if measured.low is None or measured.high is None:
        return f"{measured.value:.3f}"
    return f"{measured.value:.3f} [{measured.low:.2f} {measured.high:.2f}]"


def write_plot(items: Sequence[Item], results: Sequence[Result], file: Path) -> None:
    """ROC curves by group beside the reliability of the probabilities (15 equal-mass bins), as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    from pipelines.evaluation import BINS
    from pipelines.metrics import auc, roc

    rows = [
        (item.group, int(item.fake), result.verdict.fake_probability, result.verdict.label)
        for item, result in zip(items, results, strict=True)
        if result.verdict is not None and result.verdict.fake_probability is not None
    ]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for group in sorted({row[0] for row in rows}):
        truth = [row[1] for row in rows if row[0] == group]
        scores = [row[2] for row in rows if row[0] == group]
        if 0 < sum(truth) < len(truth):
            fpr, tpr, _ = roc(scores, truth)
            # Dollar signs would be read as mathematics.
            name = group.replace("$", r"\$")
            left.plot(fpr, tpr, label=f"{name}: {auc(scores, truth):.3f} ({len(truth)})")
    left.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    left.set(xlabel="false-positive rate", ylabel="true-positive rate", title="ROC by group: AUC (items)")
    if left.get_legend_handles_labels()[0]:
        left.legend(loc="lower right", fontsize=8)
    if rows:
        scores_all = np.array([row[2] for row in rows], dtype=np.float64)
        truth_all = np.array([row[1] for row in rows], dtype=np.float64)
        order = np.argsort(scores_all, kind="stable")
        parts = np.array_split(order, min(BINS, len(order)))
        right.plot([scores_all[part].mean() for part in parts], [truth_all[part].mean() for part in parts], marker="o")
    right.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    right.set(xlabel="mean probability said", ylabel="share of fakes found", title="Reliability, equal-mass bins")
    right.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    figure.savefig(file, dpi=120)
    plt.close(figure)
